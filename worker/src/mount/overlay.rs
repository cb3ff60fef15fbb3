use std::path::PathBuf;
use std::sync::OnceLock;

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::detached::DetachedMount;
use super::error::MountError;
use super::marks::{keeps_marks_for_users, no_redirects};
use super::overlay_classic::mount_classic;

/// A chain of layers seen as one directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OverlayMount {
    /// Immutable directories, the *uppermost first*: a file in an earlier one hides the same path in later ones.
    pub layers: Vec<PathBuf>,
    /// Where changes go; without it the mount is read-only.
    pub upper: Option<Upper>,
}

/// The directories that a writer needs, on one file system and used by nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upper {
    /// Receives the changes, whiteouts among them.
    pub changes: PathBuf,
    /// Empty directory for the kernel's own use.
    pub work: PathBuf,
    /// What unmounting does for the changes' durability.
    pub flush: Flush,
}

/// What unmounting does for the durability of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flush {
    /// All changes are on the disk once it is unmounted, which can take long.
    AtUnmount,
    /// Nothing is flushed (`volatile`): whoever keeps the changes flushes them; `work` cannot be used again.
    #[default]
    ByOwner,
}

impl OverlayMount {
    /// Makes the mount, detached.
    ///
    /// One layer alone is a bind mount, and so is an upper directory without layers: both are exact and cheaper.
    ///
    /// # Errors
    /// Where a directory is missing, for more than 500 layers (about 180 before Linux 6.8), or without the right to mount.
    pub fn mount(&self) -> Result<DetachedMount, MountError> {
        match (&self.upper, self.layers.as_slice()) {
            (None, []) => {
                let empty = DetachedMount::tmpfs(super::TmpfsOptions {
                    size: 0,
                    mode: 0o755,
                })?;
                empty.set_read_only()?;
                Ok(empty)
            }
            (None, [only]) => {
                let bind = DetachedMount::bind_path(only)?;
                bind.set_read_only()?;
                Ok(bind)
            }
            (Some(upper), []) => DetachedMount::bind_path(&upper.changes),
            (upper, layers) if takes_layers_one_by_one() => overlay(layers, upper.as_ref()),
            _ => mount_classic(self),
        }
    }
}

/// Whether this kernel's overlay can be told its layers one by one (`lowerdir+`, Linux 6.8).
///
/// It is asked for its version: an older one takes the option and fails later, as it does for many other reasons.
fn takes_layers_one_by_one() -> bool {
    static NEW_ENOUGH: OnceLock<bool> = OnceLock::new();
    *NEW_ENOUGH.get_or_init(|| {
        let uname = rustix::system::uname();
        is_at_least(&uname.release().to_string_lossy(), (6, 8))
    })
}

fn is_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

