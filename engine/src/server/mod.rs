//! BuildKit's protocol over an engine: who speaks it drives Cooper unchanged.
//!
//! A handler is dropped when its client goes away. What must outlive that (a build's cleanup, a session) is a task of
//! the engine; the handler holds only the end of it that cancels.

mod authority;
mod connections;
mod greeting;
mod serve;
mod watched;

mod content;
mod control;
mod gateway;

mod decode;
mod history_event;
mod remote_session;
mod status;
mod trace;
mod tunnel;
mod usage;

pub use connections::{Connection, Connections, connections, unix_connections};
pub(crate) use control::{DOCKERFILE_VERSION, worker_info_json};
pub use decode::solve as solve_spec;
pub(crate) use serve::frontend_service;
pub use serve::{serve, serve_with};
pub use status::{failure_from_rpc, failure_from_status, status_from_failure};
