//! Instructions to ops and image config: what each instruction does (features.md A3) and how history tells it.

mod arg;
mod chmod;
mod config;
mod copy;
mod finish;
mod mounts;
mod name;
mod ports;
mod run;
mod scan;
mod signal;
mod stage;
mod system;
mod time;
mod words;
mod workdir;

pub(crate) use copy::file_name;
pub(crate) use scan::Shown;
pub(crate) use time::rfc3339;
