use std::path::{Path, PathBuf};

/// One tree of control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    pub(super) place: PathBuf,
    /// The group of this process, from `place`.
    pub(super) own: PathBuf,
    pub(super) version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    /// A tree for these controllers alone.
    One { controllers: Vec<String> },
    /// The one tree of version 2.
    Two,
}

/// The trees that are mounted, by `/proc/self/mountinfo` and `/proc/self/cgroup`.
pub(super) fn hierarchies(mountinfo: &str, own_groups: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some(hierarchy) = hierarchy(line, own_groups) else {
            continue;
        };
        if !found.iter().any(|known| known.version == hierarchy.version) {
            found.push(hierarchy);
        }
    }
    found
}

/// mountinfo: id, parent, device, root, place, options …, `-`, type, source, super options (proc_pid_mountinfo(5)).
fn hierarchy(line: &str, own_groups: &str) -> Option<Hierarchy> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, place) = (fields.next()?, fields.next()?);
    let mut filesystem = filesystem.split(' ');
    let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
    let version = match kind {
        "cgroup2" => Version::Two,
        "cgroup" => Version::One {
            controllers: options
                .split(',')
                .filter(|option| !["rw", "ro", "xattr", "clone_children"].contains(option))
                .map(String::from)
                .collect(),
        },
        _ => return None,
    };
    let own = own_group(&version, own_groups)?;
    // A mount of a part of the tree, as in a container, shows paths from that part.
    let own = own.strip_prefix(root).unwrap_or(Path::new(""));
    Some(Hierarchy {
        place: unescape(place),
        own: own.strip_prefix("/").map_or(own.to_owned(), Path::to_owned),
        version,
    })
}

/// `/proc/self/cgroup`: number, controllers, path; both of the first are empty or zero for version 2.
fn own_group(version: &Version, own_groups: &str) -> Option<PathBuf> {
    own_groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let is_it = match version {
            Version::Two => controllers.is_empty(),
            Version::One { controllers: of } => {
                !controllers.is_empty()
                    && controllers
                        .split(',')
                        .all(|name| of.iter().any(|known| known == name))
            }
        };
        is_it.then(|| PathBuf::from(path))
    })
}

/// Blanks and backslashes are written as octal numbers.
fn unescape(text: &str) -> PathBuf {
    let mut path = text.to_owned();
    for (written, meant) in [("\\040", " "), ("\\011", "\t"), ("\\134", "\\")] {
        path = path.replace(written, meant);
    }
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_of_both_versions_and_the_own_place_in_them_are_found() {
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            35 31 0:32 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            36 31 0:32 / /else/memory rw - cgroup cgroup rw,memory\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            41 31 0:38 / /sys/fs/a\\040b rw,relatime - cgroup2 cgroup2 rw\n";
        let own = "9:name=systemd:/\n4:memory:/docker/1/x\n2:cpu,cpuacct:/y\n0::/user.slice/z\n";
        let found = hierarchies(mountinfo, own);
        let places: Vec<_> = found
            .iter()
            .map(|h| (h.place.to_str().unwrap(), h.own.to_str().unwrap()))
            .collect();
        assert_eq!(
            places,
            [
                ("/sys/fs/cgroup/cpu,cpuacct", "y"),
                ("/sys/fs/cgroup/memory", "x"),
                ("/sys/fs/cgroup/systemd", ""),
                ("/sys/fs/a b", "user.slice/z"),
            ]
        );
        assert_eq!(found[3].version, Version::Two);
    }
}
