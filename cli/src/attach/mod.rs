//! The client's side of a build: its folders, secrets, credentials and the places where results go.

mod credentials;
mod session;
mod sink;

pub use credentials::DockerCredentials;
pub use session::{ClientSession, SessionParts};
