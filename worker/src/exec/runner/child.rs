use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

use super::{mounts, privileges, streams};
use crate::exec::config::{Config, NamespaceKind, Process};
use crate::exec::program_path::candidates;
use crate::exec::protocol::{Launch, SetupFailure};
use crate::exec::seccomp::Filter;
use crate::sys::{
    bring_loopback_up, close_all_but, execve, install_filter, join_new_session_keyring,
    leave_cgroup_namespace, reset_signals,
};
use crate::userns::Identity;

type Step<T> = Result<T, SetupFailure>;

/// Turns this process, the first one of its namespaces, into the container's program. Returns only what went wrong.
pub(super) fn become_program(
    launch: &Launch,
    fds: Vec<OwnedFd>,
    status: BorrowedFd<'_>,
) -> SetupFailure {
    match prepare(launch, fds, status) {
        Err(failure) => failure,
        Ok(()) => run_program(&launch.config.process),
    }
}

fn prepare(launch: &Launch, fds: Vec<OwnedFd>, status: BorrowedFd<'_>) -> Step<()> {
    let config = &launch.config;
    // Kept from here on: what a container's own `/proc` says of it later is the container's word.
    let _kept = Identity::of_this_process();
    die_with_helper(status)
        .map_err(|error| SetupFailure::machine("bind to the helper's life", error))?;
    rustix::process::setsid().map_err(|errno| SetupFailure::machine("setsid", errno))?;
    match join_new_session_keyring() {
        // Keys are optional in a kernel, and a container may not have quota for a keyring.
        Err(error)
            if !matches!(
                error.raw_os_error(),
                Some(libc::ENOSYS | libc::EDQUOT | libc::EPERM)
            ) =>
        {
            return Err(SetupFailure::machine("join a new session keyring", error));
        }
        _ => {}
    }
    join_groups(launch, &fds)?;
    match launch.joins_fd {
        Some(index) => join_mounts(fds[index].as_fd())?,
        None => {
            enter_own_namespaces(launch, &fds)?;
            set_up_network_and_name(config)?;
            rustix::process::umask(Mode::empty());
            mounts::set_up(launch, &fds)?;
        }
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let filter = read_filter(launch, &fds)?;
    streams::set_up(launch.input, &fds, &config.process.user)?;
    privileges::set_limits(&config.process.rlimits)?;
    // From here on there is no descriptor of the machine's that a path such as `/proc/self/fd/7` could name (T-B7).
    close_all_but(status).map_err(|error| SetupFailure::machine("close descriptors", error))?;
    std::mem::forget(fds);
    enter_directory(&config.process.cwd)?;
    if let Some(filter) = filter {
        // Before the capabilities go: without `no_new_privs` it takes one to install a filter.
        install_filter(&filter.program)
            .map_err(|error| SetupFailure::machine("install the seccomp filter", error))?;
    }
    privileges::drop_to(&config.process)
}

/// The helper's death must be ours. It may have died before we asked for that, which the pipe to it tells.
pub(super) fn die_with_helper(status: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut pipe = [PollFd::new(&status, PollFlags::OUT)];
    rustix::event::poll(&mut pipe, Some(&rustix::event::Timespec::default()))?;
    if pipe[0].revents().contains(PollFlags::ERR) {
        return Err(io::Error::other("the helper is gone"));
    }
    Ok(())
}

/// Joins the container's control groups, before it uses any memory or device.
fn join_groups(launch: &Launch, fds: &[OwnedFd]) -> Step<()> {
    for &group in &launch.cgroup_fds {
        rustix::io::write(&fds[group], b"0")
            .map_err(|errno| SetupFailure::machine("join a control group", errno))?;
    }
    Ok(())
}

/// Namespaces that are joined, or that begin where this process is by now.
fn enter_own_namespaces(launch: &Launch, fds: &[OwnedFd]) -> Step<()> {
    if has_namespace(&launch.config, NamespaceKind::Cgroup) {
        leave_cgroup_namespace()
            .map_err(|error| SetupFailure::machine("unshare the control groups", error))?;
    }
    if let Some(network) = launch.network_fd {
        rustix::thread::move_into_link_name_space(
            fds[network].as_fd(),
            Some(LinkNameSpaceType::Network),
        )
        .map_err(|errno| SetupFailure::machine("join the network namespace", errno))?;
    }
    Ok(())
}

fn has_namespace(config: &Config, kind: NamespaceKind) -> bool {
    config
        .linux
        .namespaces
        .iter()
        .any(|namespace| namespace.kind == kind)
}

fn set_up_network_and_name(config: &Config) -> Step<()> {
    if has_namespace(config, NamespaceKind::Network) {
        bring_loopback_up()
            .map_err(|error| SetupFailure::machine("bring the loopback interface up", error))?;
    }
    if has_namespace(config, NamespaceKind::Uts) && !config.hostname.is_empty() {
        rustix::system::sethostname(config.hostname.as_bytes()).map_err(|errno| {
            SetupFailure::request(format!("set the host name {:?}", config.hostname), errno)
        })?;
    }
    Ok(())
}

fn read_filter(launch: &Launch, fds: &[OwnedFd]) -> Step<Option<Filter>> {
    let Some(index) = launch.filter_fd else {
        return Ok(None);
    };
    let fail = |error: io::Error| SetupFailure::machine("read the seccomp filter", error);
    let mut file = File::from(fds[index].try_clone().map_err(fail)?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(fail)?;
    Ok(Some(Filter::from_bytes(&bytes)))
}

/// The mounts of a running container become this process's own; its `/` and working directory are theirs then.
fn join_mounts(container: BorrowedFd<'_>) -> Step<()> {
    rustix::thread::move_into_thread_name_spaces(container, ThreadNameSpaceType::MOUNT)
        .map_err(|errno| SetupFailure::machine("join the container's mounts", errno))
}

/// Goes to a directory of the container, not through links that only the kernel can follow (CVE-2024-21626).
fn enter_directory(path: &Path) -> Step<()> {
    let step = || format!("enter the working directory {}", path.display());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|errno| SetupFailure::request(step(), errno))?;
    rustix::process::fchdir(&directory).map_err(|errno| SetupFailure::request(step(), errno))?;
    let here = rustix::process::getcwd(Vec::new())
        .map_err(|errno| SetupFailure::request(step(), errno))?;
    if here.as_bytes().first() != Some(&b'/') {
        return Err(SetupFailure::request(
            step(),
            "it is outside of the container",
        ));
    }
    Ok(())
}

fn run_program(process: &Process) -> SetupFailure {
    let Some(name) = process.args.first() else {
        return SetupFailure::request("exec", "no program given");
    };
    let strings = |texts: &[String]| {
        texts
            .iter()
            .map(|text| CString::new(text.as_str()))
            .collect::<Result<Vec<_>, _>>()
    };
    let (Ok(arguments), Ok(environment)) = (strings(&process.args), strings(&process.env)) else {
        return SetupFailure::request(
            format!("exec {name:?}"),
            "an argument or variable contains a NUL byte",
        );
    };
    reset_signals();
    let mut denied = None;
    for program in candidates(name, &process.env) {
        let error = execve(&program, &arguments, &environment);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => denied = Some(error),
            _ => return SetupFailure::request(format!("exec {name:?}"), error),
        }
    }
    match denied {
        Some(error) => SetupFailure::request(format!("exec {name:?}"), error),
        None if name.contains('/') => SetupFailure::request(
            format!("exec {name:?}"),
            "no such file or directory, or its interpreter is missing",
        ),
        None => SetupFailure::request(
            format!("exec {name:?}"),
            "executable file not found in $PATH",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_is_named() {
        let process = Process {
            args: vec!["no-such-program".into()],
            ..Process::default()
        };
        // The candidates do not exist, so that `execve` returns and this process stays what it is.
        let failure = run_program(&process);
        assert_eq!(
            failure.to_string(),
            "exec \"no-such-program\": executable file not found in $PATH"
        );
    }

    #[test]
    fn directory_behind_a_magic_link_is_not_entered() {
        let failure = enter_directory(Path::new("/proc/self/cwd")).unwrap_err();
        assert!(failure.step.contains("/proc/self/cwd"), "{failure}");
    }
}
