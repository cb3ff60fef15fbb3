use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Namespaces that a new process gets for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Namespaces(u64);

impl Namespaces {
    pub(crate) const PID: Self = Self(libc::CLONE_NEWPID as u64);
    pub(crate) const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    pub(crate) const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    pub(crate) const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    pub(crate) const NETWORK: Self = Self(libc::CLONE_NEWNET as u64);

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The kernel's number: the one of the C library's binding is too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a fork the caller is.
#[derive(Debug)]
pub(crate) enum Fork {
    /// The process that called; the descriptor refers to the child.
    Parent(OwnedFd),
    /// The new process, the first one in its namespaces.
    Child,
}

/// Forks into new namespaces (`clone3`), with a copy of the memory as `fork` has it, and into a control group of version 2,
/// by its directory: to be born there costs nothing, while moving there waits for all processors.
///
/// # Errors
/// Where the kernel cannot: it knows birth groups since Linux 5.7. `InvalidInput` in a process with several threads: their locks would stay held in the child for ever.
pub(crate) fn fork_into(namespaces: Namespaces, group: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "only a process with one thread may fork",
        ));
    }
    let mut pidfd: RawFd = -1;
    // SAFETY: an all-zero `clone_args` is valid.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = namespaces.0 | libc::CLONE_PIDFD as u64;
    arguments.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(group.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without `CLONE_VM` the child has its own copy of the memory and goes on from here on its own copy of the
    // stack; this process has one thread (checked above), so that no lock is held by a thread that the child lacks;
    // `arguments` and `pidfd` outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_mut(&mut arguments),
            size_of::<libc::clone_args>(),
        )
    };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        // SAFETY: the kernel has just given us this descriptor (it is close-on-exec by itself) and nobody else has it.
        _ => Ok(Fork::Parent(unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}
