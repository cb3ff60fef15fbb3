//! Single objects of a directory that stands for changes.

use std::path::Path;

use rustix::io::Errno;

use super::ChainError;
use crate::confine::{ConfineError, Kind, Last, Metadata, Node, Root};
use crate::fsync::copy_content;
use crate::layer::LayerError;

/// Gives `node` the name `path` in `target`, where there is nothing: as a further name of the same object where the
/// file system allows that, and as a copy where it does not.
///
/// Pipes and sockets are always made anew, so that no two states can talk through one.
pub(super) fn link_or_copy(
    node: &Node,
    metadata: &Metadata,
    target: &Root,
    path: &Path,
) -> Result<(), ChainError> {
    if matches!(metadata.kind, Kind::Fifo | Kind::Socket) {
        return copy(node, metadata, target, path);
    }
    match target.hardlink_node(node, path) {
        Err(error) if cannot_link(&error) => copy(node, metadata, target, path),
        linked => Ok(linked?),
    }
}

/// Copies anything but a directory.
pub(super) fn copy(
    node: &Node,
    metadata: &Metadata,
    target: &Root,
    path: &Path,
) -> Result<(), ChainError> {
    match metadata.kind {
        Kind::File => {
            let to = target.create_file(path, 0o600)?;
            copy_content(&node.open_read()?, &to, None).map_err(LayerError::from)?;
        }
        Kind::Symlink => target.symlink(&node.read_link()?, path)?,
        kind => target.mknod(path, kind, 0o600, metadata.special_device)?,
    }
    copy_metadata(node, metadata, &target.resolve(path, Last::NoFollow)?)
}

/// Copies owner, mode, attributes and times, but nothing that overlayfs noted for itself.
pub(super) fn copy_metadata(from: &Node, metadata: &Metadata, to: &Node) -> Result<(), ChainError> {
    to.set_owner(metadata.owner)?;
    if metadata.kind != Kind::Symlink {
        to.set_mode(metadata.mode)?;
    }
    for (name, value) in from.xattrs()? {
        let is_internal = name.to_str().is_some_and(|name| {
            name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")
        });
        if !is_internal && let Err(error) = to.set_xattr(&name, &value) {
            tracing::debug!(%error, "an extended attribute is not kept");
        }
    }
    Ok(to.set_times(metadata.atime, metadata.mtime)?)
}

/// Notes that `path` is deleted.
pub(super) fn whiteout(target: &Root, path: &Path) -> Result<(), ChainError> {
    Ok(target.mknod(path, Kind::CharDevice, 0, 0)?)
}

/// The object at `path`, no component of which is a link; `None` where there is none.
pub(super) fn find(root: &Root, path: &Path) -> Result<Option<Node>, ChainError> {
    match root.resolve_without_links(path) {
        Ok(node) => Ok(Some(node)),
        Err(error) if is_one_of(&error, &[Errno::NOENT, Errno::NOTDIR, Errno::LOOP]) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn cannot_link(error: &ConfineError) -> bool {
    let known = [Errno::XDEV, Errno::MLINK, Errno::PERM, Errno::OPNOTSUPP];
    is_one_of(error, &known)
}

fn is_one_of(error: &ConfineError, known: &[Errno]) -> bool {
    let number = error.raw_os_error();
    known
        .iter()
        .any(|errno| number == Some(errno.raw_os_error()))
}
