//! Diagnostics of the programs themselves.

use tracing_subscriber::EnvFilter;

use crate::config::Environment;

/// Writes a command's diagnostics to standard error, as short lines: what COOPER_LOG asks for, or everything from
/// `level` on.
pub fn of_command(environment: &Environment, level: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(filter(environment, level))
        .with_writer(std::io::stderr)
        .with_ansi(environment.stderr_is_terminal && environment.colours())
        .with_target(false)
        .without_time()
        .init();
}

/// Writes a daemon's diagnostics to standard error, as lines of text or of JSON.
pub fn of_daemon(environment: &Environment, level: &str, json: bool) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(environment, level))
        .with_writer(std::io::stderr)
        .with_ansi(environment.stderr_is_terminal && environment.colours());
    if json {
        lines.json().init();
    } else {
        lines.init();
    }
}

fn filter(environment: &Environment, level: &str) -> EnvFilter {
    let directives = environment.variable("COOPER_LOG").unwrap_or(level);
    EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new(level))
}
