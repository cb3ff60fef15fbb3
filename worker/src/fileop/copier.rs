use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cooper_core::patterns::{ParentMatches, PatternList};

use super::copy::Scene;
use super::error::FileOpError;
use super::mode_change::ModeChange;
use super::path::is_nothing;
use crate::confine::{ConfineError, Kind, Last, Metadata, Node, Owner, Root, Time, Visit};
use crate::fsync::copy_content;

/// What a copy changes of what it copies, and what it leaves out.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) owner: Option<Owner>,
    pub(super) time: Option<Time>,
    pub(super) fixed_mode: Option<u32>,
    pub(super) mode_change: Option<ModeChange>,
    pub(super) includes: Option<PatternList>,
    pub(super) excludes: Option<PatternList>,
    /// Whether what is in the place of a copied object gives way whatever it is.
    pub(super) replace: bool,
}

/// One copy of one object with all that is below it.
pub(super) struct Copier<'a> {
    scene: Scene<'a>,
    rules: &'a Rules,
    /// Where each file with several names was copied to first.
    links: HashMap<(u64, u64), PathBuf>,
    /// Directories that are being copied, outermost first.
    open: Vec<Directory>,
}

struct Directory {
    /// Below what is copied; empty for the top.
    relative: PathBuf,
    source: PathBuf,
    target: PathBuf,
    state: DirectoryState,
    includes: ParentMatches,
    excludes: ParentMatches,
    /// The target, opened when the first object is copied into it.
    root: OnceCell<Root>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DirectoryState {
    /// The patterns do not select it; it is made when something in it is copied.
    Waiting,
    /// It was there and gets the source's times only.
    KeepsItsMetadata,
    /// It gets the source's metadata when all in it is copied.
    GetsMetadata,
    /// It was there before and is not selected.
    Untouched,
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
        match is_taken(&error) {
            true => Self::Taken,
            false => Self::Failed(error.into()),
        }
    }
}

fn is_taken(error: &ConfineError) -> bool {
    error.io_kind() == Some(std::io::ErrorKind::AlreadyExists)
}

struct Decision {
    wanted: bool,
    enter: bool,
    includes: ParentMatches,
    excludes: ParentMatches,
}

impl<'a> Copier<'a> {
    pub(super) fn new(scene: Scene<'a>, rules: &'a Rules) -> Self {
        Self {
            scene,
            rules,
            links: HashMap::new(),
            open: Vec::new(),
        }
    }

    /// Copies the object at `source` to exactly `target`, whose directory exists.
    pub(super) fn copy(
        mut self,
        source: &Path,
        node: &Node,
        metadata: &Metadata,
        target: &Path,
    ) -> Result<(), FileOpError> {
        if !metadata.is_dir() {
            return self.copy_object(node, metadata, target);
        }
        self.make_way(target, metadata)?;
        let created = self.make_directory(target)?;
        self.open.push(Directory {
            relative: PathBuf::new(),
            source: source.to_owned(),
            target: target.to_owned(),
            state: if created {
                DirectoryState::GetsMetadata
            } else {
                DirectoryState::KeepsItsMetadata
            },
            includes: ParentMatches::default(),
            excludes: ParentMatches::default(),
            root: OnceCell::new(),
        });
        let root = self.scene.source;
        root.walk(source, |relative, node, metadata| {
            self.visit(source, target, relative, node, metadata)
        })?;
        while let Some(directory) = self.open.pop() {
            self.close(&directory)?;
        }
        Ok(())
    }

    fn visit(
        &mut self,
        source: &Path,
        target: &Path,
        relative: &Path,
        node: &Node,
        metadata: &Metadata,
    ) -> Result<Visit, FileOpError> {
        self.scene.stop.check()?;
        self.leave_for(relative)?;
        let decision = self.decide(relative)?;
        if !decision.wanted && !metadata.is_dir() {
            return Ok(Visit::Skip);
        }
        let place = target.join(relative);
        if decision.wanted {
            if metadata.is_dir() {
                self.make_way(&place, metadata)?;
            }
            self.make_waiting_directories()?;
        }
        if !metadata.is_dir() {
            self.copy_object(node, metadata, &place)?;
            return Ok(Visit::Skip);
        }
        let mut state = DirectoryState::Waiting;
        if decision.wanted {
            self.make_directory(&place)?;
            state = DirectoryState::GetsMetadata;
        }
        self.open.push(Directory {
            relative: relative.to_owned(),
            source: source.join(relative),
            target: place,
            state,
            includes: decision.includes,
            excludes: decision.excludes,
            root: OnceCell::new(),
        });
        Ok(if decision.enter {
            Visit::Enter
        } else {
            Visit::Skip
        })
    }

