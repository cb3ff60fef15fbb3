use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::config::Config;

/// What the helper is called by, so that our own binary knows that it is one.
pub(super) const HELPER_NAME: &str = "cooper-container";

/// What the engine asks its helper to run. Numbers named `fd` are positions in the descriptors that come with it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Launch {
    pub(super) config: Config,
    /// A compiled filter of system calls in memory.
    pub(super) filter_fd: Option<usize>,
    /// The mount that becomes `/`.
    pub(super) root_fd: usize,
    /// Mounts of which only parts are shown.
    pub(super) stage_fds: Vec<usize>,
    /// Files of control groups that the container joins by writing to them.
    pub(super) cgroup_fds: Vec<usize>,
    /// The one of them that the container can be born in.
    #[serde(default)]
    pub(super) birth_group: Option<BirthGroup>,
    /// The network namespace that the container joins.
    pub(super) network_fd: Option<usize>,
    /// Whether mounts must keep the container from the machine's devices, because no control group does.
    pub(super) guards_devices_by_mounts: bool,
    /// Whether the processes outside may be shown to the container where it can have no `/proc` of its own.
    #[serde(default)]
    pub(super) shares_processes: bool,
    /// What is mounted, for each `bind` of the configuration in its order.
    pub(super) sources: Vec<LaunchSource>,
    /// What the program reads.
    #[serde(default)]
    pub(super) input: LaunchInput,
    /// The first process of a container that runs already: the program is to run in there. Then nothing is mounted and
    /// `root_fd` is not looked at.
    #[serde(default)]
    pub(super) joins_fd: Option<usize>,
    /// Whether the helper is to say when the program runs, and hand over its process.
    #[serde(default)]
    pub(super) announces: bool,
    /// Another runtime that sets the container up. Then `joins_fd` is the process that it works in.
    #[serde(default)]
    pub(super) other: Option<OtherLaunch>,
}

/// A control group of version 2.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct BirthGroup {
    pub(super) directory_fd: usize,
    /// The file that a process joins by.
    pub(super) processes_fd: usize,
}

/// What another runtime needs beside the configuration.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OtherLaunch {
    /// Its program.
    pub(super) program: PathBuf,
    /// An empty folder in which each container sees a file system of its own.
    pub(super) folder: PathBuf,
    /// The container's control group, from the root of every hierarchy.
    pub(super) cgroups_path: PathBuf,
    /// The filter of system calls (`linux.seccomp`).
    pub(super) seccomp: Option<serde_json::Value>,
}

/// What the program's standard input is.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) enum LaunchInput {
    /// The null device.
    #[default]
    Nothing,
    /// This end of a pipe.
    Pipe(usize),
    /// A terminal of the container, which then is where the program writes to as well. Its other side is sent to this
    /// socket.
    Terminal(usize),
}

/// The byte with which a helper hands over the process that it has started, and then the one that ends when nothing is left
/// of the container, if that is another one. A report begins with another byte.
pub(super) const STARTED: u8 = b's';

/// Where the content of a `bind` comes from.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum LaunchSource {
    /// A detached mount, attached as it is.
    Whole(usize),
    /// A file or directory in one of the stages.
    Part(usize),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    Exited(i32),
    Signaled(i32),
    Failed(SetupFailure),
}

/// Why the container's program never ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}: {message}")]
pub(super) struct SetupFailure {
    pub(super) step: String,
    pub(super) message: String,
    pub(super) cause: FailureCause,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FailureCause {
    /// The image or the op asks for what cannot be.
    Request,
    /// The machine does not let us.
    Machine,
}

/// Most letters of each text of a failure. A helper's child says it into a pipe that nobody reads while the child is
/// there, so it has to fit into one.
const FAILURE_LETTERS: usize = 2000;

impl SetupFailure {
    pub(super) fn machine(step: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::new(step.into(), error.to_string(), FailureCause::Machine)
    }

    pub(super) fn request(step: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::new(step.into(), error.to_string(), FailureCause::Request)
    }

    fn new(mut step: String, mut message: String, cause: FailureCause) -> Self {
        for text in [&mut step, &mut message] {
            if let Some((end, _)) = text.char_indices().nth(FAILURE_LETTERS) {
                text.truncate(end);
                text.push('…');
            }
        }
        Self {
            step,
            message,
            cause,
        }
    }
}

/// Descriptors that fit into one message (`SCM_MAX_FD` is 253).
const FDS_IN_MESSAGE: usize = 250;

/// Sends a value and descriptors to a helper. The value travels in memory that no other process can reach: it holds the
/// environment, and with it perhaps secrets.
pub(super) fn send_launch(
    socket: &UnixStream,
    launch: &Launch,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let launch = in_memory(&serde_json::to_vec(launch)?)?;
    let all: Vec<BorrowedFd<'_>> = std::iter::once(launch.as_fd())
        .chain(fds.iter().copied())
        .collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_IN_MESSAGE))];
    for some in all.chunks(FDS_IN_MESSAGE) {
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(some));
        rustix::net::sendmsg(
            socket,
            &[IoSlice::new(b"+")],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
    }
    (&mut &*socket).write_all(b".")
}

/// Receives what [`send_launch`] sent.
pub(super) fn receive_launch(socket: &UnixStream) -> io::Result<(Launch, Vec<OwnedFd>)> {
    let mut fds = Vec::new();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_IN_MESSAGE))];
    loop {
        let mut byte = [0];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut byte)];
        let message =
            rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        if message.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        if byte == *b"." {
            break;
        }
    }
    let mut launch = File::from(fds.remove(0));
    let mut json = Vec::new();
    launch.rewind()?;
    launch.read_to_end(&mut json)?;
    Ok((serde_json::from_slice(&json)?, fds))
}

/// Most descriptors that come with one byte.
const FDS_AT_ONCE: usize = 2;

/// Sends a byte and some descriptors.
pub(super) fn send_fds(socket: impl AsFd, byte: u8, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(fds));
    let parts = [IoSlice::new(std::slice::from_ref(&byte))];
    rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one byte and the descriptors that came with it; `None` at the end of the stream.
pub(super) fn receive_fds(socket: impl AsFd) -> io::Result<Option<(u8, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_AT_ONCE))];
    let mut byte = [0];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        return Ok(None);
    }
    let mut received = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            received.extend(fds);
        }
    }
    Ok(Some((byte[0], received)))
}

/// A file in memory with this content.
pub(super) fn in_memory(content: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("cooper", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}

/// Writes a value to a pipe or socket whose end is the end of the value.
pub(super) fn write_value(mut to: impl Write, value: &impl Serialize) -> io::Result<()> {
    to.write_all(&serde_json::to_vec(value)?)
}

/// Reads a value up to the end of the stream; `None` where there was nothing.
pub(super) fn read_value<T: DeserializeOwned>(mut from: impl Read) -> io::Result<Option<T>> {
    let mut json = Vec::new();
    from.read_to_end(&mut json)?;
    if json.is_empty() {
        Ok(None)
    } else {
        Ok(Some(serde_json::from_slice(&json)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A step with a host name of 70 kB never ended: its child waited for room in the pipe, and its helper for the child.
    #[test]
    fn a_failure_that_quotes_a_long_text_fits_into_a_pipe() {
        let long = "\u{1}".repeat(1 << 20);
        let failure = SetupFailure::request(format!("set the host name {long:?}"), &long);
        let report = serde_json::to_vec(&Report::Failed(failure)).unwrap();
        assert!(report.len() < 32 << 10, "{} bytes", report.len());
    }
}
