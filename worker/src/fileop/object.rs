use std::path::Path;

use super::copier::Rules;
use super::copy::Scene;
use super::error::FileOpError;
use super::path::is_nothing;
use crate::confine::{ConfineError, Kind, Last, Metadata, Node, Root};
use crate::fsync::copy_content;

/// Makes copies of single objects. Several threads may at a time.
#[derive(Clone, Copy)]
pub(super) struct ObjectCopier<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) rules: &'a Rules,
}

/// Where one object is copied to.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    /// The way from the root of the target.
    pub(super) target: &'p Path,
    /// A directory on the way, possibly the root itself.
    pub(super) directory: &'p Root,
    /// The way from there.
    pub(super) path: &'p Path,
}

/// Why an object was not made.
enum Unmade {
    /// Something is in its place.
    Taken,
    Failed(FileOpError),
}

impl From<FileOpError> for Unmade {
    fn from(error: FileOpError) -> Self {
        Self::Failed(error)
    }
}

impl From<ConfineError> for Unmade {
    fn from(error: ConfineError) -> Self {
        match error.is_already_exists() {
            true => Self::Taken,
            false => Self::Failed(error.into()),
        }
    }
}

impl ObjectCopier<'_> {
    /// Copies anything but a directory, or gives what was copied to `first` a further name. Mostly nothing is in its
    /// place, so that this is found out by making it.
    pub(super) fn copy(
        &self,
        node: &Node,
        metadata: &Metadata,
        place: Place<'_>,
        first: Option<&Path>,
    ) -> Result<(), FileOpError> {
        match self.make(node, metadata, place, first) {
            Err(Unmade::Taken) => self.make_way(place.target, metadata.kind)?,
            Err(Unmade::Failed(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
        match self.make(node, metadata, place, first) {
            Err(Unmade::Taken) => Err(FileOpError::Invalid(format!(
                "cannot make /{}: something else was made there meanwhile",
                place.target.display()
            ))),
            Err(Unmade::Failed(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Removes what is in the way of a copied object; a directory stays for a directory.
    pub(super) fn make_way(&self, target: &Path, kind: Kind) -> Result<(), FileOpError> {
        let there = match self.scene.target.metadata(target, Last::NoFollow) {
            Err(error) if is_nothing(&error) => return Ok(()),
            there => there?,
        };
        let shown = Path::new("/").join(target);
        match (there.is_dir(), kind == Kind::Directory) {
            (true, true) => {}
            _ if self.rules.replace => self.scene.target.remove_all(target)?,
            (true, false) => {
                return Err(FileOpError::Invalid(format!(
                    "cannot replace to directory {} with file",
                    shown.display()
                )));
            }
            (false, true) => {
                return Err(FileOpError::Invalid(format!(
                    "cannot copy to non-directory: {}",
                    shown.display()
                )));
            }
            (false, false) => self.scene.target.remove_file(target)?,
        }
        Ok(())
    }

    /// Makes anything but a directory where nothing is.
    fn make(
        &self,
        node: &Node,
        metadata: &Metadata,
        place: Place<'_>,
        first: Option<&Path>,
    ) -> Result<(), Unmade> {
        let Place {
            target,
            directory: to,
            path,
        } = place;
        match (metadata.kind, first) {
            (Kind::File, Some(first)) => {
                return Ok(self.scene.target.hardlink(first, target)?);
            }
            (Kind::File, None) if node.file().is_some() => {
                return self.make_file(node, metadata, place);
            }
            (Kind::File, None) => return self.make_file(&node.readable()?, metadata, place),
            (Kind::Symlink, _) => to.symlink(&node.read_link()?, path)?,
            // A socket without its process is nothing: an empty file stands for it.
            (Kind::Socket, _) => to.mknod(path, Kind::File, 0o600, 0)?,
            (kind, _) => to.mknod(path, kind, 0o600, metadata.special_device)?,
        }
        let made = to.resolve(path, Last::NoFollow)?;
        Ok(self.copy_metadata(node, metadata, &made)?)
    }

    /// Copies a file that is open for reading.
    fn make_file(&self, from: &Node, metadata: &Metadata, place: Place<'_>) -> Result<(), Unmade> {
        let to = match place.directory.create_node(place.path, 0o600) {
            Err(error) if error.is_already_exists() => return Err(Unmade::Taken),
            made => made.map_err(FileOpError::at("open", place.target))?,
        };
        if let (Some(from), Some(to)) = (from.file(), to.file()) {
            copy_content(from, to, Some(metadata.size))
                .map(drop)
                .map_err(|source| FileOpError::Content {
                    path: format!("/{}", place.target.display()),
                    source,
                })?;
        }
        Ok(self.copy_metadata(from, metadata, &to)?)
    }

    pub(super) fn copy_metadata(
        &self,
        from: &Node,
        metadata: &Metadata,
        to: &Node,
    ) -> Result<(), FileOpError> {
        to.set_owner(self.rules.owner.unwrap_or(metadata.owner))?;
        if metadata.kind != Kind::Symlink {
            to.set_mode(match (&self.rules.mode_change, self.rules.fixed_mode) {
                (Some(change), _) => change.apply(metadata),
                (None, Some(mode)) => mode,
                (None, None) => metadata.mode,
            })?;
        }
        for (name, value) in from.xattrs()? {
            // What overlayfs notes for itself belongs to where it was.
            let is_internal = name.to_str().is_some_and(|name| {
                name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")
            });
            if !is_internal && let Err(error) = to.set_xattr(&name, &value) {
                tracing::debug!(%error, "an extended attribute is not kept");
            }
        }
        self.set_times(to, metadata)
    }

    pub(super) fn set_times(&self, to: &Node, metadata: &Metadata) -> Result<(), FileOpError> {
        match self.rules.time {
            Some(time) => to.set_times(time, time)?,
            None => to.set_times(metadata.atime, metadata.mtime)?,
        }
        Ok(())
    }
}
