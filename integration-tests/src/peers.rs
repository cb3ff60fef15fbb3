//! Programs that build, hold or run images: other ones as Debian ships them, and our daemon.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::sandbox::{binary, path, succeed};

/// Debian's buildah with a store of its own.
pub struct Buildah {
    store: PathBuf,
}

impl Buildah {
    /// A buildah whose store knows the image `busybox`, made from the same tar as ours.
    ///
    /// # Errors
    /// When buildah is missing or fails.
    pub fn with_busybox(store: &Path, base: &Path) -> Result<Self> {
        let buildah = Self {
            store: store.to_path_buf(),
        };
        fs::create_dir_all(store)?;
        let context = store.join("base");
        fs::create_dir_all(&context)?;
        fs::copy(base, context.join("busybox.tar"))?;
        fs::write(
            context.join("Dockerfile"),
            "FROM scratch\nADD busybox.tar /\n",
        )?;
        buildah.build(&context, "docker.io/library/busybox:latest", &[])?;
        Ok(buildah)
    }

    /// Builds a folder and names the image.
    ///
    /// # Errors
    /// When the build fails, with its output.
    pub fn build(&self, context: &Path, name: &str, extra: &[String]) -> Result<()> {
        let mut command = self.command();
        command.args([
            "build",
            "--isolation",
            "chroot",
            "--pull-never",
            "--network",
            "host",
            "--format",
            "docker",
        ]);
        command.args(extra).args(["-t", name, path(context)]);
        succeed(command).map(drop)
    }

    /// Writes an image as an OCI layout.
    ///
    /// # Errors
    /// When the push fails.
    pub fn export_oci(&self, name: &str, layout: &Path) -> Result<()> {
        let mut command = self.command();
        command.args([
            "push",
            "--format",
            "oci",
            name,
            &format!("oci:{}:latest", path(layout)),
        ]);
        succeed(command).map(drop)
    }

    /// The image's configuration as Docker's JSON has it.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn docker_config(&self, name: &str) -> Result<serde_json::Value> {
        let mut command = self.command();
        command.args(["inspect", "--type", "image", name]);
        let mut known: serde_json::Value = serde_json::from_str(&succeed(command)?.stdout)?;
        Ok(known["Docker"].take())
    }

    fn command(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .args([
                "--root",
                path(&self.store.join("root")),
                "--runroot",
                path(&self.store.join("run")),
            ])
            .args(["--storage-driver", "vfs"])
            .stdin(Stdio::null());
        command
    }
}

/// Debian's Docker engine, started by a test on a folder and a socket of its own.
pub struct Dockerd {
    child: Child,
    socket: PathBuf,
}

impl Dockerd {
    /// Starts the engine and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer within a minute, with the end of its log.
    pub fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let socket = folder.join("docker.sock");
        let log = folder.join("dockerd.log");
        let child = Command::new("dockerd")
            .args(["--host", &format!("unix://{}", path(&socket))])
            .args([
                "--data-root",
                path(&folder.join("data")),
                "--exec-root",
                path(&folder.join("exec")),
            ])
            .args([
                "--pidfile",
                path(&folder.join("pid")),
                "--bridge",
                "none",
                "--iptables=false",
            ])
            .args(["--storage-driver", "vfs"])
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .stderr(fs::File::create(folder.join("dockerd.err"))?)
            .spawn()
            .context("starting dockerd")?;
        let engine = Self { child, socket };
        let deadline = Instant::now() + Duration::from_secs(60);
        while engine.docker(&["version"]).is_err() {
            if Instant::now() > deadline {
                let said = fs::read_to_string(folder.join("dockerd.err")).unwrap_or_default();
                bail!("dockerd does not answer:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(engine)
    }

    /// The address that clients take.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", path(&self.socket))
    }

    /// Runs `docker` against the engine; gives its standard output.
    ///
    /// # Errors
    /// When the command fails.
    pub fn docker(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("docker");
        command
            .arg("--host")
            .arg(format!("unix://{}", path(&self.socket)))
            .args(arguments)
            .stdin(Stdio::null());
        Ok(succeed(command)?.stdout)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// `cooperd`, started by a test as buildkitd would be.
pub struct Cooperd {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Cooperd {
    /// Starts the daemon on a folder and a socket of its own and waits until the socket answers.
    ///
    /// # Errors
    /// When it does not answer within a minute, with what it printed.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, |_| {})
    }

    /// A daemon that is told more.
    ///
    /// # Errors
    /// When it does not answer within a minute, with what it printed.
    pub fn start_with(folder: &Path, more: impl FnOnce(&mut Command)) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let socket = folder.join("cooperd.sock");
        let log = folder.join("cooperd.log");
        let mut command = Command::new(binary("cooperd"));
        command
            .args(["--root", path(&folder.join("root"))])
            .arg(format!("--addr=unix://{}", path(&socket)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?);
        more(&mut command);
        let child = command.spawn().context("starting cooperd")?;
        let mut daemon = Self { child, socket, log };
        let deadline = Instant::now() + Duration::from_secs(60);
        while UnixStream::connect(&daemon.socket).is_err() {
            if Instant::now() > deadline || !daemon.is_running() {
                bail!("cooperd does not answer:\n{}", daemon.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(daemon)
    }

    /// The address that clients take.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", path(&self.socket))
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The number of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let id = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(id, signal)?)
    }

    /// Waits for its end; gives how it ended and what it printed.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(mut self) -> Result<(ExitStatus, String)> {
        let status = self.child.wait()?;
        Ok((status, self.log()))
    }
}

impl Drop for Cooperd {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Asks a process to end and waits for it.
fn end(child: &mut Child) {
    if let Some(id) = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
        // It may have ended by itself; then there is nothing to stop.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
    let _ = child.wait();
}
