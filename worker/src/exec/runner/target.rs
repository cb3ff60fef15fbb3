use std::path::{Path, PathBuf};

use crate::confine::{ConfineError, Kind, Last, Node, Root, Time};

/// What a mount needs to stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Directory,
    File,
}

/// Why a mount has nothing to stand on.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error(transparent)]
    Path(#[from] ConfineError),
    #[error("the target is not a directory, but what is mounted is one")]
    NotADirectory,
    #[error("the target is a directory, but what is mounted is none")]
    IsADirectory,
    #[error("the image has a symbolic link where the container needs a directory of its own")]
    IsALink,
    #[error("too many symbolic links")]
    TooManyLinks,
}

const MAX_LINKS: u32 = 40;

/// The object at `path`, through links that stay inside; made where it is missing.
///
/// What is made leaves the times of the directory that holds it as they were: it is a stub to be taken away again.
pub(super) fn find_or_make_target(
    root: &Root,
    path: &Path,
    want: Want,
) -> Result<Node, TargetError> {
    let node = match root.resolve(path, Last::Follow) {
        Err(error) if error.is_not_found() => make(root, path, want)?,
        found => found?,
    };
    match (node.metadata()?.is_dir(), want) {
        (false, Want::Directory) => Err(TargetError::NotADirectory),
        (true, Want::File) => Err(TargetError::IsADirectory),
        _ => Ok(node),
    }
}

/// A directory at `path` for one of the container's own file systems. A link is refused: the image would choose what
/// ours hides (T-B2, T-B10).
pub(super) fn own_directory(root: &Root, path: &Path) -> Result<Node, TargetError> {
    let node = match root.resolve_without_links(path) {
        Err(error) if error.is_not_found() => {
            refuse_links(root, path)?;
            make(root, path, Want::Directory)?
        }
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(TargetError::IsALink);
        }
        found => found?,
    };
    match node.metadata()?.kind {
        Kind::Directory => Ok(node),
        Kind::Symlink => Err(TargetError::IsALink),
        _ => Err(TargetError::NotADirectory),
    }
}

/// A dangling link on the way also looks like something missing.
fn refuse_links(root: &Root, path: &Path) -> Result<(), TargetError> {
    for part in path.ancestors().filter(|part| part.parent().is_some()) {
        match root.metadata(part, Last::NoFollow) {
            Ok(metadata) if metadata.is_symlink() => return Err(TargetError::IsALink),
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

fn make(root: &Root, path: &Path, want: Want) -> Result<Node, TargetError> {
    let path = &end_of_links(root, path)?;
    let held = Held::nearest(root, path)?;
    match want {
        Want::Directory => {
            root.mkdir_all(path, 0o755, None)?;
        }
        Want::File => {
            root.mkdir_all(path.parent().unwrap_or(Path::new("/")), 0o755, None)?;
            match root.create_file(path, 0o644) {
                Err(error) if !error.is_already_exists() => return Err(error.into()),
                _ => {}
            }
        }
    }
    held.restore()?;
    Ok(root.resolve(path, Last::Follow)?)
}

/// Where a chain of links in the last component ends, though nothing is there.
fn end_of_links(root: &Root, path: &Path) -> Result<PathBuf, TargetError> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match root.read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(error) if error.is_not_found() || error.raw_os_error() == Some(libc::EINVAL) => {
                return Ok(path);
            }
            // `readlinkat` on a descriptor of something else than a link says "no such file".
            Err(error) => return Err(error.into()),
        }
    }
    Err(TargetError::TooManyLinks)
}

/// The nearest directory above a path that exists already, with its times.
struct Held {
    node: Node,
    accessed: Time,
    modified: Time,
}

impl Held {
    fn nearest(root: &Root, path: &Path) -> Result<Self, ConfineError> {
        for above in path.ancestors().skip(1) {
            match root.resolve(above, Last::Follow) {
                Err(error) if error.is_not_found() => {}
                found => return Self::of(found?),
            }
        }
        Self::of(root.resolve(Path::new("/"), Last::Follow)?)
    }

    fn of(node: Node) -> Result<Self, ConfineError> {
        let metadata = node.metadata()?;
        Ok(Self {
            node,
            accessed: metadata.atime,
            modified: metadata.mtime,
        })
    }

    fn restore(&self) -> Result<(), ConfineError> {
        self.node.set_times(self.accessed, self.modified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn image() -> (tempfile::TempDir, Root) {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path()).unwrap();
        (temp, root)
    }

    #[test]
    fn t_b2_and_t_b10_linked_system_directories_are_refused() {
        for (name, target) in [
            ("proc", "/other"),
            ("dev", "../.."),
            ("sys", "missing"),
            ("proc", "/"),
        ] {
            let (temp, root) = image();
            std::fs::create_dir(temp.path().join("other")).unwrap();
            symlink(target, temp.path().join(name)).unwrap();
            let error = own_directory(&root, Path::new(&format!("/{name}"))).unwrap_err();
            assert!(
                matches!(error, TargetError::IsALink),
                "{name} -> {target}: {error}"
            );
        }
    }

    #[test]
    fn file_in_the_place_of_a_system_directory_is_refused() {
        let (temp, root) = image();
        std::fs::write(temp.path().join("proc"), "").unwrap();
        assert!(matches!(
            own_directory(&root, Path::new("/proc")),
            Err(TargetError::NotADirectory)
        ));
    }

    #[test]
    fn missing_target_of_a_link_is_made_inside() {
        let (temp, root) = image();
        std::fs::create_dir(temp.path().join("etc")).unwrap();
        symlink(
            "../run/resolve/stub.conf",
            temp.path().join("etc/resolv.conf"),
        )
        .unwrap();
        find_or_make_target(&root, Path::new("/etc/resolv.conf"), Want::File).unwrap();
        assert!(temp.path().join("run/resolve/stub.conf").is_file());
    }

    #[test]
    fn stub_leaves_the_times_of_its_directory() {
        let (temp, root) = image();
        let mnt = temp.path().join("mnt");
        std::fs::create_dir(&mnt).unwrap();
        let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::File::open(&mnt)
            .unwrap()
            .set_modified(past)
            .unwrap();
        find_or_make_target(&root, Path::new("/mnt/a/b"), Want::Directory).unwrap();
        find_or_make_target(&root, Path::new("/mnt/file"), Want::File).unwrap();
        assert!(mnt.join("a/b").is_dir());
        assert_eq!(std::fs::metadata(&mnt).unwrap().modified().unwrap(), past);
    }

    #[test]
    fn kind_of_target_must_fit() {
        let (temp, root) = image();
        std::fs::write(temp.path().join("file"), "").unwrap();
        let found = find_or_make_target(&root, Path::new("/file"), Want::Directory);
        assert!(matches!(found, Err(TargetError::NotADirectory)));
        assert!(matches!(
            find_or_make_target(&root, Path::new("/"), Want::File),
            Err(TargetError::IsADirectory)
        ));
    }
}
