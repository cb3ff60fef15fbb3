//! The client's side of a build: its folders, secrets, credentials and the places where results go.

mod content;
mod content_service;
mod credentials;
mod file_send;
mod packets;
mod services;
mod session;
mod sink;
mod ssh;
mod ssh_service;
mod tunnel;

pub use credentials::DockerCredentials;
pub use session::{ClientSession, SessionParts};
pub use tunnel::RemoteAttachment;
