//! What fuse-overlayfs writes, in the form of the kernel's overlays.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::SnapshotError;
use crate::confine::{ConfineError, Kind, Last, Node, Root, Visit};
use crate::mount::opaque_mark;

/// Attributes that it keeps for itself (fuse-overlayfs, main.h).
const OWN: &str = "user.fuseoverlayfs.";
const OWN_OPAQUE: &str = "user.fuseoverlayfs.opaque";
/// The file by which it says, as well, that a directory hides what is below.
const OPAQUE_FILE: &[u8] = b".wh..wh..opq";
/// How the names of files begin that stand for what is deleted, where it cannot make a device.
const WHITEOUT: &[u8] = b".wh.";

/// What an object turns out to be.
enum Found {
    OpaqueFile(PathBuf),
    Nothing(PathBuf),
    Whiteout { file: PathBuf, hidden: PathBuf },
}

/// Puts a directory of changes into the kernel's form: a device 0:0 for a deleted name, and the mark that our own overlays
/// have for a directory that hides what is below it.
///
/// # Errors
/// Where something cannot be read or changed.
pub(super) fn normalize(changes: &Root) -> Result<(), SnapshotError> {
    let mut found = Vec::new();
    changes.walk(Path::new("/"), |path, node, metadata| {
        let name = path.file_name().unwrap_or_default().as_bytes();
        if metadata.is_whiteout() {
            // It hides its own bookkeeping, too, which nobody else has.
            if name.starts_with(WHITEOUT) {
                found.push(Found::Nothing(path.to_owned()));
            }
        } else if name == OPAQUE_FILE {
            found.push(Found::OpaqueFile(path.to_owned()));
        } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            found.push(Found::Whiteout {
                file: path.to_owned(),
                hidden: path.with_file_name(OsStr::from_bytes(hidden)),
            });
        } else if metadata.is_file() || metadata.is_dir() {
            take_attributes_away(node)?;
        }
        Ok::<_, ConfineError>(Visit::Enter)
    })?;
    take_attributes_away(&changes.resolve(Path::new("/"), Last::Follow)?)?;
    for it in found {
        let file = match &it {
            Found::OpaqueFile(file) | Found::Nothing(file) | Found::Whiteout { file, .. } => file,
        };
        let holder = changes.resolve(file.parent().unwrap_or(Path::new("/")), Last::NoFollow)?;
        let times = holder.metadata()?;
        changes.remove_all(file)?;
        match &it {
            Found::Nothing(_) => {}
            Found::OpaqueFile(_) => holder.set_xattr(OsStr::new(opaque_mark()), b"y")?,
            Found::Whiteout { hidden, .. } => match changes.mknod(hidden, Kind::CharDevice, 0, 0) {
                // What has the name now hides as well.
                Err(error) if !error.is_already_exists() => return Err(error.into()),
                _ => {}
            },
        }
        holder.set_times(times.atime, times.mtime)?;
    }
    Ok(())
}

fn take_attributes_away(node: &Node) -> Result<(), ConfineError> {
    for (name, value) in node.xattrs()? {
        if name == OWN_OPAQUE && value == b"y" {
            node.set_xattr(OsStr::new(opaque_mark()), b"y")?;
        }
        if name.as_encoded_bytes().starts_with(OWN.as_bytes()) {
            node.remove_xattr(&name)?;
        }
    }
    Ok(())
}
