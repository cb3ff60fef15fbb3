use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::UsageError;

/// Longest Dockerfile that is read from standard input.
///
/// # Units
/// Bytes.
const MAX_DOCKERFILE: u64 = 16 << 20;

/// Where the files of a build are.
#[derive(Debug)]
pub struct ContextFolders {
    /// Folder that COPY and ADD read.
    pub context: PathBuf,
    /// Folder of the Dockerfile.
    pub dockerfile: PathBuf,
    /// Name of the Dockerfile in its folder.
    pub filename: String,
    /// Folders that go away with the build.
    _temporary: Vec<TempDir>,
}

/// What may be read from standard input.
pub trait StandardInput {
    /// All of it, when it is no more than a Dockerfile can be.
    ///
    /// # Errors
    /// When it cannot be read.
    fn reader(&mut self) -> &mut dyn Read;
}

impl<R: Read> StandardInput for R {
    fn reader(&mut self) -> &mut dyn Read {
        self
    }
}

/// Finds the folders that PATH and `--file` name.
///
/// # Errors
/// When a folder or the Dockerfile is not there, or the context is of a kind that is not built.
pub fn locate(
    context: &str,
    file: Option<&str>,
    here: &Path,
    input: &mut dyn StandardInput,
) -> Result<ContextFolders, UsageError> {
    if let Some(kind) = remote_kind(context) {
        return Err(UsageError::unsupported(format!("a context from {kind}")));
    }
    match (context, file) {
        ("-", Some("-")) => Err(UsageError::plain(
            "standard input cannot be both the context and the Dockerfile",
        )),
        ("-", file) => from_input(file, input),
        (folder, Some("-")) => {
            let folder = existing_folder(here, folder)?;
            let text = read_dockerfile(input)?;
            with_text(folder, &text, Vec::new())
        }
        (folder, file) => {
            let folder = existing_folder(here, folder)?;
            let path = file.map_or_else(|| folder.join("Dockerfile"), |f| here.join(f));
            in_folders(folder, &path, file.is_none(), Vec::new())
        }
    }
}

/// What kind of remote context a text names.
fn remote_kind(context: &str) -> Option<&'static str> {
    let lower = context.to_ascii_lowercase();
    if lower.starts_with("git://")
        || lower.starts_with("ssh://")
        || lower.starts_with("git@")
        || lower.starts_with("github.com/")
        || ((lower.starts_with("http://") || lower.starts_with("https://"))
            && lower
                .split(['#', '?'])
                .next()
                .is_some_and(|p| p.ends_with(".git")))
    {
        Some("git")
    } else if lower.starts_with("http://") || lower.starts_with("https://") {
        Some("http")
    } else {
        None
    }
}

fn existing_folder(here: &Path, folder: &str) -> Result<PathBuf, UsageError> {
    let path = here.join(folder);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(path),
        Ok(_) => Err(UsageError::new(
            format!("the context {folder} is not a folder"),
            format!("to build a Dockerfile of that name: cooper build -f {folder} ."),
        )),
        Err(error) => Err(UsageError::plain(format!(
            "the context {folder} cannot be used: {error}"
        ))),
    }
}

fn in_folders(
    context: PathBuf,
    path: &Path,
    default_name: bool,
    temporary: Vec<TempDir>,
) -> Result<ContextFolders, UsageError> {
    let mut path = path.to_path_buf();
    let lower = path.with_file_name("dockerfile");
    if default_name && !path.exists() && lower.exists() {
        path = lower;
    }
    if let Err(error) = fs::metadata(&path) {
        return Err(UsageError::new(
            format!("failed to read dockerfile: {}: {error}", path.display()),
            "name another file with --file",
        ));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let dockerfile = folder.unwrap_or(Path::new(".")).to_path_buf();
    let filename = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| UsageError::plain(format!("{} names no file", path.display())))?
        .to_owned();
    Ok(ContextFolders {
        context,
        dockerfile,
        filename,
        _temporary: temporary,
    })
}

fn with_text(
    context: PathBuf,
    text: &[u8],
    mut temporary: Vec<TempDir>,
) -> Result<ContextFolders, UsageError> {
    let folder = temporary_folder()?;
    fs::write(folder.path().join("Dockerfile"), text)
        .map_err(|error| UsageError::plain(format!("cannot keep the Dockerfile: {error}")))?;
    let path = folder.path().join("Dockerfile");
    temporary.push(folder);
    in_folders(context, &path, false, temporary)
}

