use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::config::{Config, ConfigMount};
use super::device_rules::kernel_rules;
use super::other_runtime::OtherRuntime;
use super::permissions::Permissions;
use super::program::{Streams, receiver};
use super::protocol::{
    BirthGroup, FailureCause, HELPER_NAME, Launch, LaunchInput, LaunchSource, OtherLaunch, Report,
    in_memory, read_value, send_launch,
};
use super::seccomp::{Filter, profile};
use super::streams::CHUNK;
use crate::cgroup::StepCgroup;
use crate::mount::{DetachedMount, MountError};
use crate::userns::Identity;

/// The program that helpers are started from: our own, which calls
/// [`runner_main_if_asked`](super::runner_main_if_asked) first.
///
/// It is a read-only view of the file, so that nothing inside a container can write to it through `/proc/self/exe`
/// (CVE-2019-5736).
#[derive(Debug)]
pub struct RunnerProgram {
    view: DetachedMount,
    other: Option<OtherRuntime>,
}

impl RunnerProgram {
    /// The program of this process.
    ///
    /// # Errors
    /// Without the right to mount.
    pub fn this_executable() -> Result<Self, MountError> {
        let own = Path::new("/proc/self/exe");
        let entered = Self::at(own);
        if entered.is_ok() || !Identity::of_this_process().is_mapped() {
            return entered;
        }
        // A process that has changed its mounts still runs from the former ones, which cannot be bound. Its path may
        // lead elsewhere by now.
        let fail = |error: io::Error| MountError::new(own.display().to_string(), "find", error);
        let program = Self::at(&std::fs::read_link(own).map_err(fail)?)?;
        let (found, running) = (
            rustix::fs::fstat(&program.view).map_err(|errno| fail(errno.into()))?,
            rustix::fs::stat(own).map_err(|errno| fail(errno.into()))?,
        );
        if (found.st_dev, found.st_ino) != (running.st_dev, running.st_ino) {
            let replaced = io::Error::other("the program was replaced while it runs");
            return Err(fail(replaced));
        }
        Ok(program)
    }

    /// Another program that answers to the same call.
    ///
    /// # Errors
    /// Where it is not there, or without the right to mount.
    pub fn at(path: &Path) -> Result<Self, MountError> {
        let view = DetachedMount::bind_path(path)?;
        view.set_read_only()?;
        Ok(Self { view, other: None })
    }

    /// The same, but that another runtime sets the containers up.
    #[must_use]
    pub fn with_runtime(mut self, other: OtherRuntime) -> Self {
        self.other = Some(other);
        self
    }

    /// Whether another runtime sets the containers up.
    #[must_use]
    pub fn has_other_runtime(&self) -> bool {
        self.other.is_some()
    }

    pub(super) fn start(&self) -> RunnerStart {
        RunnerStart {
            path: PathBuf::from(format!("/proc/self/fd/{}", self.view.as_fd().as_raw_fd())),
            other: self.other.clone(),
        }
    }
}

/// What a helper is started with. The path is good for as long as its [`RunnerProgram`] is there.
pub(super) struct RunnerStart {
    pub(super) path: PathBuf,
    other: Option<OtherRuntime>,
}

impl RunnerStart {
    /// What another runtime needs, if one is used.
    pub(super) fn other_launch(
        &self,
        cgroup: &StepCgroup,
        is_filtered: bool,
    ) -> io::Result<Option<OtherLaunch>> {
        let Some(other) = &self.other else {
            return Ok(None);
        };
        let cgroups_path = cgroup.place().ok_or_else(|| {
            io::Error::other("a container of another runtime needs a control group of its own")
        })?;
        Ok(Some(OtherLaunch {
            program: other.program().to_owned(),
            folder: other.folder().to_owned(),
            cgroups_path,
            seccomp: is_filtered.then(profile),
        }))
    }
}

impl AsFd for RunnerProgram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.view.as_fd()
    }
}

/// One container, ready to run.
#[derive(Debug)]
pub struct Container {
    /// How it is set up. Mounts of the kernel's own file systems are in it; those with content are in `mounts`.
    pub config: Config,
    /// What becomes `/`.
    pub root: DetachedMount,
    /// What is mounted after the configuration's own mounts, in order. One with the destination of an earlier one takes
    /// its place.
    pub mounts: Vec<ContainerMount>,
    /// Mounts that [`Source::Part`]s are in.
    pub stages: Vec<DetachedMount>,
    /// The filter of system calls.
    pub filter: Option<&'static Filter>,
    /// The network namespace, for a configuration that joins one.
    pub network: Option<OwnedFd>,
    /// Control groups to join.
    pub cgroup: Arc<StepCgroup>,
    /// What it may have beyond the ordinary. It does not run with more.
    pub permissions: Permissions,
}

