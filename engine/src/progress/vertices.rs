use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use cooper_core::cachekey::MissReason;
use cooper_proto::{Digest, control};
use indexmap::IndexMap;

use super::log::VertexHead;
use super::summary::VertexSummary;
use super::wire;
use crate::explain::Evidence;

/// A log's file and what the log says of each vertex.
#[derive(Debug)]
pub(super) struct State {
    pub(super) file: File,
    pub(super) length: u64,
    pub(super) vertices: IndexMap<Digest, Known>,
    pub(super) statuses: BTreeMap<(Digest, String), u64>,
    pub(super) warnings: u64,
    /// Why the log is not whole, once writing has failed.
    pub(super) broken: Option<String>,
}

/// What is known of a vertex.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) head: VertexHead,
    pub(super) started_ns: Option<u64>,
    pub(super) completed_ns: Option<u64>,
    pub(super) cached: bool,
    pub(super) error: Option<String>,
    pub(super) miss: Option<MissReason>,
    pub(super) restarts: u32,
    /// Where in the log the vertex is first mentioned.
    pub(super) first_byte: u64,
    pub(super) shared: Sharing,
}

/// Where a build's log gets a vertex's inner events from, when another build was there first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// From nowhere yet.
    Apart,
    /// Copied from the other build's log up to this byte.
    Copied(u64),
    /// Straight from the tasks that work on it.
    Joined,
}

impl State {
    pub(super) fn meet(&mut self, head: VertexHead) -> &mut Known {
        let first_byte = self.length;
        self.vertices
            .entry(head.digest.clone())
            .or_insert_with(|| Known {
                head,
                started_ns: None,
                completed_ns: None,
                cached: false,
                error: None,
                miss: None,
                restarts: 0,
                first_byte,
                shared: Sharing::Apart,
            })
    }

    /// A build goes on without its log, and its summary says so.
    pub(super) fn break_off(&mut self, error: &io::Error) {
        let words = error.to_string();
        tracing::error!(%error, "a progress log could not be written; the rest of it is lost");
        self.broken.get_or_insert(words);
    }
}

impl Known {
    pub(super) fn to_wire(&self) -> control::Vertex {
        control::Vertex {
            digest: self.head.digest.to_string(),
            inputs: self.head.inputs.iter().map(ToString::to_string).collect(),
            name: self.head.name.clone(),
            cached: self.cached,
            started: self.started_ns.map(wire::timestamp),
            completed: self.completed_ns.map(wire::timestamp),
            error: self.error.clone().unwrap_or_default(),
            progress_group: self.head.group.clone(),
        }
    }

    pub(super) fn to_summary(&self, evidence: Evidence) -> VertexSummary {
        VertexSummary {
            digest: self.head.digest.clone(),
            name: self.head.name.clone(),
            started_ns: self.started_ns,
            completed_ns: self.completed_ns,
            cached: self.cached,
            error: self.error.clone(),
            miss: self.miss.clone(),
            restarts: self.restarts,
            evidence,
        }
    }
}
