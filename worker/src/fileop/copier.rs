use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;

use cooper_core::patterns::{ParentMatches, PatternList};
use parking_lot::Mutex;
use rayon::prelude::*;

use super::copy::Scene;
use super::error::FileOpError;
use super::mode_change::ModeChange;
use super::object::{ObjectCopier, Place};
use super::path::is_nothing;
use crate::confine::{Found, Kind, Last, Metadata, Node, Owner, Root, Time, Visit};

/// Files of one directory that are gathered before they are copied side by side.
const MANY: usize = 512;

/// Fewer files than these are not worth a second processor.
const FEW: usize = 16;

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
    objects: ObjectCopier<'a>,
    /// Where each file with several names was copied to first.
    links: Mutex<HashMap<(u64, u64), PathBuf>>,
    /// Directories that are being copied, outermost first.
    open: Vec<Directory>,
    /// Files of the innermost directory that are still to be copied.
    files: Option<Files>,
}

/// Files of one directory.
struct Files {
    source: Arc<Root>,
    names: Vec<OsString>,
}

/// A further name of a file that was copied to `first`.
struct FurtherName {
    node: Node,
    metadata: Metadata,
    target: PathBuf,
    first: PathBuf,
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
    root: OnceLock<Root>,
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
            objects: ObjectCopier { scene, rules },
            links: Mutex::default(),
            open: Vec::new(),
            files: None,
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
        self.objects.make_way(target, Kind::Directory)?;
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
            root: OnceLock::new(),
        });
        let root = self.scene.source;
        root.walk_listed(source, |found| self.visit(source, target, found))?;
        self.copy_files()?;
        while let Some(directory) = self.open.pop() {
            self.close(&directory)?;
        }
        Ok(())
    }

    fn visit(
        &mut self,
        source: &Path,
        target: &Path,
        found: &Found<'_>,
    ) -> Result<Visit, FileOpError> {
        self.scene.stop.check()?;
        let relative = found.path();
        self.leave_for(relative)?;
        let decision = self.decide(relative)?;
        let kind = found.kind()?;
        if !decision.wanted && kind != Kind::Directory {
            return Ok(Visit::Skip);
        }
        let place = target.join(relative);
        if decision.wanted {
            if kind == Kind::Directory {
                self.objects.make_way(&place, kind)?;
            }
            self.make_waiting_directories()?;
        }
        match kind {
            Kind::Directory => {}
            Kind::File => {
                self.gather(found)?;
                return Ok(Visit::Skip);
            }
            _ => {
                let (node, metadata) = found.open()?;
                self.copy_object(node, metadata, &place)?;
                return Ok(Visit::Skip);
            }
        }
        let mut state = DirectoryState::Waiting;
        if decision.wanted {
            self.make_directory(&place)?;
            state = DirectoryState::GetsMetadata;
        }
        self.copy_files()?;
        self.open.push(Directory {
            relative: relative.to_owned(),
            source: source.join(relative),
            target: place,
            state,
            includes: decision.includes,
            excludes: decision.excludes,
            root: OnceLock::new(),
        });
        Ok(if decision.enter {
            Visit::Enter
        } else {
            Visit::Skip
        })
    }

    /// Notes a file of the innermost directory, to be copied with others of it.
    fn gather(&mut self, found: &Found<'_>) -> Result<(), FileOpError> {
        let files = self.files.get_or_insert_with(|| Files {
            source: found.directory().clone(),
            names: Vec::new(),
        });
        files.names.push(found.name().to_owned());
        if files.names.len() >= MANY {
            self.copy_files()?;
        }
        Ok(())
    }

    /// Copies the files that were gathered. Several at a time, but for those with several names.
    fn copy_files(&mut self) -> Result<(), FileOpError> {
        let (Some(Files { source, names }), Some(directory)) =
            (self.files.take(), self.open.last())
        else {
            return Ok(());
        };
        let to = self.root_of(directory)?;
        let copy = |name: &OsString| {
            let place = Place {
                target: &directory.target.join(name),
                directory: to,
                path: Path::new(name),
            };
            self.copy_listed(&source, place)
        };
        let copied: Vec<_> = if names.len() < FEW {
            names.iter().map(copy).collect()
        } else {
            let names = names.par_iter().with_min_len(FEW / 2);
            names.map(copy).collect()
        };
        for copied in copied {
            if let Some(name) = copied? {
                let place = self.place(&name.target)?;
                let first = Some(name.first.as_path());
                self.objects
                    .copy(&name.node, &name.metadata, place, first)?;
            }
        }
        Ok(())
    }

    /// Copies one file of a directory, unless it was copied under another name.
    fn copy_listed(
        &self,
        source: &Root,
        place: Place<'_>,
    ) -> Result<Option<FurtherName>, FileOpError> {
        self.scene.stop.check()?;
        let (node, metadata) = match source.open_listed(place.path) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        if let Some(first) = self.first_name(&metadata, place.target) {
            return Ok(Some(FurtherName {
                node,
                metadata,
                target: place.target.to_owned(),
                first,
            }));
        }
        self.objects.copy(&node, &metadata, place, None)?;
        Ok(None)
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
        let stays = |directory: &Directory| relative.starts_with(&directory.relative);
        if !self.open.last().is_none_or(stays) {
            self.copy_files()?;
        }
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
                let metadata = node.metadata()?;
                self.objects.copy_metadata(&node, &metadata, &to)
            }
            DirectoryState::KeepsItsMetadata => {
                let metadata = source()?.metadata()?;
                let target = self
                    .scene
                    .target
                    .resolve(&directory.target, Last::NoFollow)?;
                self.objects.set_times(&target, &metadata)
            }
        }
    }

    /// Copies anything but a directory.
    fn copy_object(
        &self,
        node: &Node,
        metadata: &Metadata,
        target: &Path,
    ) -> Result<(), FileOpError> {
        let first = match metadata.kind {
            Kind::File => self.first_name(metadata, target),
            _ => None,
        };
        let place = self.place(target)?;
        self.objects.copy(node, metadata, place, first.as_deref())
    }

    /// How `target` is reached: where its directory is the one being copied, that is open.
    fn place<'p>(&'p self, target: &'p Path) -> Result<Place<'p>, FileOpError> {
        let mut place = Place {
            target,
            directory: self.scene.target,
            path: target,
        };
        if let (Some(directory), Some(name)) = (self.open.last(), target.file_name())
            && target.parent() == Some(&directory.target)
        {
            (place.directory, place.path) = (self.root_of(directory)?, Path::new(name));
        }
        Ok(place)
    }

    /// The directory that is copied to.
    fn root_of<'p>(&self, directory: &'p Directory) -> Result<&'p Root, FileOpError> {
        if let Some(root) = directory.root.get() {
            return Ok(root);
        }
        let root = self.scene.target.subroot(&directory.target)?;
        Ok(directory.root.get_or_init(|| root))
    }

    /// Where the file was copied to under another name; notes this name if it is the first.
    fn first_name(&self, metadata: &Metadata, target: &Path) -> Option<PathBuf> {
        if metadata.links < 2 {
            return None;
        }
        match self.links.lock().entry((metadata.device, metadata.inode)) {
            std::collections::hash_map::Entry::Occupied(first) => Some(first.get().clone()),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(target.to_owned());
                None
            }
        }
    }
}
