//! A program in a container that is talked to while it runs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;
use rustix::termios::Winsize;
use tokio::io::Interest;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::config::Config;
use super::container::{Container, ExitStatus, Helper, RunError, RunnerProgram, outcome, spawn};
use super::permissions::Permissions;
use super::protocol::{
    Launch, LaunchInput, Report, STARTED, in_memory, read_value, receive_fds, send_launch,
};
use super::seccomp::Filter;
use super::streams::{Input, Output, Terminal};
use crate::cgroup::StepCgroup;
use crate::sys::watched;

/// What a program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reads {
    /// The null device.
    #[default]
    Nothing,
    /// A pipe.
    Pipe,
    /// A terminal, which is also where it writes to.
    Terminal,
}

/// A program that runs in a container.
#[derive(Debug)]
pub struct Program {
    /// What it reads; none where it reads nothing.
    pub input: Option<Input>,
    /// What it writes to standard output, or to its terminal.
    pub stdout: Output,
    /// What it writes to standard error; none with a terminal.
    pub stderr: Option<Output>,
    /// Acts on it.
    pub control: Arc<Control>,
    /// Says how it ends.
    pub end: End,
}

/// Acts on a program.
#[derive(Debug)]
pub struct Control {
    process: OwnedFd,
    /// What ends when nothing is left of the container, where that is not the first program.
    whole: Option<OwnedFd>,
    terminal: Option<Terminal>,
    /// The helper kills the program when this is closed.
    keep_alive: Mutex<Option<OwnedWriteHalf>>,
    /// The container's control groups, which further programs join.
    cgroup: Arc<StepCgroup>,
    /// What the container may have beyond the ordinary, and so its further programs.
    permissions: Permissions,
}

/// Says how a program ends. Dropped, it kills the program.
#[derive(Debug)]
pub struct End {
    helper: tokio::process::Child,
    report: tokio::net::unix::OwnedReadHalf,
    control: Arc<Control>,
}

/// A program to run beside others in a container.
#[derive(Debug)]
pub struct Joining {
    /// How it is run; nothing in it sets the container up.
    pub config: Config,
    /// The filter of system calls.
    pub filter: Option<&'static Filter>,
}

impl Container {
    /// Starts the container's first program, with which all others end.
    ///
    /// # Errors
    /// Where it could not be started.
    ///
    /// # Cancel
    /// Dropping the future kills what was started.
    pub async fn open(self, runner: &RunnerProgram, reads: Reads) -> Result<Program, RunError> {
        self.permissions.check(&self)?;
        let (cgroup, permissions) = (Arc::clone(&self.cgroup), self.permissions);
        let runner = runner.start();
        let start = move || -> io::Result<Starting> {
            let streams = Streams::new(reads)?;
            let helper = self.start(&runner, Some(&streams))?;
            Ok(Starting {
                helper,
                input: streams.input,
                terminal: streams.terminal,
            })
        };
        blocking(start).await?.started(cgroup, permissions).await
    }
}

impl Control {
    /// Starts another program in the container whose first program this is.
    ///
    /// # Errors
    /// Where it could not be started.
    ///
    /// # Cancel
    /// Dropping the future kills what was started.
    pub async fn join(
        &self,
        runner: &RunnerProgram,
        joining: Joining,
        reads: Reads,
    ) -> Result<Program, RunError> {
        self.permissions.check_joining(&joining)?;
        let (cgroup, groups) = (Arc::clone(&self.cgroup), Arc::clone(&self.cgroup));
        let runner = runner.start();
        let process = self.whole.as_ref().unwrap_or(&self.process).try_clone()?;
        let start = move || -> io::Result<Starting> {
            let streams = Streams::new(reads)?;
            let filter = joining.filter.map(|it| in_memory(&it.to_bytes()));
            let filter = filter.transpose()?;
            let mut fds = vec![process.as_fd()];
            fds.extend(filter.as_ref().map(AsFd::as_fd));
            let filter_fd = filter.as_ref().map(|_| 1);
            let first_group = fds.len();
            let other = runner.other_launch(&groups, joining.filter.is_some())?;
            if other.is_none() {
                fds.extend(groups.join_files());
            }
            let mut launch = Launch {
                config: joining.config,
                filter_fd,
                cgroup_fds: (first_group..fds.len()).collect(),
                birth_group: None,
                network_fd: None,
                guards_devices_by_mounts: false,
                shares_processes: false,
                root_fd: 0,
                stage_fds: Vec::new(),
                sources: Vec::new(),
                input: LaunchInput::Nothing,
                joins_fd: Some(0),
                announces: true,
                other,
            };
            streams.put(&mut launch, &mut fds);
            let helper = spawn(&runner.path)?;
            send_launch(&helper.socket, &launch, &fds)?;
            Ok(Starting {
                helper,
                input: streams.input,
                terminal: streams.terminal,
            })
        };
        blocking(start)
            .await?
            .started(cgroup, self.permissions)
            .await
    }

