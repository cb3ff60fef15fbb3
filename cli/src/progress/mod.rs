//! What users see of a build: state that news change, and pure functions from the state to text.
//!
//! Time is an argument everywhere, so that tests show what a terminal would show at a given moment.

mod duration;
mod error;
mod plain;
mod rawjson;
mod screen;
mod state;
mod summary;
mod tty;
mod view;
mod warnings;

pub use duration::bytes;
pub use error::{failure_text, step_log};
pub use plain::Plain;
pub use rawjson::status_line;
pub use screen::Screen;
pub use state::{Change, LogLine, PartState, Progress, VertexState};
pub use summary::{LayerLine, summary};
pub use tty::{Frame, FrameLine, Paint, Size, Stage, frame};
pub use view::View;
pub use warnings::warnings_text;

#[cfg(test)]
mod tests;
