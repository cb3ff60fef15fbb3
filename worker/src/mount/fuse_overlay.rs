use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::detached::DetachedMount;
use super::error::MountError;
use super::overlay::{Flush, OverlayMount};

/// The program that shows layers as one directory without the kernel's overlays.
const FUSE_OVERLAYFS: &str = "fuse-overlayfs";

/// How long its last writes are waited for once nothing of it is mounted.
const END: Duration = Duration::from_secs(60);

/// A process that shows layers as one directory. It ends by itself when nothing of it is mounted any more.
#[derive(Debug)]
pub(crate) struct FuseDaemon {
    end: Arc<DaemonEnd>,
}

#[derive(Debug, Default)]
struct DaemonEnd {
    has_come: Mutex<bool>,
    changed: Condvar,
}

impl FuseDaemon {
    /// Waits for it to end, and so for all that was written to be where it belongs. No handle on its mount may be left.
    ///
    /// # Errors
    /// `TimedOut` where it does not end.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let until = Instant::now() + END;
        let mut has_come = self.end.has_come.lock();
        while !*has_come {
            if self
                .end
                .changed
                .wait_until(&mut has_come, until)
                .timed_out()
            {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }
}

/// Makes the mount, detached, and starts the process that serves it.
///
/// # Errors
/// Without the program, without `/dev/fuse` or the right to mount, and where a path has a sign in it that the program's
/// options cannot have.
pub(crate) fn mount_by_fuse(
    overlay: &OverlayMount,
) -> Result<(DetachedMount, FuseDaemon), MountError> {
    let what = || format!("{FUSE_OVERLAYFS} of {} layers", overlay.layers.len());
    let options =
        options(overlay).map_err(|error| MountError::new(what(), "name its directories", error))?;
    let device = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map_err(|error| MountError::new(what(), "open /dev/fuse", error))?;
    let mount = mount(&device, overlay.upper.is_none())
        .map_err(|errno| MountError::new(what(), "mount fuse", errno))?;
    // libfuse takes a mounted descriptor in the place of a mount point; this one is the program's standard input.
    let mut child = Command::new(FUSE_OVERLAYFS)
        .args(["-f", "-o", &options, "/dev/fd/0"])
        .stdin(Stdio::from(device))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| MountError::new(what(), "start fuse-overlayfs", error))?;
    // The first question is answered when the process is ready, or refused when it is gone.
    if let Err(errno) = rustix::fs::statfs(format!("/proc/self/fd/{}", mount.as_fd().as_raw_fd())) {
        drop(mount);
        let said = last_words(&mut child);
        let error = io::Error::other(format!("{errno}: {said}"));
        return Err(MountError::new(what(), "use fuse-overlayfs", error));
    }
    let end = Arc::new(DaemonEnd::default());
    let daemon = FuseDaemon {
        end: Arc::clone(&end),
    };
    let waiting = std::thread::Builder::new()
        .name("fuse-overlayfs".into())
        .spawn(move || {
            let said = last_words(&mut child);
            if !said.is_empty() {
                tracing::warn!(%said, "fuse-overlayfs");
            }
            *end.has_come.lock() = true;
            end.changed.notify_all();
        });
    waiting.map_err(|error| MountError::new(what(), "watch fuse-overlayfs", error))?;
    Ok((mount, daemon))
}

fn mount(device: &File, read_only: bool) -> Result<DetachedMount, Errno> {
    let context = rustix::mount::fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set =
        |key: &str, value: &str| rustix::mount::fsconfig_set_string(context.as_fd(), key, value);
    set("source", FUSE_OVERLAYFS)?;
    set("fd", &device.as_raw_fd().to_string())?;
    set("rootmode", "40000")?;
    set("user_id", "0")?;
    set("group_id", "0")?;
    for flag in ["default_permissions", "allow_other"] {
        rustix::mount::fsconfig_set_flag(context.as_fd(), flag)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = if read_only {
        MountAttrFlags::MOUNT_ATTR_RDONLY
    } else {
        MountAttrFlags::empty()
    };
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map(DetachedMount::from_fd)
}

fn options(overlay: &OverlayMount) -> io::Result<String> {
    let layers = overlay
        .layers
        .iter()
        .map(|layer| name(layer))
        .collect::<io::Result<Vec<_>>>()?;
    let mut options = format!("lowerdir={}", layers.join(":"));
    if let Some(upper) = &overlay.upper {
        options.push_str(&format!(
            ",upperdir={},workdir={}",
            name(&upper.changes)?,
            name(&upper.work)?
        ));
        if upper.flush == Flush::ByOwner {
            options.push_str(",volatile");
        }
    }
    Ok(options)
}

fn name(path: &Path) -> io::Result<&str> {
    path.to_str()
        .filter(|text| !text.contains([':', ',', '\\']))
        .ok_or_else(|| {
            io::Error::other(format!("a path with a colon, comma or backslash: {path:?}"))
        })
}

/// Waits for the process to end; what it said on the way.
fn last_words(child: &mut Child) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // Bounded, and read to its end so that the process is never held up.
        let mut stderr = stderr;
        let _ = (&mut stderr).take(4096).read_to_end(&mut said);
        let _ = io::copy(&mut stderr, &mut io::sink());
    }
    let _ = child.wait();
    String::from_utf8_lossy(&said).trim().to_owned()
}
