use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

use super::detached::DetachedMount;
use super::error::MountError;
use super::marks::{keeps_marks_for_users, no_redirects};
use super::overlay::{Flush, OverlayMount};
use crate::sys::with_own_mounts;

/// What one page of options has room for.
const MAX_OPTIONS: usize = 4095;

/// Makes an overlay by `mount(2)`, for kernels that cannot be told the layers one by one.
///
/// The call needs a place: it gets one that only a thread of its own sees, from where the mount is taken off again. The
/// layers are named by descriptors, whose names are short: the options must fit into a page.
///
/// # Errors
/// Where a directory is missing, for more layers than fit (about 180), or without the right to mount.
pub(super) fn mount_classic(overlay: &OverlayMount) -> Result<DetachedMount, MountError> {
    with_own_mounts(|| mount_here(overlay))
        .map_err(|error| MountError::new(name_of(overlay), "a mount namespace for it", error))?
}

fn name_of(overlay: &OverlayMount) -> String {
    format!("an overlay of {} layers", overlay.layers.len())
}

/// The directories are opened here and not before: the kernel only takes those of the caller's own mounts.
fn mount_here(overlay: &OverlayMount) -> Result<DetachedMount, MountError> {
    let layers = overlay
        .layers
        .iter()
        .map(|layer| open(layer))
        .collect::<Result<Vec<_>, _>>()?;
    let upper = overlay.upper.as_ref();
    let directories = upper
        .map(|upper| Ok((open(&upper.changes)?, open(&upper.work)?)))
        .transpose()?;
    let flush = upper.map_or(Flush::AtUnmount, |upper| upper.flush);
    let options = options(&layers, directories.as_ref(), flush);
    if options.len() > MAX_OPTIONS {
        let too_long = std::io::Error::from_raw_os_error(libc::E2BIG);
        return Err(MountError::new(
            name_of(overlay),
            "so many layers need Linux 6.8",
            too_long,
        ));
    }
    let options = CString::new(options).expect("numbers and names have no NUL byte");
    let flags = if upper.is_some() {
        MountFlags::empty()
    } else {
        MountFlags::RDONLY
    };
    let place = overlay
        .layers
        .last()
        .map_or(Path::new("/"), |layer| layer.as_path());
    rustix::mount::mount("overlay", place, "overlay", flags, options.as_c_str())
        .map_err(|errno| MountError::new(name_of(overlay), "mount", errno))?;
    DetachedMount::bind_path(place)
}

fn open(path: &Path) -> Result<OwnedFd, MountError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| MountError::new(path.display().to_string(), "open", errno))
}

fn options(layers: &[OwnedFd], directories: Option<&(OwnedFd, OwnedFd)>, flush: Flush) -> String {
    let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let layers: Vec<String> = layers.iter().map(name).collect();
    let mut options = format!(
        "redirect_dir={},index=off,metacopy=off,lowerdir={}",
        no_redirects(),
        layers.join(":")
    );
    if keeps_marks_for_users() {
        options.push_str(",userxattr");
    }
    if let Some((changes, work)) = directories {
        let _ = write!(
            options,
            ",upperdir={},workdir={}",
            name(changes),
            name(work)
        );
        if flush == Flush::ByOwner {
            options.push_str(",volatile");
        }
    }
    options
}
