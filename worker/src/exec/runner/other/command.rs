use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::exec::protocol::{LaunchInput, OtherLaunch, SetupFailure};

/// The folder in the bundle where the runtime keeps what it knows.
const STATE: &str = "state";

/// One call of the runtime, which says what went wrong in a log of its own.
pub(super) struct Call<'a> {
    pub(super) other: &'a OtherLaunch,
    /// Tells the files of this call from those of others in the bundle.
    pub(super) tag: String,
}

impl Call<'_> {
    /// The name of a file of this call.
    pub(super) fn file(&self, name: &str) -> String {
        format!("{name}-{}", self.tag)
    }

    /// Runs the runtime to its end. A program that it starts has our outputs, and this input.
    pub(super) fn run(
        &self,
        arguments: &[&str],
        input: LaunchInput,
        fds: &[OwnedFd],
    ) -> Result<(), SetupFailure> {
        let verb = arguments.first().copied().unwrap_or_default();
        let fail = |error: std::io::Error| SetupFailure::machine(format!("runc {verb}"), error);
        let stdin = match input {
            LaunchInput::Pipe(index) => Stdio::from(fds[index].try_clone().map_err(fail)?),
            LaunchInput::Nothing | LaunchInput::Terminal(_) => Stdio::null(),
        };
        let log = self.file("log");
        let status = Command::new(&self.other.program)
            .args(["--root", STATE, "--log", &log, "--log-format", "json"])
            .args(arguments)
            .env_clear()
            .stdin(stdin)
            .status()
            .map_err(fail)?;
        if status.success() {
            return Ok(());
        }
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        Err(failure(verb, &log, &status.to_string()))
    }
}

/// A line of the runtime's log.
#[derive(Deserialize)]
struct Line {
    level: String,
    msg: String,
}

/// What the runtime's last word says, and whose fault it is.
fn failure(verb: &str, log: &str, status: &str) -> SetupFailure {
    let mut lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let error = lines.rfind(|line| line.level == "error");
    let Some(Line { msg, .. }) = error else {
        return SetupFailure::machine(format!("runc {verb}"), status);
    };
    let mut words = msg.as_str();
    for prefix in [
        "runc create failed: ",
        "runc start failed: ",
        "exec failed: ",
        "unable to start container process: ",
        "error during container init: ",
    ] {
        words = words.strip_prefix(prefix).unwrap_or(words);
    }
    if let Some((name, why)) = words
        .strip_prefix("exec: ")
        .and_then(|words| words.split_once(": "))
    {
        return SetupFailure::request(format!("exec {name}"), why);
    }
    if let Some((what, why)) = words
        .strip_prefix("chdir to cwd (")
        .and_then(|words| words.split_once(") set in config.json failed: "))
    {
        let directory = what.trim_matches('"');
        return SetupFailure::request(format!("enter the working directory {directory}"), why);
    }
    let asked_for = [
        "sethostname",
        "error setting rlimit",
        "exec /",
        "invalid argument",
    ];
    match asked_for.iter().any(|part| words.contains(part)) {
        true => SetupFailure::request(format!("runc {verb}"), words),
        false => SetupFailure::machine(format!("runc {verb}"), words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::protocol::FailureCause;

    #[test]
    fn the_runtime_s_words_are_told_as_our_own_runner_s() {
        let log = concat!(
            r#"{"level":"warning","msg":"lstat x: no such file","time":"t"}"#,
            "\nnoise\n",
            r#"{"level":"error","msg":"runc create failed: unable to start container process: exec: \"no\": executable file not found in $PATH","time":"t"}"#,
        );
        let told = failure("create", log, "exit status: 1");
        assert_eq!(
            told.to_string(),
            "exec \"no\": executable file not found in $PATH"
        );
        assert_eq!(told.cause, FailureCause::Request);
        let silent = failure("create", "", "exit status: 1");
        assert_eq!(silent.to_string(), "runc create: exit status: 1");
        assert_eq!(silent.cause, FailureCause::Machine);
    }
}
