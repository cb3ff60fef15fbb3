//! `cooper image`: the images that have names on this machine.

mod flags;
mod remote;
mod request;
mod run;
mod text;

pub use flags::{ImageCommand, ImageFlags};
pub(crate) use request::import_archive;
pub use request::{ImageRequest, answer};
pub use run::run;
