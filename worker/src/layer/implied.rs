//! Directories that a layer's archive does not list and whose content it has: they are those of the layers below.

use std::ffi::OsStr;
use std::path::Path;

use super::{LayerError, Layers};
use crate::confine::{Kind, Last, Node, Root};
use crate::meta::LayerId;
use crate::mount::opaque_mark;

impl Layers {
    /// Gives such directories the owner, mode, times and attributes that they have in the layers below, as unpacking on
    /// top of those does. The layers of the chain, the bottom one first, are unpacked. Blocks.
    ///
    /// A layer that several chains share is settled by the first: what is below it says the same in all of them, unless
    /// somebody put a layer on a base that it was not made for.
    ///
    /// # Errors
    /// When a directory cannot be read or changed.
    pub fn settle_implied(&self, chain: &[LayerId]) -> Result<(), LayerError> {
        for (index, layer) in chain.iter().enumerate() {
            if self.meta().layer(layer)?.implied.is_empty() {
                continue;
            }
            let lock = self.inner.locks.of(layer);
            let _one_at_a_time = lock.lock();
            let mut info = self.meta().layer(layer)?;
            let here = self.open(layer)?;
            for path in std::mem::take(&mut info.implied) {
                let path = Path::new(&path);
                if let Some(below) = self.lowest_dir(&chain[..index], path)? {
                    let node = here.resolve(path, Last::NoFollow)?;
                    copy_attributes(&below, &node)?;
                }
            }
            self.meta().save_layer(info)?;
        }
        Ok(())
    }

    fn open(&self, layer: &LayerId) -> Result<Root, LayerError> {
        Ok(Root::open(&self.inner.snapshots.layer_dir(layer))?)
    }

    /// The directory of a path that shows through, from the topmost of these layers.
    fn lowest_dir(&self, below: &[LayerId], path: &Path) -> Result<Option<Node>, LayerError> {
        for layer in below.iter().rev() {
            let root = self.open(layer)?;
            let mut hidden = false;
            let above: Vec<&Path> = path
                .ancestors()
                .filter(|it| it.file_name().is_some())
                .collect();
            for part in above.into_iter().rev() {
                let node = match root.resolve(part, Last::NoFollow) {
                    Err(error) if error.is_not_found() => break,
                    node => node?,
                };
                let metadata = node.metadata()?;
                if metadata.kind != Kind::Directory {
                    // A file or a whiteout: what is below it does not show.
                    return Ok(None);
                }
                let opaque = OsStr::new(opaque_mark());
                hidden |= node.xattrs()?.iter().any(|(name, _)| name == opaque);
                if part == path {
                    return Ok(Some(node));
                }
            }
            if hidden {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

fn copy_attributes(from: &Node, to: &Node) -> Result<(), LayerError> {
    let metadata = from.metadata()?;
    to.set_owner(metadata.owner)?;
    for (name, value) in from.xattrs()? {
        // Overlayfs's own are about the layer and not about the directory.
        let bytes = name.as_encoded_bytes();
        if !(bytes.starts_with(b"trusted.overlay.") || bytes.starts_with(b"user.overlay.")) {
            to.set_xattr(&name, &value)?;
        }
    }
    to.set_mode(metadata.mode)?;
    to.set_times(metadata.atime, metadata.mtime)?;
    Ok(())
}
