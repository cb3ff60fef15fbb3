use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use crate::config::Environment;

/// Replaces this process by a program, or by the user's shell where none is named. Returns only what went wrong.
#[must_use]
pub(super) fn become_program(program: &[OsString], environment: &Environment) -> anyhow::Error {
    let shell = environment.variable("SHELL").unwrap_or("/bin/sh");
    let (name, arguments) = match program.split_first() {
        Some((name, arguments)) => (name.clone(), arguments),
        None => (shell.into(), &[][..]),
    };
    let error = std::process::Command::new(&name).args(arguments).exec();
    anyhow::Error::new(error).context(format!("running {}", name.display()))
}
