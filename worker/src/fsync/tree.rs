use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use cooper_core::patterns::{ParentMatches, PatternList};
use cooper_core::ports::{DirFilter, FileStat};

use super::error::SyncError;
use super::follow::follow_links;
use super::stat::describe;
use crate::confine::{ConfineError, Kind, Metadata, Node, Root, Visit};

/// A directory and what of it is wanted.
#[derive(Debug)]
pub struct Tree {
    root: Root,
    includes: Option<PatternList>,
    excludes: Option<PatternList>,
    owned_by_root: bool,
    mod_time: Option<i64>,
}

impl Tree {
    /// A tree that is filtered as a client filters what it sends: symbolic links in the followed paths are resolved
    /// now, and what they lead to is included.
    ///
    /// # Errors
    /// When a pattern is not well formed or a followed path cannot be read.
    pub fn new(root: Root, filter: &DirFilter) -> Result<Self, SyncError> {
        let mut includes = filter.include_patterns.clone();
        if !filter.follow_paths.is_empty()
            && let Some(targets) = follow_links(&root, &filter.follow_paths)?
        {
            includes.extend(targets);
            includes = without_covered(includes).unwrap_or_default();
        }
        Ok(Self {
            root,
            includes: patterns("includepatterns", &includes)?,
            excludes: patterns("excludepatterns", &filter.exclude_patterns)?,
            owned_by_root: false,
            mod_time: None,
        })
    }

    /// The same tree, all of it said to belong to user and group 0: what clients do for build contexts.
    #[must_use]
    pub fn owned_by_root(mut self) -> Self {
        self.owned_by_root = true;
        self
    }

    /// The same tree, all of it said to have been modified at this time.
    ///
    /// # Units
    /// Nanoseconds since 1970.
    #[must_use]
    pub fn with_modification_time(mut self, nanoseconds: i64) -> Self {
        self.mod_time = Some(nanoseconds);
        self
    }

    /// Opens a regular file of the tree for reading.
    ///
    /// # Errors
    /// Where it is gone or not a regular file.
    pub fn open(&self, path: &str) -> Result<File, ConfineError> {
        self.root
            .resolve(Path::new(path), crate::confine::Last::NoFollow)?
            .open_read()
    }

    /// Whether something has this path, whatever the filter says.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let path = Path::new(path);
        let found = self.root.metadata(path, crate::confine::Last::NoFollow);
        found.is_ok()
    }

    /// Visits what the filter leaves, each directory before its content.
    ///
    /// A second name of a file has the first name that was visited as its `linkname`. A directory that only leads to
    /// something wanted is visited just before that. The node is absent for such a directory.
    ///
    /// # Shape
    /// Depth first, names in one directory by their bytes: the order of the protocol.
    ///
    /// # Errors
    /// The visitor's, or where something cannot be read.
    pub fn walk<E: From<SyncError>>(
        &self,
        mut visit: impl FnMut(FileStat, Option<&Node>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = Walk::default();
        let walked = self
            .root
            .walk::<Stop<E>>(Path::new("."), |path, node, metadata| {
                self.step(&mut state, path, node, metadata, &mut visit)
            });
        walked.map_err(|stop| match stop {
            Stop::Visitor(error) => error,
            Stop::Tree(error) => E::from(error),
        })
    }

    fn step<E: From<SyncError>>(
        &self,
        state: &mut Walk,
        path: &Path,
        node: &Node,
        metadata: &Metadata,
        visit: &mut impl FnMut(FileStat, Option<&Node>) -> Result<(), E>,
    ) -> Result<Visit, Stop<E>> {
        let Some(path) = path.to_str() else {
            let shown = path.to_string_lossy();
            return Err(Stop::Tree(SyncError::Protocol(format!(
                "the name {shown:?} is not UTF-8, which the protocol cannot carry"
            ))));
        };
        state.leave_for(path);
        let decision = self.decide(state, path).map_err(Stop::Tree)?;
        if decision.prune {
            return Ok(Visit::Skip);
        }
        let mut stat = None;
        if decision.wanted || metadata.is_dir() {
            stat = Some(self.describe(path, node, metadata)?);
        }
        if decision.wanted {
            state.announce_parents(visit)?;
            let mut stat = stat.clone().expect("a wanted entry was described");
            state.link(&mut stat, metadata);
            visit(stat, Some(node)).map_err(Stop::Visitor)?;
        }
        if metadata.is_dir() {
            state.parents.push(Parent {
                prefix: format!("{path}/"),
                announcement: stat.filter(|_| !decision.wanted),
                includes: decision.includes,
                excludes: decision.excludes,
            });
        }
        Ok(Visit::Enter)
    }

    fn describe<E>(
        &self,
        path: &str,
        node: &Node,
        metadata: &Metadata,
    ) -> Result<FileStat, Stop<E>> {
        let mut stat = describe(path, node, metadata)?;
        if self.owned_by_root {
            (stat.uid, stat.gid) = (0, 0);
        }
        if let Some(mod_time) = self.mod_time {
            stat.mod_time = mod_time;
        }
        Ok(stat)
    }

    fn decide(&self, state: &Walk, path: &str) -> Result<Decision, SyncError> {
        let mut decision = Decision {
            wanted: true,
            ..Decision::default()
        };
        let unknown = ParentMatches::default();
        let parent = state.parents.last();
        if let Some(list) = &self.includes {
            let above = parent.map_or(&unknown, |parent| &parent.includes);
            let (matched, here) = list
                .matches_below(path, above)
                .map_err(invalid("includepatterns"))?;
            decision.includes = here;
            if !matched {
                decision.wanted = false;
                decision.prune = !list.may_include_below(path);
            }
        }
        if let Some(list) = &self.excludes {
            let above = parent.map_or(&unknown, |parent| &parent.excludes);
            let (matched, here) = list
                .matches_below(path, above)
                .map_err(invalid("excludepatterns"))?;
            decision.excludes = here;
            if matched {
                decision.wanted = false;
                decision.prune |= !list.may_spare_below(path);
            }
        }
        Ok(decision)
    }
}