/// Content mounted into a container.
#[derive(Debug)]
pub struct ContainerMount {
    /// Absolute path inside.
    pub destination: PathBuf,
    /// What is mounted.
    pub source: Source,
    /// Whether it cannot be written through this mount.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug)]
pub enum Source {
    /// A mount of its own.
    Whole(DetachedMount),
    /// A file or directory in one of the container's stages.
    Part(OwnedFd),
}

/// How a container's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// We were told to stop it.
    Cancelled,
    /// The kernel killed one of its processes for want of memory, and it ended with this code.
    OutOfMemory(i32),
}

/// Where a program wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why a container's program did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The image or the op asks for what cannot be.
    #[error("{step}: {message}")]
    Request {
        /// What was tried.
        step: String,
        /// What was wrong.
        message: String,
    },
    /// It would have more than it is permitted.
    #[error("{0} is not allowed")]
    Denied(&'static str),
    /// The machine did not let us.
    #[error("cannot set the container up: {step}: {message}")]
    Machine {
        /// What was tried.
        step: String,
        /// What was wrong.
        message: String,
    },
    /// The helper could not be started or talked to.
    #[error("the container's helper: {0}")]
    Helper(#[from] io::Error),
}

impl Container {
    /// Runs the program to its end and hands on what it writes.
    ///
    /// # Errors
    /// Where the program could not be started; how a started one ended is no error.
    ///
    /// # Cancel
    /// When `cancelled` completes, all processes are killed, and this returns [`ExitStatus::Cancelled`] when they are gone
    /// and nothing of theirs is mounted. Dropping the future kills them too, but does not wait.
    pub async fn run(
        self,
        program: &RunnerProgram,
        output: impl Fn(Output, Bytes),
        cancelled: impl Future<Output = ()>,
    ) -> Result<ExitStatus, RunError> {
        self.permissions.check(&self)?;
        let cgroup = Arc::clone(&self.cgroup);
        let runner = program.start();
        let started = tokio::task::spawn_blocking(move || self.start(&runner, None));
        let Helper {
            mut process,
            socket,
            stdout,
            stderr,
        } = started
            .await
            .map_err(|error| io::Error::other(error.to_string()))??;
        socket.set_nonblocking(true)?;
        let (mut report, keep_alive) = tokio::net::UnixStream::from_std(socket)?.into_split();
        let read_report = async move {
            let mut json = Vec::new();
            report.read_to_end(&mut json).await.map(|_| json)
        };
        let ended = async {
            futures::try_join!(
                pump(stdout, Output::Stdout, &output),
                pump(stderr, Output::Stderr, &output),
                read_report,
                process.wait(),
            )
        };
        tokio::pin!(ended, cancelled);
        let (was_cancelled, (_, _, json, _)) = tokio::select! {
            answer = &mut ended => (false, answer?),
            () = &mut cancelled => {
                drop(keep_alive);
                (true, ended.await?)
            }
        };
        let report = read_value(json.as_slice())?
            .ok_or_else(|| io::Error::other("it ended without a report"))?;
        let status = outcome(report, was_cancelled)?;
        let killed_code = match status {
            ExitStatus::Exited(code) if code != 0 => Some(code),
            ExitStatus::Signaled(signal) => Some(128 + signal),
            _ => None,
        };
        // Reads and removes groups: file operations that never wait.
        Ok(match killed_code {
            Some(code) if cgroup.ran_out_of_memory() => ExitStatus::OutOfMemory(code),
            _ => status,
        })
    }

    /// Starts the helper and gives it all that it needs; our own handles are dropped. With streams the program is talked
    /// to.
    pub(super) fn start(
        mut self,
        runner: &RunnerStart,
        streams: Option<&Streams>,
    ) -> Result<Helper, io::Error> {
        let other = runner.other_launch(&self.cgroup, self.filter.is_some())?;
        // Another runtime joins the groups itself, and keeps the container from devices by them.
        let guards_devices_by_mounts = other.is_none() && !self.restrict_devices();
        let sources = self.take_sources();
        let birthplace = self.cgroup.birthplace();
        let filter = self
            .filter
            .map(|filter| in_memory(&filter.to_bytes()))
            .transpose()?;
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.root.as_fd()];
        let mut send = |fd| {
            fds.push(fd);
            fds.len() - 1
        };
        let cgroup_fds: Vec<usize> = match other {
            None => self.cgroup.join_files().map(&mut send).collect(),
            Some(_) => Vec::new(),
        };
        let birth_group = birthplace.as_ref().and_then(|(at, directory)| {
            Some(BirthGroup {
                processes_fd: *cgroup_fds.get(*at)?,
                directory_fd: send(directory.as_fd()),
            })
        });
        let mut launch = Launch {
            root_fd: 0,
            filter_fd: filter.as_ref().map(|filter| send(filter.as_fd())),
            stage_fds: self
                .stages
                .iter()
                .map(|stage| send(stage.as_fd()))
                .collect(),
            cgroup_fds,
            birth_group,
            network_fd: self.network.as_ref().map(|network| send(network.as_fd())),
            guards_devices_by_mounts,
            shares_processes: self.permissions.outer_processes,
            sources: sources
                .iter()
                .map(|source| match source {
                    Source::Whole(mount) => LaunchSource::Whole(send(mount.as_fd())),
                    Source::Part(part) => LaunchSource::Part(send(part.as_fd())),
                })
                .collect(),
            config: self.config,
            input: LaunchInput::Nothing,
            joins_fd: None,
            announces: false,
            other,
        };
        if let Some(streams) = streams {
            streams.put(&mut launch, &mut fds);
        }
        let helper = spawn(&runner.path)?;
        send_launch(&helper.socket, &launch, &fds)?;
        Ok(helper)
    }

    /// Whether the container's control group keeps it from the machine's devices, or nothing has to.
    fn restrict_devices(&self) -> bool {
        let Some(rules) = kernel_rules(&self.config.linux.resources.devices) else {
            return true;
        };
        match self.cgroup.restrict_devices(&rules) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "mounts keep a step from the machine's devices; no control group can");
                false
            }
        }
    }

    /// Moves the mounts with content into the configuration, as `bind`s in their order.
    fn take_sources(&mut self) -> Vec<Source> {
        let mut mounts: Vec<ContainerMount> = Vec::new();
        for mount in std::mem::take(&mut self.mounts) {
            mounts.retain(|earlier| earlier.destination != mount.destination);
            self.config
                .mounts
                .retain(|earlier| earlier.destination != mount.destination);
            mounts.push(mount);
        }
        let mut sources = Vec::new();
        for ContainerMount {
            destination,
            source,
            read_only,
        } in mounts
        {
            let options = [Some("bind"), read_only.then_some("ro")];
            self.config.mounts.push(ConfigMount {
                destination,
                kind: "bind".into(),
                source: format!("mounts/{}", sources.len()).into(),
                options: options.into_iter().flatten().map(String::from).collect(),
            });
            sources.push(source);
        }
        sources
    }
}

