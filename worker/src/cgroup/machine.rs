use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cooper_core::model::LinuxResources;
use rustix::fs::{Mode, OFlags};

use super::error::CgroupError;
use super::hierarchy::{Hierarchy, Version, hierarchies};
use super::limits::{Setting, version_one, version_two};
use super::parents::Parents;
use super::reap::reap;
use super::step::{Group, StepCgroup};
use crate::confine::{Last, Root};
use crate::sys::{DeviceRule, restrict_devices};

/// Name below a parent that an op chose, as BuildKit's.
const BELOW_PARENT: &str = "buildkit";

/// Longest value of a control file that is read back.
///
/// # Units
/// Bytes.
const MAX_VALUE: u64 = 64 << 10;

/// The control groups of this machine, and where those of steps are made.
#[derive(Debug, Clone)]
pub struct Cgroups {
    own: Arc<OwnGroups>,
    /// Parent for steps that name none; empty for this process's own group.
    default_parent: String,
    parents: Arc<Parents>,
}

/// The directories for steps that name no parent, one in every hierarchy where a step needed one. They go when the engine
/// ends; those of an engine that was killed when the next one starts.
#[derive(Debug)]
struct OwnGroups {
    hierarchies: Vec<Hierarchy>,
    /// Their name, below this process's own group.
    name: String,
}

impl OwnGroups {
    fn place(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.own.join(&self.name)
    }
}

impl Drop for OwnGroups {
    fn drop(&mut self) {
        for hierarchy in &self.hierarchies {
            // Most have none, and one that a step still has groups in has to stay.
            if let Ok(root) = Root::open(&hierarchy.place) {
                let _gone = root.remove_dir(&self.place(hierarchy));
            }
        }
    }
}

/// What a step wants of its groups.
#[derive(Debug, Clone, Copy)]
pub struct CgroupRequest<'a> {
    /// Name of the step, of letters and digits.
    pub id: &'a str,
    /// The op's parent; empty for none.
    pub parent: &'a str,
    /// Limits to keep.
    pub limits: Option<&'a LinuxResources>,
    /// Whether the step gets a group in every hierarchy, to be seen by it.
    pub everywhere: bool,
}

impl Cgroups {
    /// Looks at the machine. `instance` tells our groups from those of other engines on it.
    ///
    /// # Errors
    /// Where `/proc` cannot be read.
    pub fn of_this_machine(instance: &str, default_parent: &str) -> Result<Self, CgroupError> {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")?;
        let own = match std::fs::read_to_string("/proc/self/cgroup") {
            // A kernel without control groups.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            own => own?,
        };
        let own = OwnGroups {
            hierarchies: hierarchies(&mountinfo, &own),
            name: format!("cooper-{instance}"),
        };
        for hierarchy in &own.hierarchies {
            reap(hierarchy, &own.place(hierarchy), "");
        }
        Ok(Self {
            own: Arc::new(own),
            default_parent: default_parent.to_owned(),
            parents: Arc::default(),
        })
    }

