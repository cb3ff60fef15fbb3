use std::path::PathBuf;

/// Why a step cannot be connected.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A file or folder that the settings name.
    #[error("failed to read {what} {path:?}: {error}")]
    Settings {
        /// What it is.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The configuration of the plugins.
    #[error("CNI configuration {path}: {reason}")]
    Config {
        /// Where it is.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A plugin said no.
    #[error("CNI setup error: plugin type={plugin:?} failed ({command}): {reason}")]
    Plugin {
        /// The plugin.
        plugin: String,
        /// What it was told.
        command: &'static str,
        /// What it said.
        reason: String,
    },
    /// A namespace, or our note of it.
    #[error("network namespace: {0}")]
    Namespace(#[from] std::io::Error),
}
