use std::path::{Path, PathBuf};

use super::ChainError;
use super::object::{copy_metadata, find, link_or_copy, whiteout};
use crate::clock::now_ns;
use crate::confine::{Last, Metadata, Node, Root, Visit};
use crate::fileop::Stop;
use crate::meta::{LayerForm, LayerId, LayerInfo};
use crate::mount::opaque_mark;
use crate::snapshot::{Snapshots, View};

/// A layer that means the same as `layer` on top of the chain `below`, and on top of any other state deletes no more
/// than it deletes there.
pub(super) fn spell_out(
    snapshots: &Snapshots,
    layer: &LayerInfo,
    below: &[LayerId],
    stop: &Stop,
) -> Result<LayerId, ChainError> {
    let id = LayerId::random();
    let made = snapshots.new_layer_dir(&id)?;
    let view = view_of(snapshots, below)?;
    let spelled = Spelling {
        layer: &Root::open(&snapshots.layer_dir(&layer.id))?,
        below: view.as_ref().map(View::root).transpose()?,
        target: &Root::open(&made)?,
        directories: Vec::new(),
        opaque: None,
        stop,
    }
    .run();
    spelled.inspect_err(|_| discard(&made))?;
    let info = LayerInfo {
        id: id.clone(),
        created_ns: now_ns(),
        form: LayerForm::Explicit,
        ..layer.clone()
    };
    snapshots.adopt_layer(&made, info)?;
    Ok(id)
}

/// Removes a half-made directory; what cannot be removed now is at the next start.
pub(super) fn discard(made: &Path) {
    let (Some(work), Some(name)) = (made.parent(), made.file_name()) else {
        return;
    };
    let removed = Root::open(work).and_then(|work| work.remove_all(Path::new(name)));
    if let Err(error) = removed {
        tracing::warn!(%error, "a half-made layer stays until the next start");
    }
}

/// A chain of layers as one directory; `None` for none.
fn view_of(snapshots: &Snapshots, chain: &[LayerId]) -> Result<Option<View>, ChainError> {
    if chain.is_empty() {
        return Ok(None);
    }
    let state = snapshots.compose(chain.to_vec(), "")?;
    let view = snapshots.view(&state);
    // The view pins it from now on.
    snapshots.meta().pins().unpin(&state);
    Ok(Some(view?))
}

struct Spelling<'a> {
    layer: &'a Root,
    below: Option<Root>,
    target: &'a Root,
    /// What gets its metadata when all in it is made.
    directories: Vec<PathBuf>,
    /// The outermost opaque directory on the way to where the walk is.
    opaque: Option<PathBuf>,
    stop: &'a Stop,
}

impl Spelling<'_> {
    fn run(mut self) -> Result<(), ChainError> {
        let layer = self.layer;
        self.directories.push(PathBuf::new());
        if is_opaque(&layer.resolve(Path::new("/"), Last::Follow)?)? {
            self.opaque = Some(PathBuf::new());
            self.delete_what_is_hidden(Path::new(""))?;
        }
        layer.walk(Path::new("/"), |path, node, metadata| {
            self.visit(path, node, metadata)
        })?;
        for path in self.directories.iter().rev() {
            let from = layer.resolve(path, Last::NoFollow)?;
            let to = self.target.resolve(path, Last::NoFollow)?;
            copy_metadata(&from, &from.metadata()?, &to)?;
        }
        Ok(())
    }

    fn visit(
        &mut self,
        path: &Path,
        node: &Node,
        metadata: &Metadata,
    ) -> Result<Visit, ChainError> {
        if self.stop.is_asked() {
            return Err(ChainError::Cancelled);
        }
        if !metadata.is_dir() {
            link_or_copy(node, metadata, self.target, path)?;
            return Ok(Visit::Skip);
        }
        self.target.mkdir(path, 0o700)?;
        self.directories.push(path.to_owned());
        let within = |opaque: &PathBuf| path.starts_with(opaque);
        if !self.opaque.as_ref().is_some_and(within) {
            self.opaque = is_opaque(node)?.then(|| path.to_owned());
        }
        if self.opaque.is_some() {
            self.delete_what_is_hidden(path)?;
        }
        Ok(Visit::Enter)
    }

    /// Deletes each name of a directory below that an opaque directory does not have.
    fn delete_what_is_hidden(&self, path: &Path) -> Result<(), ChainError> {
        let Some(below) = &self.below else {
            return Ok(());
        };
        match find(below, path)? {
            Some(there) if there.metadata()?.is_dir() => {}
            _ => return Ok(()),
        }
        for hidden in below.read_dir(path)? {
            let hidden = path.join(&hidden.name);
            if find(self.layer, &hidden)?.is_none() {
                whiteout(self.target, &hidden)?;
            }
        }
        Ok(())
    }
}

fn is_opaque(directory: &Node) -> Result<bool, ChainError> {
    let xattrs = directory.xattrs()?;
    Ok(xattrs
        .iter()
        .any(|(name, value)| name == opaque_mark() && value == b"y"))
}
