//! What is done to a layer's directory once nothing changes it any more.

use std::{ffi::OsStr, path::Path};

use crate::confine::{ConfineError, Last, Root, Visit};

const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// What a directory of changes holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Bytes of its files.
    pub(super) bytes: u64,
    /// How many files, directories and others there are.
    pub(super) objects: u64,
    /// Whether it holds an opaque directory.
    pub(super) is_opaque: bool,
}

/// Makes a directory of changes mean the same on top of any state, and says what it
/// holds.
///
/// Overlayfs marks each new directory as opaque, as a short cut: nothing of that name is below
/// it. When layers are merged something may be, and it is not this layer's to hide. So the mark
/// stays only where there was something to hide, which is how BuildKit reads it too.
pub(super) fn settle(changes: &Root, below: Option<&Root>) -> Result<Settled, ConfineError> {
    let mut settled = Settled::default();
    changes.walk(Path::new("/"), |path, node, metadata| {
        settled.objects += 1;
        if metadata.is_file() {
            // A file with several names is counted once.
            settled.bytes += metadata.size / metadata.links.max(1);
        }
        if !metadata.is_dir() {
            return Ok(Visit::Enter);
        }
        for name in opaque_marks(node)? {
            if exists(below, path)? {
                settled.is_opaque = true;
            } else {
                node.remove_xattr(OsStr::new(name))?;
            }
        }
        Ok::<_, ConfineError>(Visit::Enter)
    })?;
    Ok(settled)
}

fn opaque_marks(node: &crate::confine::Node) -> Result<Vec<&'static str>, ConfineError> {
    let xattrs = node.xattrs()?;
    let mut marks = OPAQUE.to_vec();
    marks.retain(|mark| xattrs.iter().any(|(name, _)| name == mark));
    Ok(marks)
}

fn exists(below: Option<&Root>, path: &Path) -> Result<bool, ConfineError> {
    let Some(below) = below else {
        return Ok(false);
    };
    match below.metadata(path, Last::NoFollow) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        // Something on the way is no directory: then nothing of this path is below.
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}
