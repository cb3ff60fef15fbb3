//! Devices that the machine's owner describes in files and steps may be given (Container Device Interface 1.0).

mod edits;
mod registry;
mod spec;
mod yaml;

pub use edits::DeviceEdits;
pub use registry::{CdiSettings, DeviceError, Devices};
