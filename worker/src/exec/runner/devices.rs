use std::path::Path;

use crate::confine::{ConfineError, Kind, Last, Owner, Root};
use crate::exec::config::Device;
use crate::mount::DetachedMount;

/// Devices that every container has (runtime-spec, "Default Devices"): name, major, minor.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// The devices that every container has.
pub(super) fn usual() -> Vec<Device> {
    let device = |(name, major, minor): &(&str, u32, u32)| Device {
        path: Path::new("/dev").join(name),
        kind: "c".into(),
        major: *major,
        minor: *minor,
        ..Device::default()
    };
    DEVICES.iter().map(device).collect()
}

/// Where a device is in `/dev`.
pub(super) fn place_of(device: &Device) -> &Path {
    device.path.strip_prefix("/dev").unwrap_or(&device.path)
}

/// Fills an empty `/dev` before anybody can see it. Nothing of the image takes part (T-B9).
pub(super) fn fill(dev: &DetachedMount, further: &[Device]) -> Result<(), ConfineError> {
    let root: Root = dev.root()?;
    make_nodes(&root, further)?;
    add_links_and_directories(&root)
}

/// As [`fill`], with empty files where devices will be mounted.
pub(super) fn fill_with_places<'a>(
    dev: &DetachedMount,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), ConfineError> {
    let root: Root = dev.root()?;
    for name in names.map(Path::new) {
        make_directory_of(&root, name)?;
        root.create_file(name, 0o666)?;
    }
    add_links_and_directories(&root)
}

fn add_links_and_directories(root: &Root) -> Result<(), ConfineError> {
    for (target, name) in LINKS {
        root.symlink(Path::new(target), Path::new(name))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        root.mkdir(Path::new(name), 0o755)?;
    }
    Ok(())
}

fn make_directory_of(root: &Root, path: &Path) -> Result<(), ConfineError> {
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        root.mkdir_all(above, 0o755, None)?;
    }
    Ok(())
}

/// Makes the device nodes alone; returns their names.
pub(super) fn make_nodes(root: &Root, further: &[Device]) -> Result<Vec<String>, ConfineError> {
    let mut names = Vec::new();
    for device in usual().iter().chain(further) {
        let path = place_of(device);
        make_directory_of(root, path)?;
        let kind = match device.kind.as_str() {
            "b" => Kind::BlockDevice,
            _ => Kind::CharDevice,
        };
        let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
        let number = rustix::fs::makedev(device.major, device.minor);
        root.mknod(path, kind, mode, number)?;
        let owner = Owner {
            uid: device.uid,
            gid: device.gid,
        };
        root.resolve(path, Last::NoFollow)?.set_owner(owner)?;
        names.push(path.to_string_lossy().into_owned());
    }
    Ok(names)
}
