//! A `cooperd` on a sandbox's state: started, waited for, killed.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{Sandbox, binary, path};

/// How long a daemon may take to say that it is ready before it counts as stuck: much more than it needs, since the
/// machine may be busy.
const STUCK: Duration = Duration::from_secs(60);

/// A running daemon; dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// How long it took to be ready.
    pub ready_after: Duration,
}

impl Daemon {
    /// Starts a daemon and waits until it serves.
    ///
    /// # Errors
    /// When it ends or gets stuck before that, with the end of its log.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        Self::start_under(sandbox, &[])?.with_context(|| {
            let log = fs::read_to_string(sandbox.path("daemon.log")).unwrap_or_default();
            let from = log.len().saturating_sub(4000);
            let end = log.get(from..).unwrap_or_default();
            format!("the daemon ended before it served:\n{end}")
        })
    }

    /// As [`Self::start`], with a program and arguments before the daemon's own, such as `strace -D`, that become the
    /// daemon; `None` when it ended before it served.
    ///
    /// # Errors
    /// When it cannot be started or gets stuck.
    pub fn start_under(sandbox: &Sandbox, before: &[String]) -> Result<Option<Self>> {
        let socket = sandbox.path("ready.sock");
        let _may_be_new = fs::remove_file(&socket);
        let ready = UnixDatagram::bind(&socket)?;
        ready.set_read_timeout(Some(Duration::from_millis(20)))?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(sandbox.path("daemon.log"))?;
        let mut command = under(before, "cooperd");
        command
            .args(["--root", path(&sandbox.state()), "--addr"])
            .arg(format!("unix://{}", path(&sandbox.path("daemon.sock"))))
            .env("NOTIFY_SOCKET", &socket)
            .env("HOME", sandbox.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let begun = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let mut buffer = [0; 64];
        loop {
            match ready.recv(&mut buffer) {
                Ok(length) if buffer[..length].starts_with(b"READY=1") => {
                    let ready_after = begun.elapsed();
                    return Ok(Some(Self { child, ready_after }));
                }
                Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock) => bail!(error),
                _ => {}
            }
            if child.try_wait()?.is_some() {
                return Ok(None);
            }
            if begun.elapsed() > STUCK {
                child.kill()?;
                child.wait()?;
                bail!("the daemon was not ready after {STUCK:?}");
            }
        }
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(mut self) -> Result<()> {
        // One that has ended already is what is wanted.
        let _gone = self.child.kill();
        self.child.wait()?;
        Ok(())
    }

    /// Tells it to stop and waits for that.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn stop(mut self) -> Result<()> {
        if let Some(id) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(id, Signal::TERM)?;
        }
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// One of our programs, with another program and its arguments before it.
#[must_use]
pub fn under(before: &[String], program: &str) -> Command {
    match before.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(binary(program));
            command
        }
        None => Command::new(binary(program)),
    }
}
