//! The engine as both programs run it, and the daemon that keeps it running.

mod file;
mod flags;
mod options;
mod run;
mod settings;
mod stores;
mod wire;

pub use flags::{DaemonFlags, UnbuiltFlags};
pub use options::{DaemonOptions, OptionsError};
pub use run::{options, run};
pub use settings::EngineSettings;
pub use stores::ImageStores;
pub use wire::assemble;
