use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::error::CgroupError;
use super::hierarchy::Version;
use crate::confine::{Last, Root};

/// The control groups of one step. They are removed when this is dropped, for which the step must have ended.
#[derive(Debug, Default)]
pub struct StepCgroup {
    groups: Vec<Group>,
}

/// One group in one hierarchy.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) root: Root,
    /// From the hierarchy's root.
    pub(super) path: PathBuf,
    pub(super) version: Version,
    /// Where a process writes itself to join.
    processes: File,
}

impl Group {
    /// Opens a group that was just made.
    pub(super) fn new(root: Root, path: PathBuf, version: Version) -> Result<Self, CgroupError> {
        let node = root.resolve(&path.join("cgroup.procs"), Last::NoFollow)?;
        Ok(Self {
            processes: node.open_write()?,
            root,
            path,
            version,
        })
    }

    fn has(&self, controller: &str) -> bool {
        match &self.version {
            Version::One { controllers } => controllers.iter().any(|name| name == controller),
            Version::Two => true,
        }
    }

    /// A number in a file of lines such as `oom_kill 1`.
    fn counter(&self, file: &str, name: &str) -> Option<u64> {
        let content = self.root.read_small(&self.path.join(file), 64 << 10).ok()?;
        String::from_utf8_lossy(&content).lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            (key == name).then(|| value.trim().parse().ok()).flatten()
        })
    }
}

impl StepCgroup {
    pub(super) fn add(&mut self, group: Group) -> &Group {
        self.groups.push(group);
        &self.groups[self.groups.len() - 1]
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// The group's path from the root of every hierarchy, for who makes and joins it there; `None` where it is not the same
    /// in all.
    #[must_use]
    pub fn place(&self) -> Option<PathBuf> {
        let mut paths = self.groups.iter().map(|group| &group.path);
        let first = paths.next()?;
        paths
            .all(|path| path == first)
            .then(|| Path::new("/").join(first))
    }

    /// Files that a process writes `0` to, to join.
    pub fn join_files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.groups.iter().map(|group| group.processes.as_fd())
    }

    /// The directory of the group of version 2, and which of [`Self::join_files`] is that group's: a process can be born
    /// there.
    #[must_use]
    pub fn birthplace(&self) -> Option<(usize, OwnedFd)> {
        let is_unified = |group: &Group| matches!(group.version, Version::Two);
        let at = self.groups.iter().position(is_unified)?;
        let group = &self.groups[at];
        let directory = group.root.resolve(&group.path, Last::NoFollow).ok()?;
        Some((at, directory.into_fd()))
    }

    /// Whether the kernel killed a process of the step for want of memory.
    #[must_use]
    pub fn ran_out_of_memory(&self) -> bool {
        self.groups
            .iter()
            .filter(|group| group.has("memory"))
            .filter_map(|group| match group.version {
                Version::One { .. } => group.counter("memory.oom_control", "oom_kill"),
                Version::Two => group.counter("memory.events", "oom_kill"),
            })
            .any(|kills| kills > 0)
    }

    /// The directories of the groups of version 1, by the name of their hierarchy's mount, for a step that is to see them.
    ///
    /// # Errors
    /// Where one cannot be opened.
    pub fn directories(&self) -> Result<Vec<(PathBuf, OwnedFd)>, CgroupError> {
        let of_version_one = self.groups.iter().filter_map(|group| match &group.version {
            Version::One { controllers } => Some((group, controllers.join(","))),
            Version::Two => None,
        });
        of_version_one
            .map(|(group, name)| {
                let name = name.strip_prefix("name=").unwrap_or(&name).to_owned();
                let node = group.root.resolve(&group.path, Last::NoFollow)?;
                Ok((PathBuf::from(name), node.into_fd()))
            })
            .collect()
    }
}

impl Drop for StepCgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            if let Err(error) = remove(&group.root, &group.path) {
                tracing::warn!(%error, "a step's control group stays until the next start");
            }
        }
    }
}

/// Removes a group and what the step made below it.
pub(super) fn remove(root: &Root, path: &Path) -> Result<(), CgroupError> {
    for entry in root.read_dir(path)? {
        if entry.metadata.is_dir() {
            remove(root, &path.join(&entry.name))?;
        }
    }
    Ok(root.remove_dir(path)?)
}