fn from_input(
    file: Option<&str>,
    input: &mut dyn StandardInput,
) -> Result<ContextFolders, UsageError> {
    let mut head = Vec::new();
    let reader = input.reader();
    let unreadable = |error| UsageError::plain(format!("standard input cannot be read: {error}"));
    reader
        .take(512)
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    let folder = temporary_folder()?;
    if is_archive(&head) {
        let whole = head.as_slice().chain(reader);
        super::archive::unpack(whole, folder.path())?;
        let context = folder.path().to_path_buf();
        let path = context.join(file.unwrap_or("Dockerfile"));
        return in_folders(context, &path, file.is_none(), vec![folder]);
    }
    if file.is_some() {
        return Err(UsageError::new(
            "standard input holds a Dockerfile and --file names another",
            "leave out --file, or give the context as a folder or a tar archive",
        ));
    }
    let mut text = head;
    reader
        .take(MAX_DOCKERFILE)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    let context = folder.path().to_path_buf();
    with_text(context, &text, vec![folder])
}

fn read_dockerfile(input: &mut dyn StandardInput) -> Result<Vec<u8>, UsageError> {
    let mut text = Vec::new();
    input
        .reader()
        .take(MAX_DOCKERFILE)
        .read_to_end(&mut text)
        .map_err(|error| UsageError::plain(format!("standard input cannot be read: {error}")))?;
    Ok(text)
}

fn temporary_folder() -> Result<TempDir, UsageError> {
    tempfile::Builder::new()
        .prefix("cooper-context-")
        .tempdir()
        .map_err(|error| UsageError::plain(format!("cannot make a temporary folder: {error}")))
}

/// Whether bytes start a tar archive, compressed or not.
fn is_archive(head: &[u8]) -> bool {
    const MAGIC: &[&[u8]] = &[
        &[0x1f, 0x8b, 0x08],
        b"BZh",
        &[0xfd, b'7', b'z', b'X', b'Z', 0],
        &[0x28, 0xb5, 0x2f, 0xfd],
    ];
    MAGIC.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockerfile_on_standard_input_has_an_empty_context() {
        let here = tempfile::tempdir().unwrap();
        let mut text: &[u8] = b"FROM scratch\n";
        let folders = locate("-", None, here.path(), &mut text).unwrap();
        assert_eq!(fs::read_dir(&folders.context).unwrap().count(), 0);
        let path = folders.dockerfile.join(&folders.filename);
        assert_eq!(fs::read(path).unwrap(), b"FROM scratch\n");
    }

    #[test]
    fn dockerfile_is_found_beside_the_files_or_where_the_flag_says() {
        let here = tempfile::tempdir().unwrap();
        fs::create_dir(here.path().join("app")).unwrap();
        fs::write(here.path().join("app/dockerfile"), "").unwrap();
        fs::write(here.path().join("other"), "").unwrap();
        let locate = |file| locate("app", file, here.path(), &mut std::io::empty());
        assert_eq!(locate(None).unwrap().filename, "dockerfile");
        let other = locate(Some("other")).unwrap();
        assert_eq!(other.filename, "other");
        assert_eq!(other.dockerfile, here.path());
        assert_eq!(other.context, here.path().join("app"));
        assert!(locate(Some("missing")).is_err());
    }

    #[test]
    fn remote_contexts_are_refused_by_name() {
        let here = Path::new("/");
        for (context, kind) in [
            ("https://example.com/a.git", "git"),
            ("https://example.com/a.git#main:sub", "git"),
            ("git@example.com:a", "git"),
            ("https://example.com/a.tar.gz", "http"),
        ] {
            let error = locate(context, None, here, &mut std::io::empty()).unwrap_err();
            let expected = format!("a context from {kind} is not supported yet");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn contexts_that_are_not_there_are_refused() {
        let here = tempfile::tempdir().unwrap();
        fs::write(here.path().join("Dockerfile"), "").unwrap();
        for context in ["nowhere", "Dockerfile"] {
            assert!(locate(context, None, here.path(), &mut std::io::empty()).is_err());
        }
        assert!(locate("-", Some("-"), here.path(), &mut std::io::empty()).is_err());
        let mut text: &[u8] = b"FROM scratch\n";
        assert!(locate("-", Some("x"), here.path(), &mut text).is_err());
    }
}
