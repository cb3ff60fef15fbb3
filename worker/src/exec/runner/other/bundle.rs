use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::MountFlags;
use serde_json::{Value, json};

use crate::confine::{Last, Root};
use crate::exec::config::{Config, ConfigMount};
use crate::exec::protocol::{Launch, LaunchInput, LaunchSource, OtherLaunch, SetupFailure};
use crate::exec::runner::filesystem::attributes_of;
use crate::exec::runner::target::{Want, find_or_make_target, own_directory};
use crate::mount::DetachedMount;
use crate::sys::take_whole_mount_namespace;

type Step<T> = Result<T, SetupFailure>;

/// The name of the one container that a bundle is for.
pub(super) const CONTAINER: &str = "step";

/// The file of a bundle that a joined network namespace is mounted on.
const NETWORK: &str = "network";

/// Attaches what the container is made of in this process's own mounts and writes the configuration; the working directory
/// is the bundle then.
pub(super) fn make(launch: &Launch, other: &OtherLaunch, fds: &[OwnedFd]) -> Step<()> {
    let fail = |step: &'static str| {
        move |error: rustix::io::Errno| SetupFailure::machine(step, std::io::Error::from(error))
    };
    take_whole_mount_namespace()
        .map_err(|error| SetupFailure::machine("make the machine's mounts private", error))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "/proc", "proc", flags, None).map_err(fail("mount /proc"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", &other.folder, "tmpfs", flags, Some(c"mode=0700"))
        .map_err(fail("mount the bundle"))?;
    rustix::process::chdir(&other.folder).map_err(fail("enter the bundle"))?;
    for (number, &stage) in launch.stage_fds.iter().enumerate() {
        attach(
            own(&fds[stage])?,
            Want::Directory,
            &format!("stage{number}"),
        )?;
    }
    attach(own(&fds[launch.root_fd])?, Want::Directory, "rootfs")?;
    for (number, source) in launch.sources.iter().enumerate() {
        attach_source(launch, *source, number, fds)?;
    }
    if let Some(network) = launch.network_fd {
        place(Want::File, NETWORK)?;
        rustix::mount::mount_bind(fd_path(fds[network].as_fd()), NETWORK)
            .map_err(fail("mount the network namespace"))?;
    }
    make_targets(launch, fds)?;
    check_directory(launch, other, fds)?;
    let config = runtime_config(launch, other)?;
    write("config.json", &config)
}

/// Writes a value as a file of the bundle.
pub(super) fn write(name: &str, value: &Value) -> Step<()> {
    std::fs::write(name, value.to_string())
        .map_err(|error| SetupFailure::machine(format!("write {name}"), error))
}

fn own(fd: &OwnedFd) -> Step<DetachedMount> {
    let copy = fd.try_clone();
    let copy = copy.map_err(|error| SetupFailure::machine("take a mount", error))?;
    Ok(DetachedMount::from_fd(copy))
}

fn fd_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn place(want: Want, name: &str) -> Step<OwnedFd> {
    let fail = |error: rustix::io::Errno| SetupFailure::machine(format!("make {name}"), error);
    match want {
        Want::Directory => rustix::fs::mkdir(name, Mode::RWXU).map_err(fail)?,
        Want::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::open(name, flags, Mode::RUSR).map_err(fail)?;
        }
    }
    rustix::fs::open(
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(fail)
}

fn attach(mount: DetachedMount, want: Want, name: &str) -> Step<()> {
    let attached = mount.attach(place(want, name)?);
    attached.map_err(|error| SetupFailure::machine(format!("attach {name}"), error))
}

fn attach_source(
    launch: &Launch,
    source: LaunchSource,
    number: usize,
    fds: &[OwnedFd],
) -> Step<()> {
    let fail = |error: &dyn std::fmt::Display| SetupFailure::machine("attach a mount", error);
    let mount = match source {
        LaunchSource::Whole(fd) => own(&fds[fd])?,
        LaunchSource::Part(fd) => DetachedMount::bind(&fds[fd]).map_err(|error| fail(&error))?,
    };
    let want = kind(&mount)?;
    let mut binds = launch.config.mounts.iter().filter(|it| it.kind == "bind");
    if let Some(config) = binds.nth(number) {
        let attributes = attributes_of(&config.options);
        mount
            .set_attributes(attributes)
            .map_err(|error| fail(&error))?;
    }
    attach(mount, want, &source_name(number))
}

fn source_name(number: usize) -> String {
    format!("mount{number}")
}

fn kind(mount: &DetachedMount) -> Step<Want> {
    let stat = rustix::fs::fstat(mount)
        .map_err(|errno| SetupFailure::machine("look at a mount", errno))?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Want::Directory,
        _ => Want::File,
    })
}

