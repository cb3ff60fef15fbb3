//! What the worker knows about its layers, results and images, kept in one crash-safe file.
//!
//! A [`Meta`] is a redb database with one writer thread. Changes are closures over a write
//! transaction; the thread runs all that have gathered in one transaction and makes them
//! durable with one sync (group commit), so that many small acknowledged changes at once cost
//! little more than one. When a write has returned, kill -9 and power loss keep it.
//!
//! Records carry a version byte; domain types are not what is stored.
//!
//! [`Pins`] are in memory only: they say which results a running build still needs.

mod database;
mod documents;
mod error;
mod id;
mod images;
mod layers;
mod pins;
mod record;
mod results;
mod store;
mod sums;

pub use error::MetaError;
pub use id::{LayerId, chain_result_id};
pub use images::ImageEntry;
pub use layers::{LayerBlob, LayerForm, LayerInfo, LayerOrigin};
pub use pins::{Pin, Pins};
pub(crate) use record::Record;
pub use results::{ResultInfo, ResultUse};
pub use store::{Meta, Tables};
