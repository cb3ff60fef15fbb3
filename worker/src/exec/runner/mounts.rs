use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;

use super::device_guard::DeviceGuard;
use super::filesystem::{attributes_of, in_its_place, new_filesystem};
use super::target::{Want, find_or_make_target, own_directory};
use crate::confine::{Kind, Last, Node, Root};
use crate::exec::config::{ConfigMount, Device};
use crate::exec::protocol::{Launch, LaunchSource, SetupFailure};
use crate::mount::{DetachedMount, TmpfsOptions};
use crate::sys::{MountAttributes, take_whole_mount_namespace};

type Step<T> = Result<T, SetupFailure>;

/// What the container's own file systems are made with.
struct View<'a> {
    devices: &'a [Device],
    guard: &'a DeviceGuard,
    /// A directory with nothing in it.
    empty: &'a DetachedMount,
    /// Whether the processes outside may be shown.
    shares_processes: bool,
}

/// Builds the container's view of files in this process's own mount namespace and makes its root `/`.
pub(super) fn set_up(launch: &Launch, fds: &[OwnedFd]) -> Step<()> {
    let config = &launch.config;
    take_whole_mount_namespace()
        .map_err(|error| SetupFailure::machine("make the machine's mounts private", error))?;
    // Stages and the new root are stacked on the old root, which needs no directory for them.
    for &stage in &launch.stage_fds {
        attach_on_old_root(&fds[stage], "attach a stage")?;
    }
    let empty = DetachedMount::tmpfs(TmpfsOptions {
        size: 0,
        mode: 0o755,
    })
    .map_err(|error| SetupFailure::machine("mask paths", error))?;
    let empty = attach_on_old_root(&empty.into_fd(), "mask paths")?;
    let guard = DeviceGuard::new(launch)?;
    let root_mount = attach_on_old_root(&fds[launch.root_fd], "attach the root file system")?;
    guard.close(&root_mount)?;
    let root = root_mount
        .root()
        .map_err(|error| SetupFailure::machine("open /", error))?;
    let view = View {
        devices: &config.linux.devices,
        guard: &guard,
        empty: &empty,
        shares_processes: launch.shares_processes,
    };
    let mut sources = launch.sources.iter();
    for mount in &config.mounts {
        if mount.kind == "bind" {
            let source = sources
                .next()
                .ok_or_else(|| SetupFailure::machine(step_of(mount), "no source was sent"))?;
            bind(&root, mount, *source, fds, &guard)?;
        } else {
            mount_filesystem(&root, mount, &view)?;
        }
    }
    mask(&root, &empty, &config.linux.masked_paths)?;
    for path in &config.linux.readonly_paths {
        make_read_only(&root, path)?;
    }
    // What the other mounts stand on had to be made first.
    if config.root.readonly {
        root_mount
            .set_read_only()
            .map_err(|error| SetupFailure::machine("make / read-only", error))?;
    }
    // The stages, the empty directory and the old root itself.
    change_root(&root, launch.stage_fds.len() + 2 + guard.stacked())
}

fn step_of(mount: &ConfigMount) -> String {
    format!("mount {} on {}", mount.kind, mount.destination.display())
}

pub(super) fn attach_on_old_root(fd: &OwnedFd, step: &str) -> Step<DetachedMount> {
    let fail = |error: &dyn std::fmt::Display| SetupFailure::machine(step, error);
    let mount = DetachedMount::from_fd(fd.try_clone().map_err(|error| fail(&error))?);
    let old_root = rustix::fs::open(
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| fail(&errno))?;
    mount.attach(&old_root).map_err(|error| fail(&error))?;
    Ok(mount)
}

fn bind(
    root: &Root,
    mount: &ConfigMount,
    source: LaunchSource,
    fds: &[OwnedFd],
    guard: &DeviceGuard,
) -> Step<()> {
    let fail = |error: &dyn std::fmt::Display| SetupFailure::machine(step_of(mount), error);
    let detached = match source {
        LaunchSource::Whole(fd) => {
            DetachedMount::from_fd(fds[fd].try_clone().map_err(|error| fail(&error))?)
        }
        LaunchSource::Part(fd) => DetachedMount::bind(&fds[fd]).map_err(|error| fail(&error))?,
    };
    let stat = rustix::fs::fstat(&detached).map_err(|errno| fail(&errno))?;
    let want = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => Want::Directory,
        _ => Want::File,
    };
    detached
        .set_attributes(attributes_of(&mount.options))
        .map_err(|error| fail(&error))?;
    guard.close(&detached)?;
    let target = find_or_make_target(root, &mount.destination, want)
        .map_err(|error| SetupFailure::request(step_of(mount), error))?;
    detached.attach(&target).map_err(|error| fail(&error))
}