#[derive(Default)]
struct Decision {
    wanted: bool,
    prune: bool,
    includes: ParentMatches,
    excludes: ParentMatches,
}

/// What ends a walk early.
enum Stop<E> {
    Visitor(E),
    Tree(SyncError),
}

impl<E> From<ConfineError> for Stop<E> {
    fn from(error: ConfineError) -> Self {
        Self::Tree(error.into())
    }
}

#[derive(Default)]
struct Walk {
    parents: Vec<Parent>,
    /// First visited name of each inode.
    names: HashMap<(u64, u64), String>,
}

struct Parent {
    prefix: String,
    /// Its description, as long as it was not visited.
    announcement: Option<FileStat>,
    includes: ParentMatches,
    excludes: ParentMatches,
}

impl Walk {
    fn leave_for(&mut self, path: &str) {
        while self
            .parents
            .last()
            .is_some_and(|parent| !path.starts_with(&parent.prefix))
        {
            self.parents.pop();
        }
    }

    fn announce_parents<E>(
        &mut self,
        visit: &mut impl FnMut(FileStat, Option<&Node>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        for parent in &mut self.parents {
            if let Some(stat) = parent.announcement.take() {
                visit(stat, None).map_err(Stop::Visitor)?;
            }
        }
        Ok(())
    }

    fn link(&mut self, stat: &mut FileStat, metadata: &Metadata) {
        if metadata.links < 2 || matches!(metadata.kind, Kind::Directory | Kind::Symlink) {
            return;
        }
        match self.names.entry((metadata.device, metadata.inode)) {
            std::collections::hash_map::Entry::Occupied(first) => {
                stat.linkname.clone_from(first.get());
            }
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(stat.path.clone());
            }
        }
    }
}

fn patterns(list: &'static str, texts: &[String]) -> Result<Option<PatternList>, SyncError> {
    if texts.is_empty() {
        return Ok(None);
    }
    PatternList::new(texts).map(Some).map_err(invalid(list))
}

fn invalid(list: &'static str) -> impl Fn(cooper_core::patterns::PatternError) -> SyncError {
    move |source| SyncError::Pattern { list, source }
}

/// The paths without those that lie below the one before them; `None` when one is the root, which is no restriction.
pub(super) fn without_covered(paths: Vec<String>) -> Option<Vec<String>> {
    let mut kept: Vec<String> = Vec::with_capacity(paths.len());
    for path in paths {
        if path == "." {
            return None;
        }
        let above = kept.last().map(|last| format!("{last}/"));
        if above.is_none_or(|above| !path.starts_with(&above)) {
            kept.push(path);
        }
    }
    Some(kept)
}
