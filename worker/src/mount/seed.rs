use std::io;
use std::path::{Path, PathBuf};

use crate::confine::{ConfineError, Kind, Last, Metadata, Node, Root, Visit};

/// Fills an empty directory with a copy of all that is in another: contents, links, owners, modes, times and extended
/// attributes. Hard links become files of their own; sockets are left out.
///
/// # Errors
/// Where something cannot be read or written.
pub(super) fn seed(from: &Root, to: &Root) -> Result<(), ConfineError> {
    let mut directories: Vec<(PathBuf, Metadata)> = Vec::new();
    from.walk(Path::new("/"), |path, node, metadata| {
        match metadata.kind {
            Kind::Directory => {
                to.mkdir(path, 0o700)?;
                directories.push((path.to_owned(), metadata.clone()));
            }
            Kind::File => copy_file(node, to, path)?,
            Kind::Symlink => to.symlink(&node.read_link()?, path)?,
            Kind::Socket => return Ok(Visit::Skip),
            kind => to.mknod(path, kind, 0o600, metadata.special_device)?,
        }
        copy_properties(node, metadata, &to.resolve(path, Last::NoFollow)?)?;
        Ok::<_, ConfineError>(Visit::Enter)
    })?;
    let top = from.resolve(Path::new("/"), Last::Follow)?;
    copy_properties(
        &top,
        &top.metadata()?,
        &to.resolve(Path::new("/"), Last::Follow)?,
    )?;
    // Filling a directory has changed its times.
    for (path, metadata) in directories.iter().rev() {
        to.resolve(path, Last::NoFollow)?
            .set_times(metadata.atime, metadata.mtime)?;
    }
    let metadata = top.metadata()?;
    to.resolve(Path::new("/"), Last::Follow)?
        .set_times(metadata.atime, metadata.mtime)
}

/// Copies the content of a regular file to a new one.
///
/// # Errors
/// Where it cannot be read or written.
pub(crate) fn copy_file(node: &Node, to: &Root, path: &Path) -> Result<(), ConfineError> {
    let (mut source, mut target) = (node.open_read()?, to.create_file(path, 0o600)?);
    // On Linux this copies inside the kernel, sharing blocks where the file system can.
    io::copy(&mut source, &mut target)
        .map(drop)
        .map_err(|source| ConfineError::System {
            action: "copy",
            path: path.to_owned(),
            source,
        })
}

/// Gives `to` the owner, attributes, mode and times of `from`, but no marks of overlays.
///
/// # Errors
/// Where they cannot be read or set.
pub(crate) fn copy_properties(
    from: &Node,
    metadata: &Metadata,
    to: &Node,
) -> Result<(), ConfineError> {
    to.set_owner(metadata.owner)?;
    for (name, value) in from.xattrs()? {
        // Marks of the overlay that we read through say nothing of the content.
        let name_text = name.to_string_lossy();
        if !(name_text.starts_with("trusted.overlay.") || name_text.starts_with("user.overlay.")) {
            to.set_xattr(&name, &value)?;
        }
    }
    if metadata.kind != Kind::Symlink {
        to.set_mode(metadata.mode)?;
    }
    to.set_times(metadata.atime, metadata.mtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn copy_has_the_same_contents_and_properties() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        std::fs::create_dir_all(from.join("a/b")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("a/b/file"), "content").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("a/link")).unwrap();
        std::fs::set_permissions(from.join("a/b"), std::fs::Permissions::from_mode(0o1777))
            .unwrap();
        std::os::unix::fs::chown(from.join("a/b/file"), Some(12), Some(34)).unwrap();
        let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::File::open(from.join("a"))
            .unwrap()
            .set_modified(past)
            .unwrap();
        seed(&Root::open(&from).unwrap(), &Root::open(&to).unwrap()).unwrap();
        assert_eq!(std::fs::read(to.join("a/b/file")).unwrap(), b"content");
        assert_eq!(std::fs::metadata(to.join("a/b/file")).unwrap().uid(), 12);
        assert_eq!(
            std::fs::read_link(to.join("a/link")).unwrap(),
            Path::new("/etc/passwd")
        );
        assert_eq!(
            std::fs::metadata(to.join("a/b")).unwrap().mode() & 0o7777,
            0o1777
        );
        assert_eq!(
            std::fs::metadata(to.join("a")).unwrap().modified().unwrap(),
            past
        );
    }
}