/// A helper gets its own process group, so that a Ctrl-C at our terminal is ours to act on.
fn command(program: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command
        .arg0(HELPER_NAME)
        .env_clear()
        .process_group(0)
        .stdin(Stdio::null());
    command
}

/// Starts a helper that waits for what to do.
pub(super) fn spawn(program: &Path) -> io::Result<Helper> {
    let (ours, theirs) = UnixStream::pair()?;
    let (stdout, stdout_end) = io::pipe()?;
    let (stderr, stderr_end) = io::pipe()?;
    let process = tokio::process::Command::from(command(program))
        .stdin(OwnedFd::from(theirs))
        .stdout(stdout_end)
        .stderr(stderr_end)
        .spawn()?;
    Ok(Helper {
        process,
        socket: ours,
        stdout: receiver(stdout)?,
        stderr: receiver(stderr)?,
    })
}

/// A helper process and our ends of what leads to it.
pub(super) struct Helper {
    pub(super) process: tokio::process::Child,
    pub(super) socket: UnixStream,
    pub(super) stdout: Receiver,
    pub(super) stderr: Receiver,
}

async fn pump(mut from: Receiver, name: Output, output: &impl Fn(Output, Bytes)) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        output(name, buffer.split().freeze());
    }
}

pub(super) fn outcome(report: Report, was_cancelled: bool) -> Result<ExitStatus, RunError> {
    match report {
        _ if was_cancelled => Ok(ExitStatus::Cancelled),
        Report::Exited(code) => Ok(ExitStatus::Exited(code)),
        Report::Signaled(signal) => Ok(ExitStatus::Signaled(signal)),
        Report::Failed(failure) => Err(match failure.cause {
            FailureCause::Request => RunError::Request {
                step: failure.step,
                message: failure.message,
            },
            FailureCause::Machine => RunError::Machine {
                step: failure.step,
                message: failure.message,
            },
        }),
    }
}
