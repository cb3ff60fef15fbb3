//! The engine as both programs run it.

mod settings;
mod wire;

pub use settings::EngineSettings;
pub use wire::assemble;
