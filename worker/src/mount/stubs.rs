use std::path::{Component, Path, PathBuf};

use crate::confine::{ConfineError, Last, Root};

/// Names that do not exist in a root file system yet and will be made only to be mounted on.
///
/// They are remembered before a container runs and taken away after it, where nothing was put into them. Looking and
/// removing both stay inside the root, and a name that became a link, or whose directory did, is left alone (T-A5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountStubs {
    /// Without links at the time of looking; the innermost first.
    names: Vec<PathBuf>,
}

/// How much of a missing path counts as made for the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StubDepth {
    /// Its last name.
    LastName,
    /// Also the directories on the way to it.
    WholePath,
}

impl MountStubs {
    /// Looks which of `targets` are missing in `root`.
    ///
    /// # Errors
    /// Where a path cannot be looked at; one that cannot exist (below a file, in a loop of links) is no error here.
    pub fn missing<'a>(
        root: &Root,
        targets: impl IntoIterator<Item = &'a Path>,
        depth: StubDepth,
    ) -> Result<Self, ConfineError> {
        let mut names: Vec<PathBuf> = Vec::new();
        for target in targets {
            let Some(mut physical) = physical(root, target)? else {
                continue;
            };
            while physical.file_name().is_some() && !exists(root, &physical)? {
                if !names.contains(&physical) {
                    names.push(physical.clone());
                }
                if depth == StubDepth::LastName {
                    break;
                }
                physical.pop();
            }
        }
        names.sort_by_key(|name| std::cmp::Reverse(name.components().count()));
        Ok(Self { names })
    }

    /// Removes what is there and empty. The times of the directories that held them stay as they are.
    ///
    /// # Errors
    /// Where an empty stub cannot be removed.
    pub fn remove(self, root: &Root) -> Result<(), ConfineError> {
        for name in &self.names {
            let Ok(node) = root.resolve_without_links(name) else {
                continue;
            };
            let metadata = node.metadata()?;
            let holder = root.resolve_without_links(name.parent().unwrap_or(Path::new("/")))?;
            let before = holder.metadata()?;
            if metadata.is_dir() {
                match root.remove_dir(name) {
                    Err(error)
                        if error.io_kind() == Some(std::io::ErrorKind::DirectoryNotEmpty) =>
                    {
                        continue;
                    }
                    answer => answer?,
                }
            } else if metadata.is_file() && metadata.size == 0 {
                root.remove_file(name)?;
            } else {
                continue;
            }
            holder.set_times(before.atime, before.mtime)?;
        }
        Ok(())
    }
}

fn exists(root: &Root, path: &Path) -> Result<bool, ConfineError> {
    match root.resolve(path, Last::NoFollow) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotADirectory) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The path that `target` means with all links gone, as far as it exists; `None` where it never can.
fn physical(root: &Root, target: &Path) -> Result<Option<PathBuf>, ConfineError> {
    let mut left: Vec<PathBuf> = components(target);
    let (mut path, mut links) = (PathBuf::new(), 0);
    while let Some(part) = left.pop() {
        if part == Path::new("..") {
            path.pop();
            continue;
        }
        let next = path.join(&part);
        match root.resolve(&next, Last::NoFollow) {
            Ok(node) if node.metadata()?.is_symlink() => {
                links += 1;
                if links > 40 {
                    return Ok(None);
                }
                let link = node.read_link()?;
                if link.is_absolute() {
                    path.clear();
                }
                left.extend(components(&link));
            }
            Ok(_) => path = next,
            Err(error) if error.is_not_found() => path = next,
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(path))
}

/// The names of a path, the last one first.
fn components(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn image() -> (tempfile::TempDir, PathBuf, Root) {
        let temp = tempfile::tempdir().unwrap();
        let inside = temp.path().join("root");
        std::fs::create_dir(&inside).unwrap();
        let root = Root::open(&inside).unwrap();
        (temp, inside, root)
    }

    fn missing(root: &Root, targets: &[&str], depth: StubDepth) -> MountStubs {
        MountStubs::missing(root, targets.iter().map(Path::new), depth).unwrap()
    }

    #[test]
    fn only_what_was_missing_and_is_empty_goes() {
        let (_temp, inside, root) = image();
        std::fs::create_dir(inside.join("old")).unwrap();
        let stubs = missing(
            &root,
            &["/old", "/new", "/file", "/used"],
            StubDepth::LastName,
        );
        for name in ["new", "used"] {
            std::fs::create_dir(inside.join(name)).unwrap();
        }
        std::fs::write(inside.join("file"), "").unwrap();
        std::fs::write(inside.join("used/x"), "").unwrap();
        stubs.remove(&root).unwrap();
        let left: Vec<_> = root
            .read_dir(Path::new("/"))
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(left, ["old", "used"]);
    }

    #[test]
    fn depth_decides_whether_directories_on_the_way_go_too() {
        for (depth, left) in [(StubDepth::LastName, true), (StubDepth::WholePath, false)] {
            let (_temp, inside, root) = image();
            let stubs = missing(&root, &["/a/b/c"], depth);
            std::fs::create_dir_all(inside.join("a/b/c")).unwrap();
            stubs.remove(&root).unwrap();
            assert!(!inside.join("a/b/c").exists());
            assert_eq!(inside.join("a").exists(), left);
        }
    }

    #[test]
    fn stub_behind_a_link_is_the_one_inside() {
        let (temp, inside, root) = image();
        std::fs::create_dir(temp.path().join("run")).unwrap();
        std::fs::create_dir(inside.join("etc")).unwrap();
        symlink("../../run/conf", inside.join("etc/conf")).unwrap();
        let stubs = missing(&root, &["/etc/conf"], StubDepth::WholePath);
        std::fs::create_dir(inside.join("run")).unwrap();
        std::fs::write(inside.join("run/conf"), "").unwrap();
        std::fs::write(temp.path().join("run/conf"), "").unwrap();
        stubs.remove(&root).unwrap();
        assert!(!inside.join("run").exists());
        assert!(temp.path().join("run/conf").exists());
    }

    #[test]
    fn t_a5_directory_that_became_a_link_leads_nowhere() {
        let (temp, inside, root) = image();
        let canary = temp.path().join("canary");
        std::fs::create_dir_all(canary.join("stub")).unwrap();
        std::fs::create_dir_all(inside.join("kept/stub")).unwrap();
        for target in [canary.to_str().unwrap(), "/kept"] {
            let stubs = missing(&root, &["/mnt/stub"], StubDepth::WholePath);
            symlink(target, inside.join("mnt")).unwrap();
            stubs.remove(&root).unwrap();
            std::fs::remove_file(inside.join("mnt")).unwrap();
        }
        assert!(canary.join("stub").is_dir());
        assert!(
            inside.join("kept/stub").is_dir(),
            "also inside, only our own stubs go"
        );
    }

    #[test]
    fn holder_keeps_its_times() {
        let (_temp, inside, root) = image();
        let stubs = missing(&root, &["/stub"], StubDepth::LastName);
        std::fs::create_dir(inside.join("stub")).unwrap();
        let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::File::open(&inside)
            .unwrap()
            .set_modified(past)
            .unwrap();
        stubs.remove(&root).unwrap();
        assert_eq!(
            std::fs::metadata(&inside).unwrap().modified().unwrap(),
            past
        );
    }
}
