use std::path::Path;

use crate::confine::{ConfineError, Kind, Root};
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

/// Fills an empty `/dev` before anybody can see it. Nothing of the image takes part (T-B9).
pub(super) fn fill(dev: &DetachedMount) -> Result<(), ConfineError> {
    let root: Root = dev.root()?;
    for (name, major, minor) in DEVICES {
        root.mknod(
            Path::new(name),
            Kind::CharDevice,
            0o666,
            rustix::fs::makedev(major, minor),
        )?;
    }
    for (target, name) in LINKS {
        root.symlink(Path::new(target), Path::new(name))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        root.mkdir(Path::new(name), 0o755)?;
    }
    Ok(())
}
