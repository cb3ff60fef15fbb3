//! Engines as commands see them: one in this process, or one that another process serves.

mod open;
mod place;

mod build;
mod host;
mod joined;
mod question;
mod shared;
mod solve;

mod address;
mod endpoint;
mod program;

pub use address::{AddressError, DaemonAddress};
pub use build::{BuildRequest, Started, Subject};
pub use endpoint::{ClientTlsFiles, Endpoint};
pub use host::Host;
pub(crate) use host::listen;
pub use joined::Joined;
pub use open::Client;
pub use place::{Place, PlaceFlags};
pub use program::Program;
pub use shared::SharedSession;
