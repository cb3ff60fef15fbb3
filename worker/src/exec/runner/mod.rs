//! What happens in the helper process: everything here runs with one thread and may block.

mod child;
mod device_guard;
mod devices;
mod filesystem;
mod helper;
mod mounts;
mod other;
mod privileges;
mod streams;
mod target;

pub use helper::runner_main_if_asked;
pub(super) use privileges::capabilities_of_this_process;
