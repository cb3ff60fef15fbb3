//! Sends a build's result where the client wants it: every exporter of a request, each shown as a vertex.

mod cache;
mod platforms;
mod run;

pub(crate) use cache::{CacheExports, Gathered, gather};
pub(crate) use run::{Export, Exported, Results, run_all, tell_of_platforms};
