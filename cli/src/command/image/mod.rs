//! `cooper image`: the images that have names on this machine.

mod flags;
mod run;
mod table;
mod text;

pub use flags::{ImageCommand, ImageFlags};
pub use run::run;