    /// Notes in a file below which parents groups are made, and removes what an earlier process left there. Blocks.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn noting(mut self, file: &Path) -> Result<Self, CgroupError> {
        let parents = Parents::open(file)?;
        for parent in parents.all() {
            for hierarchy in &self.own.hierarchies {
                let prefix = format!("{}-", self.own.name);
                reap(hierarchy, &parent.join(BELOW_PARENT), &prefix);
            }
        }
        self.parents = Arc::new(parents);
        Ok(self)
    }

    /// Makes the groups that a step needs. Their limits hold from the moment that a process joins them.
    ///
    /// # Errors
    /// `NoController` and `Limit` where a limit cannot be kept, `Parent` for a parent that is none.
    pub fn make(&self, request: CgroupRequest<'_>) -> Result<StepCgroup, CgroupError> {
        let parent = match request.parent {
            "" => self.default_parent.as_str(),
            parent => parent,
        };
        let parent = parent_path(parent)?;
        let nothing = LinuxResources::default();
        let limits = request.limits.unwrap_or(&nothing);
        let mut step = StepCgroup::default();
        self.refuse_unkept(limits)?;
        // Others, and other engines, make groups below a parent as well.
        let name = match &parent {
            Some(parent) => {
                self.parents.note(parent)?;
                format!("{}-{}", self.own.name, request.id)
            }
            None => request.id.to_owned(),
        };
        for hierarchy in &self.own.hierarchies {
            let settings = self.settings_in(hierarchy, limits);
            let wanted = request.everywhere || parent.is_some() || !settings.is_empty();
            let place = match &parent {
                Some(parent) => parent.join(BELOW_PARENT),
                None => self.own.place(hierarchy),
            };
            // In the one of version 2 devices are restricted; where it cannot be had, that is done otherwise.
            if !wanted && hierarchy.version != Version::Two {
                continue;
            }
            match make_group(hierarchy, &place, &name, &settings) {
                Ok(group) => step.add(group).set(&settings)?,
                Err(error) if settings.is_empty() && parent.is_none() => {
                    tracing::debug!(%error, "a step has no control group of its own");
                }
                Err(error) if is_forbidden(&error) => return Err(CgroupError::NotOurs),
                Err(error) => return Err(error),
            }
        }
        Ok(step)
    }

    fn settings_in(&self, hierarchy: &Hierarchy, limits: &LinuxResources) -> Vec<Setting> {
        let all = match &hierarchy.version {
            Version::One { controllers } => {
                let mut settings = version_one(limits);
                settings.retain(|s| controllers.iter().any(|name| name == s.controller));
                return settings;
            }
            Version::Two => version_two(limits),
        };
        all.into_iter()
            .filter(|setting| self.is_in_version_two(setting.controller))
            .collect()
    }

    /// A controller is in one hierarchy: in version 2 unless a mounted one of version 1 has it.
    fn is_in_version_two(&self, controller: &str) -> bool {
        let taken = self.own.hierarchies.iter().any(|hierarchy| {
            matches!(&hierarchy.version, Version::One { controllers }
                if controllers.iter().any(|name| name == controller))
        });
        !taken && self.offers(controller)
    }

    fn offers(&self, controller: &str) -> bool {
        self.own
            .hierarchies
            .iter()
            .filter(|hierarchy| hierarchy.version == Version::Two)
            .filter_map(|hierarchy| Root::open(&hierarchy.place).ok())
            .filter_map(|root| {
                root.read_small(Path::new("cgroup.controllers"), MAX_VALUE)
                    .ok()
            })
            .any(|names| {
                String::from_utf8_lossy(&names)
                    .split_whitespace()
                    .any(|name| name == controller)
            })
    }

    fn refuse_unkept(&self, limits: &LinuxResources) -> Result<(), CgroupError> {
        let kept: Vec<Setting> = self
            .own
            .hierarchies
            .iter()
            .flat_map(|hierarchy| self.settings_in(hierarchy, limits))
            .collect();
        match version_one(limits)
            .into_iter()
            .find(|setting| !kept.iter().any(|k| k.controller == setting.controller))
        {
            Some(Setting {
                controller, wanted, ..
            }) => Err(CgroupError::NoController { controller, wanted }),
            None => Ok(()),
        }
    }
}

impl StepCgroup {
    /// Lets the step use only the devices that the rules name.
    ///
    /// # Errors
    /// Where there is no group of version 2, or the kernel or our rights do not allow it.
    pub(crate) fn restrict_devices(&self, rules: &[DeviceRule]) -> std::io::Result<()> {
        let group = self
            .groups()
            .find(|group| group.version == Version::Two)
            .ok_or(std::io::ErrorKind::NotFound)?;
        let directory = group
            .root
            .subroot(&group.path)
            .map_err(std::io::Error::other)?;
        let directory = rustix::fs::openat(
            directory.as_fd(),
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        restrict_devices(&directory, rules)
    }
}

/// Whether the groups belong to somebody else, as those of the machine do for a plain user.
fn is_forbidden(error: &CgroupError) -> bool {
    let kind = match error {
        CgroupError::Group(error) => error.io_kind(),
        CgroupError::Limit { source, .. } => Some(source.kind()),
        _ => None,
    };
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(kind, Some(PermissionDenied | ReadOnlyFilesystem))
}

/// `None` where no parent is asked for.
fn parent_path(parent: &str) -> Result<Option<PathBuf>, CgroupError> {
    let invalid = || CgroupError::Parent(parent.to_owned());
    if parent.ends_with(".slice") {
        // A slice is systemd's to make.
        return Err(invalid());
    }
    let mut path = PathBuf::new();
    for part in Path::new(parent).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(invalid()),
        }
    }
    Ok((!parent.is_empty()).then_some(path))
}