fn overlay(layers: &[PathBuf], upper: Option<&Upper>) -> Result<DetachedMount, MountError> {
    let what = || format!("an overlay of {} layers", layers.len());
    let fail = |step: &'static str| move |errno: Errno| MountError::new(what(), step, errno);
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(fail("fsopen overlay"))?;
    let set = |key: &str, value: &std::path::Path| {
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value)
    };
    set("source", std::path::Path::new("overlay")).map_err(fail("set source"))?;
    for layer in layers {
        set("lowerdir+", layer).map_err(fail("set lowerdir+"))?;
    }
    // What a layer holds must mean the same without the mount: no renames or copies by reference to a lower layer.
    for (key, value) in [
        ("redirect_dir", no_redirects()),
        ("index", "off"),
        ("metacopy", "off"),
    ] {
        set(key, std::path::Path::new(value)).map_err(fail("set options"))?;
    }
    if keeps_marks_for_users() {
        rustix::mount::fsconfig_set_flag(context.as_fd(), "userxattr")
            .map_err(fail("set userxattr"))?;
    }
    if let Some(upper) = upper {
        set("upperdir", &upper.changes).map_err(fail("set upperdir"))?;
        set("workdir", &upper.work).map_err(fail("set workdir"))?;
        if upper.flush == Flush::ByOwner {
            rustix::mount::fsconfig_set_flag(context.as_fd(), "volatile")
                .map_err(fail("set volatile"))?;
        }
    }
    rustix::mount::fsconfig_create(context.as_fd()).map_err(fail("create"))?;
    let attributes = match upper {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    let mount: OwnedFd =
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(fail("fsmount"))?;
    Ok(DetachedMount::from_fd(mount))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::Last;
    use std::path::Path;

    fn mounts_of_this_process() -> String {
        std::fs::read_to_string("/proc/self/mountinfo").unwrap()
    }

    #[test]
    fn version_of_the_kernel_is_read_as_numbers() {
        for (release, new_enough) in [
            ("6.1.0-18-amd64", false),
            ("6.8.0-45-generic", true),
            ("6.18.44", true),
            ("5.15.0", false),
            ("7.0", true),
        ] {
            assert_eq!(is_at_least(release, (6, 8)), new_enough, "{release}");
        }
    }

    #[test]
    fn upper_layers_hide_lower_ones_and_changes_land_in_the_upper_directory() {
        check(OverlayMount::mount);
    }

    #[test]
    fn older_kernels_get_the_same_by_the_classic_call() {
        check(mount_classic);
    }

    #[test]
    fn classic_call_takes_many_layers_and_says_when_there_are_too_many() {
        let temp = tempfile::tempdir().unwrap();
        let layer = |number: usize| {
            let path = temp.path().join(number.to_string());
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join(number.to_string()), "").unwrap();
            path
        };
        let layers: Vec<_> = (0..300).map(layer).collect();
        let view = |count: usize| {
            mount_classic(&OverlayMount {
                layers: layers[..count].to_vec(),
                upper: None,
            })
        };
        let entries = view(150)
            .unwrap()
            .root()
            .unwrap()
            .read_dir(Path::new("/"))
            .unwrap();
        assert_eq!(entries.len(), 150);
        assert_eq!(
            view(300).unwrap_err().source.raw_os_error(),
            Some(libc::E2BIG)
        );
    }

    fn check(make: fn(&OverlayMount) -> Result<DetachedMount, MountError>) {
        let temp = tempfile::tempdir().unwrap();
        let dir = |name: &str| {
            let path = temp.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (below, above, changes, work) =
            (dir("below"), dir("above"), dir("changes"), dir("work"));
        std::fs::write(below.join("a"), "below").unwrap();
        std::fs::write(below.join("b"), "below").unwrap();
        std::fs::write(above.join("a"), "above").unwrap();
        let before = mounts_of_this_process();
        let upper = Upper {
            changes: changes.clone(),
            work,
            flush: Flush::ByOwner,
        };
        let overlay = OverlayMount {
            layers: vec![above, below],
            upper: Some(upper),
        };
        let mount = make(&overlay).unwrap();
        let root = mount.root().unwrap();
        assert_eq!(root.read_small(Path::new("a"), 10).unwrap(), b"above");
        root.create_file(Path::new("c"), 0o644).unwrap();
        root.remove_file(Path::new("b")).unwrap();
        assert_eq!(
            mounts_of_this_process(),
            before,
            "the machine's mounts did not change"
        );
        drop((root, mount));
        let names: Vec<_> = crate::confine::Root::open(&changes)
            .unwrap()
            .read_dir(Path::new("/"))
            .unwrap()
            .into_iter()
            .map(|entry| (entry.name.into_string().unwrap(), entry.metadata.kind))
            .collect();
        use crate::confine::Kind;
        assert_eq!(
            names,
            [
                ("b".to_owned(), Kind::CharDevice),
                ("c".to_owned(), Kind::File)
            ]
        );
    }

    #[test]
    fn view_of_one_layer_cannot_be_written() {
        let temp = tempfile::tempdir().unwrap();
        let mount = OverlayMount {
            layers: vec![temp.path().to_owned()],
            upper: None,
        }
        .mount()
        .unwrap();
        let error = mount
            .root()
            .unwrap()
            .create_file(Path::new("x"), 0o644)
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(30), "EROFS");
    }

    #[test]
    fn scratch_is_an_empty_directory() {
        let mount = OverlayMount::default().mount().unwrap();
        let root = mount.root().unwrap();
        assert!(root.read_dir(Path::new("/")).unwrap().is_empty());
        assert_eq!(
            root.metadata(Path::new("/"), Last::Follow).unwrap().mode,
            0o755
        );
        assert!(root.create_file(Path::new("x"), 0o644).is_err());
    }
}
