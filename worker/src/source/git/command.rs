use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::Events;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;

use super::lines::tell;
use super::reference::is_object_id;
use crate::sys::with_plain_umask;

/// The most that git may answer with, in bytes: a commit or tag, or the references of one name.
const ANSWER: u64 = 16 << 20;

/// Settings that hold for each run, besides those of the machine, which are not read.
const CONFIG: [(&str, &str); 12] = [
    // No helper but these; a submodule may not be a path of this machine (T-C16).
    ("protocol.allow", "never"),
    ("protocol.http.allow", "always"),
    ("protocol.https.allow", "always"),
    ("protocol.ssh.allow", "always"),
    ("protocol.git.allow", "always"),
    ("protocol.file.allow", "user"),
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    // Objects that no reference of ours leads to are wanted.
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("init.defaultBranch", "master"),
    ("advice.detachedHead", "false"),
];

/// Runs git: the one place that decides its environment (security.md I10).
#[derive(Clone)]
pub(super) struct Git {
    program: PathBuf,
    environment: BTreeMap<&'static str, OsString>,
    config: Vec<(String, String)>,
    git_dir: Option<PathBuf>,
    work_tree: Option<PathBuf>,
    events: Events,
}

/// Why git did not do as it was told.
#[derive(Debug)]
pub(super) enum GitError {
    /// It could not be started or read from.
    Program(std::io::Error),
    /// It ended with this status and these words.
    Ended(std::process::ExitStatus, String),
    /// It said more than we take.
    TooMuch,
}

impl GitError {
    /// What git said.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Ended(_, words) => words,
            Self::Program(_) | Self::TooMuch => "",
        }
    }

    /// The failure of what was tried, in BuildKit's form.
    pub(super) fn failing(&self, what: &str) -> Failure {
        match self {
            Self::Program(error) if error.kind() == std::io::ErrorKind::NotFound => Failure::new(
                FailureKind::Infrastructure,
                format!("{what}: there is no git"),
            )
            .with_hint("install the program git on the machine that builds"),
            Self::Program(error) => {
                Failure::new(FailureKind::Infrastructure, format!("{what}: git: {error}"))
            }
            Self::Ended(status, words) => {
                let words = words.trim_end();
                let status = status.to_string().replace("exit status: ", "exit status ");
                let told = format!("{what}: git stderr:\n{words}\n: {status}");
                Failure::new(FailureKind::InvalidInput, told)
            }
            Self::TooMuch => Failure::new(
                FailureKind::InvalidInput,
                format!("{what}: git answered with more than {ANSWER} bytes"),
            ),
        }
    }
}

impl Git {
    /// A git that has no repository yet and knows nothing of this machine but where programs are.
    pub(super) fn new(
        program: &Path,
        surroundings: &BTreeMap<&'static str, OsString>,
        events: Events,
    ) -> Self {
        let mut environment = surroundings.clone();
        for (name, value) in [
            ("HOME", "/dev/null"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            // A question for a password is answered with nothing.
            ("GIT_ASKPASS", "true"),
            ("SSH_ASKPASS", "true"),
            ("GIT_ATTR_NOSYSTEM", "1"),
        ] {
            environment.insert(name, value.into());
        }
        let config = CONFIG.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            program: program.to_owned(),
            environment,
            config: config.to_vec(),
            git_dir: None,
            work_tree: None,
            events,
        }
    }

    /// The same in a repository.
    pub(super) fn in_repository(&self, git_dir: &Path) -> Self {
        let mut git = self.clone();
        git.git_dir = Some(git_dir.to_owned());
        git
    }

    /// The same with a folder for files.
    pub(super) fn with_tree(&self, tree: &Path) -> Self {
        let mut git = self.clone();
        git.work_tree = Some(tree.to_owned());
        git
    }

    /// The same with one more setting, which is seen by nobody but git.
    pub(super) fn with_config(mut self, key: String, value: String) -> Self {
        self.config.push((key, value));
        self
    }

    /// The same with one more variable.
    pub(super) fn with_variable(mut self, name: &'static str, value: OsString) -> Self {
        self.environment.insert(name, value);
        self
    }

    /// Runs a command. What is not ours stands behind a `--` or was checked.
    ///
    /// # Cancel
    /// Dropping the future kills git and what it started.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        let mut arguments = arguments.to_vec();
        loop {
            let ended = self.once(&arguments).await;
            let Err(GitError::Ended(_, words)) = &ended else {
                return ended;
            };
            // Servers that know nothing of shallow fetching are asked for everything.
            let shallow = words.contains("--depth") || words.contains("shallow");
            let depth = arguments.iter().position(|it| *it == "--depth=1");
            match depth {
                Some(at) if shallow => drop(arguments.remove(at)),
                _ => return ended,
            }
        }
    }

    /// The answer as text on one line.
    pub(super) async fn line(&self, arguments: &[&str]) -> Result<String, GitError> {
        let answer = self.run(arguments).await?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    /// Whether an object is there and is, or leads to, a commit.
    pub(super) async fn has_commit(&self, id: &str) -> bool {
        debug_assert!(is_object_id(id));
        let commit = format!("{id}^{{commit}}");
        // Git says nothing but yes or no here, so that the log does not show it.
        let mut quiet = self.clone();
        quiet.events = std::sync::Arc::new(Unheard);
        quiet.run(&["cat-file", "-e", &commit]).await.is_ok()
    }

    async fn once(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        let mut command = std::process::Command::new(&self.program);
        command.env_clear().envs(&self.environment);
        // By the environment, not by arguments, which everybody on the machine sees.
        command.env("GIT_CONFIG_COUNT", self.config.len().to_string());
        for (at, (key, value)) in self.config.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        if let Some(tree) = &self.work_tree {
            command.arg("--work-tree").arg(tree).current_dir(tree);
        }
        if let Some(git_dir) = &self.git_dir {
            command.arg("--git-dir").arg(git_dir);
        }
        command.args(arguments).process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        with_plain_umask(&mut command);
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(GitError::Program)?;
        let mut group = Group(child.id());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err(GitError::Program(std::io::Error::other("no pipes")));
        };
        let mut answer = Vec::new();
        let mut bounded = stdout.take(ANSWER + 1);
        let (read, words) = tokio::join!(
            async {
                let read = bounded.read_to_end(&mut answer).await;
                // Not read any further, git ends when it writes more.
                drop(bounded);
                read
            },
            tell(stderr, &self.events)
        );
        read.map_err(GitError::Program)?;
        let status = child.wait().await.map_err(GitError::Program)?;
        group.0 = None;
        if answer.len() as u64 > ANSWER {
            return Err(GitError::TooMuch);
        }
        match status.success() {
            true => Ok(answer),
            false => Err(GitError::Ended(status, words)),
        }
    }
}

/// Kills what git started, unless git has ended by itself.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // It may be gone, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

struct Unheard;

impl cooper_core::ports::EventSink for Unheard {
    fn emit(&self, _: cooper_core::model::OpEvent) {}
}