    fn decide(&self, relative: &Path) -> Result<Decision, FileOpError> {
        let mut decision = Decision {
            wanted: true,
            enter: true,
            includes: ParentMatches::default(),
            excludes: ParentMatches::default(),
        };
        let relative = relative.to_string_lossy();
        let parent = self.open.last();
        let unknown = ParentMatches::default();
        let failed = |list| move |source| FileOpError::Pattern { list, source };
        if let Some(list) = &self.rules.includes {
            let above = parent.map_or(&unknown, |parent| &parent.includes);
            let (matched, here) = list
                .matches_below(&relative, above)
                .map_err(failed("includepatterns"))?;
            decision.wanted = matched;
            decision.includes = here;
        }
        if let Some(list) = &self.rules.excludes {
            let above = parent.map_or(&unknown, |parent| &parent.excludes);
            let (matched, here) = list
                .matches_below(&relative, above)
                .map_err(failed("excludepatterns"))?;
            decision.wanted &= !matched;
            decision.excludes = here;
            decision.enter = !matched || list.has_exceptions();
        }
        Ok(decision)
    }

    fn leave_for(&mut self, relative: &Path) -> Result<(), FileOpError> {
        while let Some(directory) = self
            .open
            .pop_if(|directory| !relative.starts_with(&directory.relative))
        {
            self.close(&directory)?;
        }
        Ok(())
    }

    fn make_waiting_directories(&mut self) -> Result<(), FileOpError> {
        for at in 0..self.open.len() {
            if self.open[at].state == DirectoryState::Waiting {
                let directory = &self.open[at];
                let created = self.make_directory(&directory.target)?;
                self.open[at].state = if created {
                    DirectoryState::GetsMetadata
                } else {
                    self.take_mode(directory)?;
                    DirectoryState::Untouched
                };
            }
        }
        Ok(())
    }

    /// A directory that was there and only leads to what is copied gets the source's mode and nothing else.
    fn take_mode(&self, directory: &Directory) -> Result<(), FileOpError> {
        let source = self
            .scene
            .source
            .metadata(&directory.source, Last::NoFollow)?;
        let target = self
            .scene
            .target
            .resolve(&directory.target, Last::NoFollow)?;
        Ok(target.set_mode(source.mode)?)
    }

