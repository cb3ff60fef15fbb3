//! Debian's docker-registry.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::sandbox::path;

/// A registry on a free port of the loopback, gone when dropped.
pub struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    /// Starts a registry that keeps its blobs in a folder.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, "")
    }

    /// A registry with further lines in its configuration.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start_with(folder: &Path, more: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        // Another process may take the port before the registry does: then try again.
        for _ in 0..10 {
            if let Some(started) = Self::try_start(folder, more)? {
                return Ok(started);
            }
        }
        bail!("docker-registry does not start (Debian package docker-registry)")
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    fn try_start(folder: &Path, more: &str) -> Result<Option<Self>> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\nhttp:\n  addr: {address}\n{more}",
            path(&folder.join("data"))
        );
        let file = folder.join("config.yml");
        fs::write(&file, config)?;
        let process = Command::new("docker-registry")
            .args(["serve", path(&file)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log"))?)
            .spawn()
            .context("docker-registry is installed (Debian package docker-registry)")?;
        let mut started = Self { process, address };
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if started.process.try_wait()?.is_some() {
                return Ok(None);
            }
            if TcpStream::connect(&started.address).is_ok() {
                return Ok(Some(started));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(None)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