fn make_group(
    hierarchy: &Hierarchy,
    place: &Path,
    id: &str,
    settings: &[Setting],
) -> Result<Group, CgroupError> {
    let root = Root::open(&hierarchy.place)?;
    root.mkdir_all(place, 0o755, None)?;
    let path = place.join(id);
    match &hierarchy.version {
        Version::One { controllers } if controllers.iter().any(|name| name == "cpuset") => {
            for above in levels(place) {
                inherit_cpuset(&root, &above)?;
            }
        }
        Version::One { .. } => {}
        Version::Two => {
            for above in levels(place) {
                enable(&root, &above, settings)?;
            }
        }
    }
    root.mkdir(&path, 0o755)?;
    let group = Group::new(root, path, hierarchy.version.clone())?;
    if let Version::One { controllers } = &hierarchy.version
        && controllers.iter().any(|name| name == "cpuset")
    {
        inherit_cpuset(&group.root, &group.path)?;
    }
    Ok(group)
}

impl Group {
    fn set(&self, settings: &[Setting]) -> Result<(), CgroupError> {
        settings.iter().try_for_each(|setting| {
            write(&self.root, &self.path.join(setting.file), &setting.value)
        })
    }
}

/// The root of the tree, then every directory down to `place`.
fn levels(place: &Path) -> Vec<PathBuf> {
    let mut levels: Vec<PathBuf> = place.ancestors().map(Path::to_owned).collect();
    levels.reverse();
    levels
}

/// A new cpuset of version 1 is empty, and nobody may join it then.
fn inherit_cpuset(root: &Root, path: &Path) -> Result<(), CgroupError> {
    let Some(above) = path.parent() else {
        return Ok(());
    };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let read = |directory: &Path| {
            let value = root.read_small(&directory.join(file), MAX_VALUE)?;
            Ok::<_, CgroupError>(String::from_utf8_lossy(&value).trim().to_owned())
        };
        if read(path)?.is_empty() {
            write(root, &path.join(file), &read(above)?)?;
        }
    }
    Ok(())
}

/// Hands the controllers that the settings need down to the children of `path`.
fn enable(root: &Root, path: &Path, settings: &[Setting]) -> Result<(), CgroupError> {
    let file = path.join("cgroup.subtree_control");
    for setting in settings {
        let enabled = root.read_small(&file, MAX_VALUE)?;
        let enabled = String::from_utf8_lossy(&enabled).into_owned();
        if !enabled
            .split_whitespace()
            .any(|name| name == setting.controller)
        {
            write(root, &file, &format!("+{}", setting.controller))?;
        }
    }
    Ok(())
}

fn write(root: &Root, path: &Path, value: &str) -> Result<(), CgroupError> {
    let mut file = root.resolve(path, Last::NoFollow)?.open_write()?;
    file.write_all(value.as_bytes())
        .map_err(|source| CgroupError::Limit {
            file: path.display().to_string(),
            value: value.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_cannot_leave_the_tree() {
        for parent in ["..", "a/../..", "/../x", "system.slice"] {
            assert!(parent_path(parent).is_err(), "{parent}");
        }
        assert_eq!(parent_path("").unwrap(), None);
        assert_eq!(parent_path("/a//b/").unwrap(), Some("a/b".into()));
    }
}
