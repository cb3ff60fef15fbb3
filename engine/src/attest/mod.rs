//! Statements about a build's results: where they came from and what is in them.
//!
//! What frontends ask for is noted while they ask ([`scope`], [`requests`]); once there are results, [`capture`] finds
//! what each stands on, and [`provenance`] tells it in the form that was asked for. [`scan`] has a program look into the
//! results.

mod attested;

mod requests;
mod scope;

mod capture;
mod git_address;
mod parameters;
mod sources;

mod layers;
mod predicate;
mod provenance;
mod steps;

mod custom;
mod scan;

pub(crate) use attested::{Asked, Attested, attest};
pub use custom::ProvenanceEnvironment;
pub(crate) use requests::Requests;
pub(crate) use scope::{Request, Scope};
