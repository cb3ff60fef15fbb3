//! Runs builds: asks frontends, drives the scheduler, performs its instructions on a worker, follows progress, exports
//! results, and serves all of it over BuildKit's protocol.
//!
//! What it does not do: decide what happens next (that is [`cooper_core::scheduler`]), touch a container, a file system
//! or a registry (those are behind [`cooper_core::ports`]), or read a clock or the environment (they are given).
//!
//! * [`Engine`]: made of [`EngineParts`]; solves [`job::SolveSpec`]s.
//! * [`session::SessionRegistry`]: where clients attach.
//! * [`progress`], [`history`]: what happens and what happened; [`explain`]: why.

mod engine;

pub mod explain;
pub mod history;
pub mod job;
pub mod progress;
pub mod server;
pub mod session;

mod attest;
mod bridge;
mod clock;
mod driver;
mod export;
mod frontend_image;
mod garbage;
mod limits;
mod vitals;

pub use attest::ProvenanceEnvironment;
pub use clock::Clock;
pub use engine::{Engine, EngineParts};
pub use frontend_image::FrontendImages;
pub use limits::Limits;
pub use vitals::Vitals;
