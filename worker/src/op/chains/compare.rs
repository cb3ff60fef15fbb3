use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cooper_core::model::ResultId;

use super::ChainError;
use super::explicit::discard;
use super::object::{copy, copy_metadata, find, link_or_copy, whiteout};
use crate::alike::is_same;
use crate::clock::now_ns;
use crate::confine::{Last, Metadata, Node, Root, Visit};
use crate::fileop::Stop;
use crate::layer::LayerError;
use crate::meta::{LayerId, LayerInfo};
use crate::snapshot::{Snapshots, View};

/// The difference of two states as one layer on nothing: what `lower` lacks or has otherwise, and a whiteout for what
/// it has too much.
pub(super) fn compare(
    snapshots: &Snapshots,
    lower: &ResultId,
    upper: &ResultId,
    description: &str,
    stop: &Stop,
) -> Result<ResultId, ChainError> {
    let id = LayerId::random();
    let made = snapshots.new_layer_dir(&id)?;
    let compared = fill(snapshots, lower, upper, &made, stop);
    let bytes = compared.inspect_err(|_| discard(&made))?;
    let info = LayerInfo {
        parent: Some(lower.clone()),
        ..LayerInfo::new(id.clone(), description, bytes, now_ns())
    };
    snapshots.adopt_layer(&made, info)?;
    Ok(snapshots.compose(vec![id], description)?)
}

fn fill(
    snapshots: &Snapshots,
    lower: &ResultId,
    upper: &ResultId,
    made: &Path,
    stop: &Stop,
) -> Result<u64, ChainError> {
    let lower = open(snapshots, lower)?;
    let mut sources = Vec::new();
    for layer in snapshots.meta().result(upper)?.layers.iter().rev() {
        sources.push(Root::open(&snapshots.layer_dir(layer))?);
    }
    let upper = open(snapshots, upper)?;
    Comparison {
        lower: lower.map(|(_, root)| root),
        upper: upper.map(|(_, root)| root),
        sources,
        target: Root::open(made)?,
        made: BTreeSet::new(),
        new: None,
        bytes: 0,
        stop,
    }
    .run()
}

/// A state and its directory; `None` for the empty state.
fn open(snapshots: &Snapshots, state: &ResultId) -> Result<Option<(View, Root)>, ChainError> {
    if state.is_scratch() {
        return Ok(None);
    }
    let view = snapshots.view(state)?;
    let root = view.root()?;
    Ok(Some((view, root)))
}

struct Comparison<'a> {
    lower: Option<Root>,
    upper: Option<Root>,
    /// The directories of the upper's layers, the uppermost first.
    sources: Vec<Root>,
    target: Root,
    /// Directories that were made in `target`.
    made: BTreeSet<PathBuf>,
    /// A directory that the lower does not have, while the walk is in it.
    new: Option<PathBuf>,
    bytes: u64,
    stop: &'a Stop,
}