    /// Sends the program a signal; one that has ended takes none.
    ///
    /// # Errors
    /// `InvalidInput` for a number that is no signal.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let signal =
            Signal::from_named_raw(number).ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
        match rustix::process::pidfd_send_signal(&self.process, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Tells the program's terminal how large it is; nothing where it has none.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let Some(terminal) = &self.terminal else {
            return Ok(());
        };
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(rustix::termios::tcsetwinsize(terminal.as_fd(), size)?)
    }

    /// Whether the program has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let mut ended = [PollFd::new(&self.process, PollFlags::IN)];
        let looked = rustix::event::poll(&mut ended, Some(&Timespec::default()));
        looked.is_ok() && ended[0].revents().is_empty()
    }

    /// Waits for the program to end, whoever else waits for it. With the first program of a container, all of it is gone
    /// then: the kernel tells of its end when nothing else is left in its PID namespace.
    pub async fn wait_until_gone(&self) {
        let whole = self.whole.as_ref().unwrap_or(&self.process);
        let ended = async { watched(whole.try_clone()?)?.readable().await.map(drop) };
        if let Err(error) = ended.await {
            tracing::warn!(%error, "a program that was killed cannot be waited for");
        }
    }

    /// Kills the program, and with the first one of a container all of it.
    pub fn kill(&self) {
        drop(self.keep_alive.lock().take());
    }
}

impl End {
    /// Waits for the program to end. With the first program of a container, all of it is gone then.
    ///
    /// # Errors
    /// Where the helper could not say how it ended.
    pub async fn wait(&mut self) -> Result<ExitStatus, RunError> {
        use tokio::io::AsyncReadExt;
        let mut json = Vec::new();
        self.report.read_to_end(&mut json).await?;
        self.helper.wait().await?;
        let report: Report = read_value(json.as_slice())?
            .ok_or_else(|| io::Error::other("it ended without a report"))?;
        outcome(report, false)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.control.kill();
    }
}

/// The streams of a program that is about to start: the ends that it gets, and ours.
pub(super) struct Streams {
    given: Option<OwnedFd>,
    reads: Reads,
    input: Option<Sender>,
    /// Where its terminal will come from.
    terminal: Option<UnixStream>,
}

impl Streams {
    fn new(reads: Reads) -> io::Result<Self> {
        let mut streams = Self {
            given: None,
            reads,
            input: None,
            terminal: None,
        };
        match reads {
            Reads::Nothing => {}
            Reads::Pipe => {
                let (theirs, ours) = io::pipe()?;
                streams.given = Some(theirs.into());
                streams.input = Some(Sender::from_owned_fd(ours.into())?);
            }
            Reads::Terminal => {
                let (ours, theirs) = UnixStream::pair()?;
                streams.given = Some(theirs.into());
                streams.terminal = Some(ours);
            }
        }
        Ok(streams)
    }

    pub(super) fn put<'a>(&'a self, launch: &mut Launch, fds: &mut Vec<BorrowedFd<'a>>) {
        launch.announces = true;
        if let Some(given) = &self.given {
            launch.input = match self.reads {
                Reads::Terminal => LaunchInput::Terminal(fds.len()),
                Reads::Nothing | Reads::Pipe => LaunchInput::Pipe(fds.len()),
            };
            fds.push(given.as_fd());
        }
    }
}

struct Starting {
    helper: Helper,
    input: Option<Sender>,
    terminal: Option<UnixStream>,
}

impl Starting {
    async fn started(
        self,
        cgroup: Arc<StepCgroup>,
        permissions: Permissions,
    ) -> Result<Program, RunError> {
        let Helper {
            mut process,
            socket,
            stdout,
            stderr,
        } = self.helper;
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UnixStream::from_std(socket)?;
        let first = socket
            .async_io(Interest::READABLE, || receive_fds(&socket))
            .await?;
        let (mut report, keep_alive) = socket.into_split();
        let mut handles = match first {
            Some((STARTED, handles)) if !handles.is_empty() => handles.into_iter(),
            first => {
                use tokio::io::AsyncReadExt;
                let mut json: Vec<u8> = first.map(|(byte, _)| byte).into_iter().collect();
                report.read_to_end(&mut json).await?;
                process.wait().await?;
                let report: Option<Report> = read_value(json.as_slice())?;
                let report = report.ok_or_else(|| io::Error::other("it ended without a report"))?;
                // A report in the place of the announcement is of a program that never ran.
                outcome(report, false)?;
                return Err(io::Error::other("the program ended before it began").into());
            }
        };
        let terminal = self.terminal.map(|from| terminal(&from)).transpose()?;
        let (input, stdout, stderr) = match &terminal {
            Some(terminal) => (
                Some(Input::Terminal(terminal.clone())),
                Output::Terminal(terminal.clone()),
                None,
            ),
            None => (
                self.input.map(Input::Pipe),
                Output::Pipe(stdout),
                Some(Output::Pipe(stderr)),
            ),
        };
        let process_handle = handles.next();
        let control = Arc::new(Control {
            process: process_handle
                .ok_or_else(|| io::Error::other("no program was handed over"))?,
            whole: handles.next(),
            terminal,
            keep_alive: Mutex::new(Some(keep_alive)),
            cgroup,
            permissions,
        });
        Ok(Program {
            input,
            stdout,
            stderr,
            control: Arc::clone(&control),
            end: End {
                helper: process,
                report,
                control,
            },
        })
    }
}

/// The terminal that a program took before it began.
fn terminal(from: &UnixStream) -> io::Result<Terminal> {
    from.set_nonblocking(true)?;
    let received = receive_fds(from)?.and_then(|(_, mut fds)| fds.pop());
    Terminal::new(received.ok_or_else(|| io::Error::other("no terminal was handed over"))?)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| io::Error::other(error.to_string()))?
}

/// A pipe's end for what the helper writes.
pub(super) fn receiver(end: io::PipeReader) -> io::Result<Receiver> {
    Receiver::from_owned_fd(OwnedFd::from(end))
}