/// What mounts stand on is made as for our own runner: without a trace in the times of what is around it, and without
/// following an image's links in the place of the container's own directories (T-B2, T-B10).
fn make_targets(launch: &Launch, fds: &[OwnedFd]) -> Step<()> {
    let root = own(&fds[launch.root_fd])?.root();
    let root: Root = root.map_err(|error| SetupFailure::machine("open /", error))?;
    let mounts = &launch.config.mounts;
    let mut binds = 0;
    for (position, mount) in mounts.iter().enumerate() {
        let is_bind = mount.kind == "bind";
        let number = binds;
        binds += usize::from(is_bind);
        // What is inside of another mount is not the image's.
        let is_inside = |above: &ConfigMount| mount.destination.starts_with(&above.destination);
        if mounts[..position].iter().any(is_inside) {
            continue;
        }
        let made = if is_bind {
            let source = open_path(Path::new(&source_name(number)))?;
            find_or_make_target(&root, &mount.destination, kind(&source)?)
        } else {
            own_directory(&root, &mount.destination)
        };
        made.map_err(|error| {
            let on = mount.destination.display();
            SetupFailure::request(format!("mount {} on {on}", mount.kind), error)
        })?;
    }
    Ok(())
}

/// The working directory must be there, and not in a file system of the kernel's, where a link could lead to a descriptor of
/// the runtime's (T-B7, CVE-2024-21626). What is inside of other mounts is for the runtime to look at.
fn check_directory(launch: &Launch, other: &OtherLaunch, fds: &[OwnedFd]) -> Step<()> {
    let config = &launch.config;
    let cwd = &config.process.cwd;
    let step = || format!("enter the working directory {}", cwd.display());
    let is_in = |path: &Path, bind: bool| {
        let mut mounts = config
            .mounts
            .iter()
            .filter(|it| (it.kind == "bind") == bind);
        mounts.any(|mount| path.starts_with(&mount.destination) && path != mount.destination)
    };
    if is_in(cwd, true) || config.mounts.iter().any(|mount| mount.destination == *cwd) {
        return Ok(());
    }
    let root = own(&fds[launch.root_fd])?.root();
    let root: Root = root.map_err(|error| SetupFailure::machine("open /", error))?;
    let found = root.resolve(cwd, Last::Follow);
    let found = found.map_err(|error| SetupFailure::request(step(), error))?;
    let fail = |error: &dyn std::fmt::Display| SetupFailure::machine(step(), error);
    let real = rustix::fs::readlinkat(CWD, fd_path(found.as_fd()), Vec::new());
    let real = real.map_err(|errno| fail(&errno))?;
    let real = PathBuf::from(OsStr::from_bytes(real.as_bytes()));
    let inside = real.strip_prefix(other.folder.join("rootfs"));
    let inside = Path::new("/").join(inside.map_err(|error| fail(&error))?);
    match is_in(&inside, false) {
        true => Err(SetupFailure::request(
            step(),
            "it is in a file system of the kernel's",
        )),
        false => Ok(()),
    }
}

fn open_path(path: &Path) -> Step<DetachedMount> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened
        .map(DetachedMount::from_fd)
        .map_err(|errno| SetupFailure::machine("open a mount", errno))
}

/// The configuration as another runtime reads it: with paths where our own runner has descriptors, and with what our own
/// runner does besides.
fn runtime_config(launch: &Launch, other: &OtherLaunch) -> Step<Value> {
    let mut config = launch.config.clone();
    let binds = config.mounts.iter_mut().filter(|it| it.kind == "bind");
    for (number, mount) in binds.enumerate() {
        mount.source = other.folder.join(source_name(number));
        // The mount itself has the other attributes already.
        mount.options = vec!["bind".into()];
    }
    for device in &mut config.linux.devices {
        device.host_path = None;
    }
    let mut json = to_json(&config)?;
    json["process"] = process(&config, launch.input)?;
    json["linux"]["cgroupsPath"] = json!(other.cgroups_path);
    if let Some(profile) = &other.seccomp {
        json["linux"]["seccomp"] = profile.clone();
    }
    if config.linux.resources.devices.is_empty() {
        json["linux"]["resources"] = json!({"devices": [{"allow": true, "access": "rwm"}]});
    }
    if launch.network_fd.is_some()
        && let Some(namespaces) = json["linux"]["namespaces"].as_array_mut()
    {
        for namespace in namespaces.iter_mut().filter(|it| it["type"] == "network") {
            namespace["path"] = json!(other.folder.join(NETWORK));
        }
    }
    Ok(json)
}

/// A program as another runtime reads it.
pub(super) fn process(config: &Config, input: LaunchInput) -> Step<Value> {
    let mut process = to_json(&config.process)?;
    process["terminal"] = json!(matches!(input, LaunchInput::Terminal(_)));
    Ok(process)
}

fn to_json(value: &impl serde::Serialize) -> Step<Value> {
    serde_json::to_value(value)
        .map_err(|error| SetupFailure::machine("write the configuration", error))
}
