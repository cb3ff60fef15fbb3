use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// What a command is run in.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Variables. Those whose name or value is not text are left out.
    pub variables: BTreeMap<String, String>,
    /// Folder that relative paths start from.
    pub here: PathBuf,
    /// Whether the user is root, and may write where a root of the machine keeps things.
    pub is_root: bool,
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub stderr_is_terminal: bool,
}

impl Environment {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// When the current folder is gone.
    pub fn read() -> io::Result<Self> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Self {
            variables,
            here: std::env::current_dir()?,
            // A root of a user namespace may be a plain user on the machine.
            is_root: rustix::process::geteuid().is_root()
                && rustix::fs::access("/var/lib", rustix::fs::Access::WRITE_OK).is_ok(),
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
        })
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Where a program is found by PATH.
    #[must_use]
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        self.variable("PATH")?
            .split(':')
            .filter(|folder| !folder.is_empty())
            .map(|folder| Path::new(folder).join(name))
            .find(|path| path.is_file())
    }

    /// Whether lines may be coloured (see no-color.org).
    #[must_use]
    pub fn colours(&self) -> bool {
        self.variable("NO_COLOR").is_none() && self.variable("TERM") != Some("dumb")
    }
}
