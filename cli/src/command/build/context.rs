use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use cooper_frontend::source::Remote;
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
    /// What COPY and ADD read.
    pub context: ContextPlace,
    /// Where the Dockerfile is.
    pub dockerfile: DockerfilePlace,
    /// Folders that go away with the build.
    temporary: Vec<TempDir>,
}

/// What COPY and ADD read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextPlace {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A repository or an archive, by its address, which the engine fetches.
    Remote {
        /// The address.
        address: String,
        /// Whether it is a repository that is reached by ssh.
        ssh: bool,
    },
}

/// Where the Dockerfile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerfilePlace {
    /// In a folder of this machine.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The file's name in it.
        name: String,
    },
    /// In the remote context, under this path or the usual one.
    InContext(Option<String>),
    /// At a URL; it is fetched into a folder before the build.
    Url(String),
}

impl ContextFolders {
    /// The Dockerfile's path, where it is on this machine.
    pub(super) fn dockerfile_path(&self) -> Option<PathBuf> {
        match &self.dockerfile {
            DockerfilePlace::Folder { folder, name } => Some(folder.join(name)),
            DockerfilePlace::InContext(_) | DockerfilePlace::Url(_) => None,
        }
    }

    /// A folder for a Dockerfile that is fetched, which goes away with the build.
    pub(super) fn fetched(&mut self) -> Result<PathBuf, UsageError> {
        let folder = temporary_folder()?;
        let path = folder.path().to_path_buf();
        self.temporary.push(folder);
        Ok(path)
    }
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
/// When a folder or the Dockerfile is not there.
pub fn locate(
    context: &str,
    file: Option<&str>,
    here: &Path,
    input: &mut dyn StandardInput,
) -> Result<ContextFolders, UsageError> {
    if let Some(place) = remote(context, here) {
        return with_remote(place, file, input);
    }
    match (context, file) {
        ("-", Some("-")) => Err(UsageError::plain(
            "standard input cannot be both the context and the Dockerfile",
        )),
        ("-", file) => from_input(file, input),
        (folder, Some("-")) => {
            let folder = existing_folder(here, folder)?;
            let text = read_dockerfile(input)?;
            with_text(ContextPlace::Folder(folder), &text, Vec::new())
        }
        (folder, Some(url)) if Remote::of(url) == Some(Remote::Http) => Ok(ContextFolders {
            context: ContextPlace::Folder(existing_folder(here, folder)?),
            dockerfile: DockerfilePlace::Url(url.to_owned()),
            temporary: Vec::new(),
        }),
        (folder, file) => {
            let folder = existing_folder(here, folder)?;
            let path = file.map_or_else(|| folder.join("Dockerfile"), |f| here.join(f));
            in_folders(
                ContextPlace::Folder(folder),
                &path,
                file.is_none(),
                Vec::new(),
            )
        }
    }
}

/// The remote place that a text names, unless it is a folder that is there.
pub(super) fn remote(text: &str, here: &Path) -> Option<ContextPlace> {
    let ssh = match Remote::of(text)? {
        Remote::Git { like_a_path, .. } if like_a_path && here.join(text).is_dir() => return None,
        Remote::Git { ssh, .. } => ssh,
        Remote::Http => false,
    };
    Some(ContextPlace::Remote {
        address: text.to_owned(),
        ssh,
    })
}

/// With a remote context, `--file` names a file in it.
fn with_remote(
    context: ContextPlace,
    file: Option<&str>,
    input: &mut dyn StandardInput,
) -> Result<ContextFolders, UsageError> {
    let dockerfile = match file {
        Some("-") => {
            let text = read_dockerfile(input)?;
            return with_text(context, &text, Vec::new());
        }
        Some(url) if Remote::of(url) == Some(Remote::Http) => DockerfilePlace::Url(url.to_owned()),
        file => DockerfilePlace::InContext(file.map(str::to_owned)),
    };
    Ok(ContextFolders {
        context,
        dockerfile,
        temporary: Vec::new(),
    })
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
    context: ContextPlace,
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
    let folder = folder.unwrap_or(Path::new(".")).to_path_buf();
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| UsageError::plain(format!("{} names no file", path.display())))?
        .to_owned();
    Ok(ContextFolders {
        context,
        dockerfile: DockerfilePlace::Folder { folder, name },
        temporary,
    })
}

fn with_text(
    context: ContextPlace,
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
        return in_folders(
            ContextPlace::Folder(context),
            &path,
            file.is_none(),
            vec![folder],
        );
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
    with_text(ContextPlace::Folder(context), &text, vec![folder])
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

    fn folder(folders: &ContextFolders) -> &Path {
        match &folders.context {
            ContextPlace::Folder(folder) => folder,
            other => panic!("{other:?} is no folder"),
        }
    }

    #[test]
    fn dockerfile_on_standard_input_has_an_empty_context() {
        let here = tempfile::tempdir().unwrap();
        let mut text: &[u8] = b"FROM scratch\n";
        let folders = locate("-", None, here.path(), &mut text).unwrap();
        assert_eq!(fs::read_dir(folder(&folders)).unwrap().count(), 0);
        let path = folders.dockerfile_path().unwrap();
        assert_eq!(fs::read(path).unwrap(), b"FROM scratch\n");
    }

    #[test]
    fn dockerfile_is_found_beside_the_files_or_where_the_flag_says() {
        let here = tempfile::tempdir().unwrap();
        fs::create_dir(here.path().join("app")).unwrap();
        fs::write(here.path().join("app/dockerfile"), "").unwrap();
        fs::write(here.path().join("other"), "").unwrap();
        let locate = |file| locate("app", file, here.path(), &mut std::io::empty());
        let path = |file| locate(file).unwrap().dockerfile_path().unwrap();
        assert_eq!(path(None), here.path().join("app/dockerfile"));
        assert_eq!(path(Some("other")), here.path().join("other"));
        let other = locate(Some("other")).unwrap();
        assert_eq!(folder(&other), here.path().join("app"));
        assert!(locate(Some("missing")).is_err());
        let url = "http://host/Dockerfile";
        assert_eq!(
            locate(Some(url)).unwrap().dockerfile,
            DockerfilePlace::Url(url.into())
        );
    }

    #[test]
    fn remote_contexts_have_their_dockerfile_or_get_one() {
        let here = tempfile::tempdir().unwrap();
        let locate = |context: &str, file: Option<&str>| {
            let mut text: &[u8] = b"FROM scratch\n";
            locate(context, file, here.path(), &mut text).unwrap()
        };
        let git = locate("https://example.com/a.git#main:sub", Some("dev/Dockerfile"));
        let address = "https://example.com/a.git#main:sub".to_owned();
        assert_eq!(
            git.context,
            ContextPlace::Remote {
                address,
                ssh: false
            }
        );
        assert_eq!(
            git.dockerfile,
            DockerfilePlace::InContext(Some("dev/Dockerfile".into()))
        );
        let own = locate("git@example.com:a", Some("-"));
        assert!(matches!(
            own.context,
            ContextPlace::Remote { ssh: true, .. }
        ));
        assert!(own.dockerfile_path().unwrap().is_file());
        fs::create_dir_all(here.path().join("github.com/a")).unwrap();
        fs::write(here.path().join("github.com/a/Dockerfile"), "").unwrap();
        assert!(matches!(
            locate("github.com/a", None).context,
            ContextPlace::Folder(_)
        ));
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
