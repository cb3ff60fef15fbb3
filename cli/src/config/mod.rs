//! What the programs read of the world, once: environment, terminal, state folder, time.

mod clock;
mod environment;
mod state;

pub use clock::now_ns;
pub use environment::Environment;
pub use state::{StateLock, socket_path, state_folder};
