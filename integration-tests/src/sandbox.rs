//! One `cooper` on one state folder, thrown away at the end.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// A state folder of its own with `cooper` to run on it.
pub struct Sandbox {
    folder: tempfile::TempDir,
}

/// How a finished run of a program went.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit code; 128 + n for signal n.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error, where progress goes.
    pub stderr: String,
}

impl Sandbox {
    /// A new, empty state folder.
    ///
    /// # Errors
    /// When the temporary folder cannot be made.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("cooper-test-")
            .tempdir_in("/var/tmp")?;
        Ok(Self { folder })
    }

    /// A state folder that knows the image `busybox`.
    ///
    /// # Errors
    /// When the base cannot be made or imported.
    pub fn with_busybox() -> Result<Self> {
        let sandbox = Self::new()?;
        let base = base_busybox()?;
        sandbox.succeed(["image", "import", path(&base), "busybox"])?;
        Ok(sandbox)
    }

    /// A scratch path in the sandbox, beside the state.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// `cooper` with this state, not started yet.
    #[must_use]
    pub fn cooper<I, S>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(binary("cooper"));
        command
            .args(arguments)
            .env("COOPER_STATE", self.state())
            .env("HOME", self.folder.path())
            .env_remove("BUILDKIT_HOST")
            .env_remove("COOPER_HOST")
            .stdin(Stdio::null());
        command
    }

    /// Runs `cooper` to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run<I, S>(&self, arguments: I) -> Result<Finished>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        finish(self.cooper(arguments).output().context("starting cooper")?)
    }

    /// Runs `cooper`, which must succeed.
    ///
    /// # Errors
    /// When it fails, with all that it printed.
    pub fn succeed<I, S>(&self, arguments: I) -> Result<Finished>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let command = self.cooper(arguments);
        succeed(command)
    }

    /// Mount points and processes that belong to this state folder; empty when nothing was left behind.
    ///
    /// # Errors
    /// When the tables of the machine cannot be read.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let state = self.folder.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mut found: Vec<String> = mounts
            .lines()
            .filter(|line| line.contains(&state))
            .map(str::to_owned)
            .collect();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let Ok(mounts) = fs::read_to_string(format!("/proc/{id}/mountinfo")) else {
                continue;
            };
            let own = fs::read_link("/proc/self/ns/mnt").ok()
                == fs::read_link(format!("/proc/{id}/ns/mnt")).ok();
            if !own && mounts.contains(&state) {
                let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
                found.push(format!(
                    "process {id}: {}",
                    String::from_utf8_lossy(&line).replace('\0', " ")
                ));
            }
        }
        Ok(found)
    }
}

/// A path as the text that command lines take.
#[must_use]
pub fn path(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package has a parent")
        .to_path_buf()
}

/// A program that this workspace builds.
///
/// # Panics
/// When it has not been built; `cargo test --workspace` builds it.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let running = std::env::current_exe().expect("a running program has a path");
    // Tests lie in target/<profile>/deps, programs one above.
    let places = running.ancestors().skip(1).take(2);
    let mut programs = places.map(|folder| folder.join(name));
    let program = programs
        .find(|program| program.is_file())
        .unwrap_or_else(|| running.with_file_name(name));
    assert!(
        program.exists(),
        "{} is missing: run `cargo build -p cooper` first",
        program.display()
    );
    program
}

/// A tar with the busybox root file system, made once a machine.
///
/// # Errors
/// When the script fails.
pub fn base_busybox() -> Result<PathBuf> {
    made_once("busybox.tar", "scripts/base-busybox")
}

/// A tar with a Debian root file system, made once a machine from packages of the network's registry.
///
/// # Errors
/// When the script fails.
pub fn base_debian() -> Result<PathBuf> {
    made_once("debian.tar", "scripts/base-debian")
}

/// Keeps what a script prints, in the target folder. Tests run at once: whoever finishes first wins.
fn made_once(name: &str, script: &str) -> Result<PathBuf> {
    let folder = binary("cooper")
        .parent()
        .context("a program has a folder")?
        .join("test-bases");
    fs::create_dir_all(&folder)?;
    let made = folder.join(name);
    let lock = fs::File::create(folder.join(format!("{name}.lock")))?;
    lock.lock()?;
    if !made.exists() {
        let partial = folder.join(format!("{name}.{}", std::process::id()));
        let status = Command::new(repository().join(script))
            .stdout(fs::File::create(&partial)?)
            .status()?;
        ensure!(status.success(), "{script} failed: {status}");
        fs::rename(&partial, &made)?;
    }
    Ok(made)
}

/// Runs a program, which must succeed.
///
/// # Errors
/// When it fails, with all that it printed.
pub fn succeed(mut command: Command) -> Result<Finished> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    let finished = finish(output)?;
    if finished.code != 0 {
        bail!(
            "{command:?}\nexit code {}\n{}\n{}",
            finished.code,
            finished.stdout,
            finished.stderr
        );
    }
    Ok(finished)
}

/// A finished program's output as text.
///
/// # Errors
/// Never today; kept fallible for callers' `?`.
pub fn finish(output: Output) -> Result<Finished> {
    use std::os::unix::process::ExitStatusExt;
    let code = output
        .status
        .code()
        .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    Ok(Finished {
        code,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
