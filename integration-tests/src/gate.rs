//! Steps that run until a test lets them end.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::peers::Cooperd;
use crate::sandbox::{Sandbox, base_busybox, path, succeed};

/// Where steps wait: each connects and reads until nobody writes any more.
pub struct Gate(TcpListener);

impl Gate {
    /// A gate on the loopback.
    ///
    /// # Errors
    /// When there is no port.
    pub fn new() -> Result<Self> {
        Ok(Self(TcpListener::bind("127.0.0.1:0")?))
    }

    /// A step that is at the gate until the answer is dropped.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn reached(&self) -> Result<TcpStream> {
        Ok(self.0.accept()?.0)
    }

    /// The command that waits at the gate. Its container has the machine's network.
    ///
    /// # Errors
    /// When the gate has no address.
    pub fn command(&self) -> Result<String> {
        Ok(format!("nc 127.0.0.1 {}", self.0.local_addr()?.port()))
    }

    /// A context whose only step waits at the gate.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn context(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let wait = self.command()?;
        let dockerfile = format!("FROM busybox\nRUN {wait} && echo through > /gate\n");
        Ok(fs::write(folder.join("Dockerfile"), dockerfile)?)
    }
}

/// A daemon that knows the image `busybox` and whose steps have the machine's network.
///
/// # Errors
/// When it does not start or the image cannot be made.
pub fn open_daemon(sandbox: &Sandbox, more: &[&str]) -> Result<Cooperd> {
    let daemon = Cooperd::start_with(&sandbox.path("daemon"), |command| {
        command.arg("--oci-worker-net=host").args(more);
    })?;
    let base = base_busybox()?;
    succeed(client(
        sandbox,
        &["image", "import", path(&base), "busybox"],
    ))?;
    Ok(daemon)
}

/// `cooper` as a client of that daemon.
#[must_use]
pub fn client(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = sandbox.cooper(arguments);
    command.env("COOPER_STATE", sandbox.path("daemon/root"));
    command
}
