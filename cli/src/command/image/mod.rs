//! `cooper image`: the images that have names on this machine.

mod flags;
mod request;
mod run;
mod table;
mod text;

pub use flags::{ImageCommand, ImageFlags};
pub use request::{ImageRequest, answer};
pub use run::run;
