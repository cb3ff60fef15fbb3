//! The engine as both programs run it, and the daemon that keeps it running.

mod address;
mod debug;
mod desk;
mod file;
mod flags;
mod garbage;
mod image_socket;
mod listener;
mod options;
mod provenance;
mod rest;
mod run;
mod secure;
mod settings;
mod stores;
mod wire;

pub use address::Address;
pub(crate) use desk::Desk;
pub use flags::{DaemonFlags, UnbuiltFlags};
pub(crate) use image_socket::{ask_for_images, image_socket, serve_images};
pub use options::{DaemonOptions, OptionsError};
pub use run::{options, run};
pub use secure::TlsFiles;
pub use settings::EngineSettings;
pub use stores::ImageStores;
pub use wire::{Assembled, assemble};
