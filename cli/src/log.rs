//! Diagnostics of the programs themselves.

use tracing_subscriber::EnvFilter;

use crate::config::Environment;

/// Writes diagnostics to standard error: what COOPER_LOG asks for, or everything from `level` on.
pub fn to_standard_error(environment: &Environment, level: &str) {
    let directives = environment.variable("COOPER_LOG").unwrap_or(level);
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// Writes a daemon's diagnostics to standard error, as lines of text or of JSON.
pub fn of_daemon(environment: &Environment, level: &str, json: bool) {
    if !json {
        return to_standard_error(environment, level);
    }
    let directives = environment.variable("COOPER_LOG").unwrap_or(level);
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
