//! States as plain directories, where layers cannot be mounted on each other.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::SnapshotError;
use crate::confine::{Kind, Last, Metadata, Node, Root, Visit};
use crate::mount::{copy_file, copy_properties, is_marked_opaque};

/// How files get into a flat directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    /// As further names of the layers' own files, for a directory that nobody writes to.
    Linked,
    /// As copies.
    Copied,
}

/// Fills the empty directory `target` with what `layers`, the uppermost first, show together.
///
/// # Errors
/// Where something cannot be read or made.
pub(super) fn flatten(
    layers: &[PathBuf],
    target: &Root,
    files: Files,
) -> Result<(), SnapshotError> {
    for layer in layers.iter().rev() {
        let mut adding = Adding {
            target,
            files,
            directories: Vec::new(),
            names: HashMap::new(),
        };
        let layer = Root::open(layer)?;
        layer.walk(Path::new("/"), |path, node, metadata| {
            adding.add(path, node, metadata)
        })?;
        let top = layer.resolve(Path::new("/"), Last::Follow)?;
        copy_properties(
            &top,
            &top.metadata()?,
            &target.resolve(Path::new("/"), Last::Follow)?,
        )?;
        adding.set_directory_times()?;
    }
    Ok(())
}

/// Notes in `whole`, a directory with all of a state, what the state `below` has and it has not, as overlays do.
///
/// # Errors
/// Where one of them cannot be read, or a note cannot be made.
pub(super) fn note_deletions(whole: &Root, below: &Root) -> Result<(), SnapshotError> {
    let mut gone = Vec::new();
    below.walk(Path::new("/"), |path, _, old| {
        match whole.metadata(path, Last::NoFollow) {
            Ok(new) if new.is_dir() && old.is_dir() => return Ok(Visit::Enter),
            Err(error) if error.is_not_found() => gone.push(path.to_owned()),
            Err(error) => return Err(SnapshotError::from(error)),
            // Something else is in its place.
            Ok(_) => {}
        }
        Ok(Visit::Skip)
    })?;
    for path in gone {
        let holder = whole.resolve(path.parent().unwrap_or(Path::new("/")), Last::NoFollow)?;
        let times = holder.metadata()?;
        whole.mknod(&path, Kind::CharDevice, 0, 0)?;
        holder.set_times(times.atime, times.mtime)?;
    }
    Ok(())
}

struct Adding<'a> {
    target: &'a Root,
    files: Files,
    directories: Vec<(PathBuf, Metadata)>,
    /// The first name of each of the layer's files that have several.
    names: HashMap<u64, PathBuf>,
}

impl Adding<'_> {
    fn add(
        &mut self,
        path: &Path,
        node: &Node,
        metadata: &Metadata,
    ) -> Result<Visit, SnapshotError> {
        if metadata.is_whiteout() {
            self.make_way(path)?;
            return Ok(Visit::Skip);
        }
        if metadata.is_dir() {
            self.directory(path, node, metadata)?;
            return Ok(Visit::Enter);
        }
        self.make_way(path)?;
        if self.files == Files::Linked && metadata.kind != Kind::Fifo && self.link(node, path)? {
            return Ok(Visit::Skip);
        }
        if let Some(first) = self.names.get(&metadata.inode) {
            self.target.hardlink(first, path)?;
            return Ok(Visit::Skip);
        }
        if metadata.links > 1 {
            self.names.insert(metadata.inode, path.to_owned());
        }
        match metadata.kind {
            Kind::File => copy_file(node, self.target, path)?,
            Kind::Symlink => self.target.symlink(&node.read_link()?, path)?,
            kind => self
                .target
                .mknod(path, kind, 0o600, metadata.special_device)?,
        }
        copy_properties(node, metadata, &self.target.resolve(path, Last::NoFollow)?)?;
        Ok(Visit::Skip)
    }

    fn directory(
        &mut self,
        path: &Path,
        node: &Node,
        metadata: &Metadata,
    ) -> Result<(), SnapshotError> {
        match self.target.metadata(path, Last::NoFollow) {
            Ok(there) if there.is_dir() => {
                if is_marked_opaque(node)? {
                    self.target.clear_dir(path)?;
                }
            }
            Ok(_) => {
                self.target.remove_file(path)?;
                self.target.mkdir(path, 0o700)?;
            }
            Err(error) if error.is_not_found() => self.target.mkdir(path, 0o700)?,
            Err(error) => return Err(error.into()),
        }
        copy_properties(node, metadata, &self.target.resolve(path, Last::NoFollow)?)?;
        self.directories.push((path.to_owned(), metadata.clone()));
        Ok(())
    }

    /// Whether the file has got a further name; it may have as many as the file system takes.
    fn link(&self, node: &Node, path: &Path) -> Result<bool, SnapshotError> {
        let too_many = [libc::EMLINK, libc::EXDEV, libc::EPERM].map(Some);
        match self.target.hardlink_node(node, path) {
            Ok(()) => Ok(true),
            Err(error) if too_many.contains(&error.raw_os_error()) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn make_way(&self, path: &Path) -> Result<(), SnapshotError> {
        match self.target.remove_all(path) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Filling a directory has changed its times.
    fn set_directory_times(self) -> Result<(), SnapshotError> {
        for (path, metadata) in self.directories.iter().rev() {
            self.target
                .resolve(path, Last::NoFollow)?
                .set_times(metadata.atime, metadata.mtime)?;
        }
        Ok(())
    }
}