    /// Removes what is in the way of a copied object; a directory stays for a directory.
    fn make_way(&self, target: &Path, metadata: &Metadata) -> Result<(), FileOpError> {
        let there = match self.scene.target.metadata(target, Last::NoFollow) {
            Err(error) if is_nothing(&error) => return Ok(()),
            there => there?,
        };
        let shown = Path::new("/").join(target);
        match (there.is_dir(), metadata.is_dir()) {
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

    /// Makes a directory unless one is there.
    fn make_directory(&self, target: &Path) -> Result<bool, FileOpError> {
        match self.scene.target.metadata(target, Last::NoFollow) {
            Err(error) if is_nothing(&error) => {
                self.scene
                    .target
                    .mkdir(target, 0o700)
                    .map_err(FileOpError::at("mkdir", target))?;
                Ok(true)
            }
            Ok(there) if there.is_dir() => Ok(false),
            Ok(_) => Err(FileOpError::Invalid(format!(
                "cannot copy to non-directory: /{}",
                target.display()
            ))),
            Err(error) => Err(error.into()),
        }
    }

    fn close(&self, directory: &Directory) -> Result<(), FileOpError> {
        let source = || self.scene.source.resolve(&directory.source, Last::NoFollow);
        match directory.state {
            DirectoryState::Waiting | DirectoryState::Untouched => Ok(()),
            DirectoryState::GetsMetadata => {
                let node = source()?;
                let target = self.scene.target;
                let to = target.resolve(&directory.target, Last::NoFollow)?;
                self.copy_metadata(&node, &node.metadata()?, &to)
            }
            DirectoryState::KeepsItsMetadata => {
                let metadata = source()?.metadata()?;
                let target = self
                    .scene
                    .target
                    .resolve(&directory.target, Last::NoFollow)?;
                self.set_times(&target, &metadata)
            }
        }
    }

    /// Copies anything but a directory. Mostly nothing is in its place, so that this is found out by making it.
    fn copy_object(
        &mut self,
        node: &Node,
        metadata: &Metadata,
        target: &Path,
    ) -> Result<(), FileOpError> {
        let first = match metadata.kind {
            Kind::File => self.first_name(metadata, target),
            _ => None,
        };
        match self.make_object(node, metadata, target, first.as_deref()) {
            Err(Unmade::Taken) => self.make_way(target, metadata)?,
            Err(Unmade::Failed(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
        match self.make_object(node, metadata, target, first.as_deref()) {
            Err(Unmade::Taken) => Err(FileOpError::Invalid(format!(
                "cannot make /{}: something else was made there meanwhile",
                target.display()
            ))),
            Err(Unmade::Failed(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Makes anything but a directory where nothing is: a further name of a file that was copied, or a copy.
    fn make_object(
        &self,
        node: &Node,
        metadata: &Metadata,
        target: &Path,
        first: Option<&Path>,
    ) -> Result<(), Unmade> {
        let (to, place) = self.directory_of(target)?;
        match (metadata.kind, first) {
            (Kind::File, Some(first)) => {
                return Ok(self.scene.target.hardlink(first, target)?);
            }
            (Kind::File, None) => return self.copy_file(node, metadata, to, place, target),
            (Kind::Symlink, _) => to.symlink(&node.read_link()?, place)?,
            // A socket without its process is nothing: an empty file stands for it.
            (Kind::Socket, _) => to.mknod(place, Kind::File, 0o600, 0)?,
            (kind, _) => to.mknod(place, kind, 0o600, metadata.special_device)?,
        }
        let made = to.resolve(place, Last::NoFollow)?;
        Ok(self.copy_metadata(node, metadata, &made)?)
    }

    /// The directory that holds `target`, and the way from there: where it is the one being copied it is open.
    fn directory_of<'p>(&self, target: &'p Path) -> Result<(&Root, &'p Path), FileOpError> {
        let (Some(directory), Some(name)) = (self.open.last(), target.file_name()) else {
            return Ok((self.scene.target, target));
        };
        if target.parent() != Some(&directory.target) {
            return Ok((self.scene.target, target));
        }
        let root = match directory.root.get() {
            Some(root) => root,
            None => {
                let root = self.scene.target.subroot(&directory.target)?;
                directory.root.get_or_init(|| root)
            }
        };
        Ok((root, Path::new(name)))
    }

    /// Where the file was copied to under another name; notes this name if it is the first.
    fn first_name(&mut self, metadata: &Metadata, target: &Path) -> Option<PathBuf> {
        if metadata.links < 2 {
            return None;
        }
        match self.links.entry((metadata.device, metadata.inode)) {
            std::collections::hash_map::Entry::Occupied(first) => Some(first.get().clone()),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(target.to_owned());
                None
            }
        }
    }

    fn copy_file(
        &self,
        node: &Node,
        metadata: &Metadata,
        directory: &Root,
        place: &Path,
        target: &Path,
    ) -> Result<(), Unmade> {
        let from = node.readable()?;
        let to = match directory.create_node(place, 0o600) {
            Err(error) if is_taken(&error) => return Err(Unmade::Taken),
            made => made.map_err(FileOpError::at("open", target))?,
        };
        if let (Some(from), Some(to)) = (from.file(), to.file()) {
            copy_content(from, to, Some(metadata.size))
                .map(drop)
                .map_err(|source| FileOpError::Content {
                    path: format!("/{}", target.display()),
                    source,
                })?;
        }
        Ok(self.copy_metadata(&from, metadata, &to)?)
    }

    fn copy_metadata(
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

    fn set_times(&self, to: &Node, metadata: &Metadata) -> Result<(), FileOpError> {
        match self.rules.time {
            Some(time) => to.set_times(time, time)?,
            None => to.set_times(metadata.atime, metadata.mtime)?,
        }
        Ok(())
    }
}
