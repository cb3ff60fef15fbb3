//! LLB: a graph of operations under construction, and the definition it becomes (features.md B1).
//!
//! A [`Graph`] owns all vertices; a [`State`] is what a stage knows about the file system it is at. Vertices are written
//! down only at the end, because the build context's filter depends on every step; until then it is a placeholder.
//! The order of inputs, the fields that are set and the metadata are BuildKit's, so that equal steps get equal digests.

mod caps;
mod definition;
mod exec;
mod file;
mod graph;
mod source;
mod state;
mod vertex;

pub(crate) use definition::{begin_field, marshal};
pub(crate) use exec::{Exec, ExecMount, MountKind};
pub(crate) use file::{Action, CopySource, FileActions, owner, owner_by_id};
pub(crate) use graph::{Graph, Output};
pub(crate) use source::{GitSource, Local, git, http, image, local, oci_layout, source_again};
pub(crate) use state::State;
pub(crate) use vertex::{Notes, SourceMap};