fn mount_filesystem(root: &Root, mount: &ConfigMount, view: &View<'_>) -> Step<()> {
    let fail = |error: &dyn std::fmt::Display| SetupFailure::machine(step_of(mount), error);
    let target = own_directory(root, &mount.destination)
        .map_err(|error| SetupFailure::request(step_of(mount), error))?;
    let is_dev = mount.destination == Path::new("/dev");
    let (detached, is_outer) = match new_filesystem(mount) {
        Ok(new) => (new, false),
        Err(error) => (in_its_place(mount, error, view.shares_processes)?, true),
    };
    if is_dev {
        view.guard.fill(&detached, view.devices)?;
        view.guard.close(&detached)?;
    }
    detached.attach(&target).map_err(|error| fail(&error))?;
    if is_dev {
        view.guard.uncover(&detached)?;
    }
    if is_outer {
        // A root of a user namespace may own groups of the machine (CVE-2023-25809); others show what runs on it.
        mask(root, view.empty, &[PathBuf::from("/sys/fs/cgroup")])?;
    }
    Ok(())
}

/// Hides paths that exist: a directory behind an empty one, anything else behind the null device that we made.
fn mask(root: &Root, empty: &DetachedMount, paths: &[PathBuf]) -> Step<()> {
    for path in paths {
        let fail = |error: &dyn std::fmt::Display| {
            SetupFailure::machine(format!("mask {}", path.display()), error)
        };
        let Some(target) = existing(root, path)? else {
            continue;
        };
        let cover = if target.metadata().map_err(|error| fail(&error))?.is_dir() {
            let cover = DetachedMount::bind(empty).map_err(|error| fail(&error))?;
            cover.set_read_only().map_err(|error| fail(&error))?;
            cover
        } else {
            let null = root
                .resolve_without_links(Path::new("/dev/null"))
                .map_err(|error| fail(&error))?;
            DetachedMount::bind(&null).map_err(|error| fail(&error))?
        };
        cover.attach(&target).map_err(|error| fail(&error))?;
    }
    Ok(())
}

fn make_read_only(root: &Root, path: &Path) -> Step<()> {
    let fail = |error: &dyn std::fmt::Display| {
        SetupFailure::machine(format!("make {} read-only", path.display()), error)
    };
    let Some(target) = existing(root, path)? else {
        return Ok(());
    };
    let attributes = MountAttributes::READ_ONLY
        .with(MountAttributes::NO_SUID)
        .with(MountAttributes::NO_DEV)
        .with(MountAttributes::NO_EXEC);
    let cover = DetachedMount::bind_tree(&target, attributes).map_err(|error| fail(&error))?;
    cover.attach(&target).map_err(|error| fail(&error))
}

fn existing(root: &Root, path: &Path) -> Step<Option<Node>> {
    match root.resolve(path, Last::NoFollow) {
        Ok(node) => match node.metadata() {
            // `/proc/net` and its like: what they point to is in the container's own directory of processes.
            Ok(metadata) if metadata.kind == Kind::Symlink => Ok(None),
            _ => Ok(Some(node)),
        },
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(SetupFailure::machine(
            format!("look for {}", path.display()),
            error,
        )),
    }
}

/// Makes `root` this process's `/` and lets go of the `stacked` mounts that were there before, the old root among them.
///
/// The old root lands on the new one, and what was stacked on the old root stays on it: `.` finds the topmost each time
/// (pivot_root(2), "NOTES").
fn change_root(root: &Root, stacked: usize) -> Step<()> {
    let fail =
        |step: &'static str| move |errno: rustix::io::Errno| SetupFailure::machine(step, errno);
    rustix::process::fchdir(root.as_fd()).map_err(fail("enter the new root"))?;
    rustix::process::pivot_root(".", ".").map_err(fail("pivot_root"))?;
    for _ in 0..stacked {
        rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(fail("unmount the old root"))?;
    }
    rustix::process::chdir("/").map_err(fail("enter /"))
}