impl Comparison<'_> {
    /// Returns how many bytes the files of the difference have.
    fn run(mut self) -> Result<u64, ChainError> {
        self.delete_missing(Path::new(""))?;
        if let Some(upper) = self.upper.take() {
            upper.walk(Path::new("/"), |path, node, metadata| {
                self.visit(&upper, path, node, metadata)
            })?;
            self.upper = Some(upper);
        }
        self.made.insert(PathBuf::new());
        // A directory's times change with what is made in it, so the innermost come first.
        for path in self.made.iter().rev() {
            self.finish_directory(path)?;
        }
        Ok(self.bytes)
    }

    fn visit(
        &mut self,
        upper: &Root,
        path: &Path,
        node: &Node,
        metadata: &Metadata,
    ) -> Result<Visit, ChainError> {
        if self.stop.is_asked() {
            return Err(ChainError::Cancelled);
        }
        let old = self.old(path)?;
        let is_unchanged = match (&old, &self.lower) {
            (Some(old), Some(lower)) => {
                is_same(lower, old, upper, path, metadata).map_err(LayerError::from)?
            }
            _ => false,
        };
        if !metadata.is_dir() {
            if !is_unchanged {
                self.add(path, node, metadata)?;
            }
            return Ok(Visit::Skip);
        }
        if !is_unchanged {
            self.parents(path)?;
            self.make_directory(path)?;
        }
        if old.is_some_and(|old| old.is_dir()) {
            self.delete_missing_of(upper, path)?;
        } else if self.new.as_ref().is_none_or(|new| !path.starts_with(new)) {
            self.new = Some(path.to_owned());
        }
        Ok(Visit::Enter)
    }

    /// What the lower has at `path`.
    fn old(&self, path: &Path) -> Result<Option<Metadata>, ChainError> {
        let Some(lower) = &self.lower else {
            return Ok(None);
        };
        if self.new.as_ref().is_some_and(|new| path.starts_with(new)) {
            return Ok(None);
        }
        let found = find(lower, path)?;
        Ok(found.map(|node| node.metadata()).transpose()?)
    }

    /// Deletes what the lower's top has and the upper's has not.
    fn delete_missing(&mut self, path: &Path) -> Result<(), ChainError> {
        if let Some(upper) = self.upper.take() {
            let deleted = self.delete_missing_of(&upper, path);
            self.upper = Some(upper);
            return deleted;
        }
        let Some(lower) = &self.lower else {
            return Ok(());
        };
        for gone in lower.read_dir(path)? {
            whiteout(&self.target, &path.join(gone.name))?;
        }
        Ok(())
    }

    fn delete_missing_of(&mut self, upper: &Root, path: &Path) -> Result<(), ChainError> {
        let Some(lower) = &self.lower else {
            return Ok(());
        };
        let mut gone = lower.read_dir(path)?;
        let kept = upper.read_dir(path)?;
        gone.retain(|old| {
            kept.binary_search_by(|new| new.name.cmp(&old.name))
                .is_err()
        });
        for entry in gone {
            let path = path.join(entry.name);
            self.parents(&path)?;
            whiteout(&self.target, &path)?;
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, node: &Node, metadata: &Metadata) -> Result<(), ChainError> {
        self.parents(path)?;
        if metadata.is_file() {
            self.bytes += metadata.size / metadata.links.max(1);
        }
        match self.source(path, metadata)? {
            Some((node, metadata)) => link_or_copy(&node, &metadata, &self.target, path),
            None => copy(node, metadata, &self.target, path),
        }
    }

    /// The object in the layer that shows it: a mount's own objects cannot get further names.
    fn source(
        &self,
        path: &Path,
        shown: &Metadata,
    ) -> Result<Option<(Node, Metadata)>, ChainError> {
        for layer in &self.sources {
            if let Some(node) = find(layer, path)? {
                let found = node.metadata()?;
                let is_it = found.kind == shown.kind
                    && found.size == shown.size
                    && found.mtime == shown.mtime
                    && found.mode == shown.mode
                    && found.owner == shown.owner;
                return Ok(is_it.then_some((node, found)));
            }
        }
        Ok(None)
    }

    /// Makes the directories that hold `path`.
    fn parents(&mut self, path: &Path) -> Result<(), ChainError> {
        let missing: Vec<_> = path
            .ancestors()
            .skip(1)
            .take_while(|it| !it.as_os_str().is_empty() && !self.made.contains(*it))
            .map(Path::to_owned)
            .collect();
        missing
            .iter()
            .rev()
            .try_for_each(|parent| self.make_directory(parent))
    }

    fn make_directory(&mut self, path: &Path) -> Result<(), ChainError> {
        if self.made.insert(path.to_owned()) {
            self.target.mkdir(path, 0o700)?;
        }
        Ok(())
    }

    fn finish_directory(&self, path: &Path) -> Result<(), ChainError> {
        // Nothing but the top is made where there is no upper.
        let Some(like) = self.upper.as_ref().or(self.lower.as_ref()) else {
            return Ok(());
        };
        let from = like.resolve(path, Last::NoFollow)?;
        let to = self.target.resolve(path, Last::NoFollow)?;
        copy_metadata(&from, &from.metadata()?, &to)
    }
}
