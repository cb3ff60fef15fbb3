//! A place where commands run, with folders of its own: an engine in the program, or a daemon beside it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A stage that has busybox's programs. Its files come from the named context `host`.
pub(crate) const BASE: &str = "\
FROM scratch AS base
COPY --from=host busybox /bin/busybox
RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]
FROM base
";

/// Folders, and the engine that commands use.
pub(crate) struct Bench {
    folder: TempDir,
    place: Vec<String>,
    daemon: Option<Child>,
}

impl Bench {
    /// Commands start an engine of their own.
    pub(crate) fn embedded() -> Self {
        let mut bench = Self::without_place();
        bench.place = vec!["--state".into(), bench.text("state")];
        bench
    }

    /// Commands use a daemon, which ends with this.
    pub(crate) fn daemon() -> Self {
        let mut bench = Self::without_place();
        let address = format!("unix://{}", bench.text("cooperd.sock"));
        bench.start_daemon(&["--addr", &address]);
        bench.reach(&address, &[]);
        bench
    }

    /// Each kind of place, where commands must do the same.
    pub(crate) fn both() -> [Self; 2] {
        [Self::embedded(), Self::daemon()]
    }

    /// Folders alone.
    pub(crate) fn without_place() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("context")).unwrap();
        Self {
            folder,
            place: Vec::new(),
            daemon: None,
        }
    }

    /// Starts a daemon on a folder of ours.
    pub(crate) fn start_daemon(&mut self, arguments: &[&str]) {
        let daemon = Command::new(env!("CARGO_BIN_EXE_cooperd"))
            .arg("--root")
            .arg(self.path("state"))
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::from(
                fs::File::create(self.path("cooperd.log")).unwrap(),
            ))
            .spawn();
        self.daemon = Some(daemon.unwrap());
    }

    /// Has commands use this address.
    pub(crate) fn reach(&mut self, address: &str, more: &[&str]) {
        self.place = ["--wait", "--timeout=60", "--addr", address]
            .iter()
            .chain(more)
            .map(|text| (*text).to_owned())
            .collect();
    }

    /// A path beside the context.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A path in the context, where commands run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("context").join(name)
    }

    /// Writes a file of the context.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Reads a file of the context.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    /// Writes a Dockerfile that goes on from the base stage.
    pub(crate) fn dockerfile(&self, text: &str) {
        self.write("Dockerfile", &format!("{BASE}{text}"));
    }

    /// A command in the context.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
        command
            .args(&self.place)
            .args(arguments)
            .current_dir(self.file(""))
            .stdin(Stdio::null());
        for name in [
            "COOPER_STATE",
            "COOPER_HOST",
            "BUILDKIT_HOST",
            "SOURCE_DATE_EPOCH",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// `cooper build` of what [`BASE`] goes on to.
    pub(crate) fn build(&self, arguments: &[&str]) -> Command {
        let host = [
            "build",
            "--progress=plain",
            "--build-context",
            "host=/usr/bin",
        ];
        self.command(&[&host, arguments].concat())
    }

    /// Kills the daemon, which has no time to say anything.
    pub(crate) fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// What the daemon said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("cooperd.log")).unwrap_or_default()
    }

    /// Runs a command that must succeed, and gives its standard output.
    #[track_caller]
    pub(crate) fn succeed(&self, mut command: Command) -> String {
        let output = command.output().unwrap();
        let said = stderr(&output);
        assert!(
            output.status.success(),
            "{command:?}\n{said}\n{}",
            self.log()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with this code, and gives what it said.
    #[track_caller]
    pub(crate) fn fail(&self, mut command: Command, code: i32) -> String {
        let output = command.output().unwrap();
        let said = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{command:?}\n{said}\n{}",
            self.log()
        );
        said
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            signal(daemon, rustix::process::Signal::TERM);
            daemon.wait().unwrap();
        }
    }
}

/// What a command said on standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reads standard error until a line says this.
pub(crate) fn lines_until(child: &mut Child, wanted: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut reader = BufReader::new(child.stderr.as_mut().unwrap());
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "{lines:?}");
        let found = line.contains(wanted);
        lines.push(line);
        if found {
            return lines;
        }
    }
}

/// Sends a signal.
pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_child(child);
    // One that has ended needs none.
    let _ = rustix::process::kill_process(id, signal);
}

/// Runs a command that reads these bytes.
pub(crate) fn with_input(mut command: Command, bytes: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap()
}

/// The names in an archive.
pub(crate) fn names_in(archive: &Path) -> Vec<String> {
    let file = fs::File::open(archive).unwrap();
    let mut archive = tar::Archive::new(file);
    let entries = archive.entries().unwrap();
    let name = |entry: std::io::Result<tar::Entry<'_, fs::File>>| {
        entry.unwrap().path().unwrap().to_str().unwrap().to_owned()
    };
    entries.map(name).collect()
}
