//! Keys that follow from definitions: of the op, or of what a worker resolves a source to.

use std::sync::Arc;

use cooper_proto::{Digest, pb};

use super::Work;
use super::bug::{Bug, Step};
use super::machine::{Purpose, Scheduler};
use super::node::{Asking, EdgeId, Key, NodeId};
use super::state::Stage;
use crate::cachekey::{MissReason, cache_map, is_of_session, source_cache_map};
use crate::model::{CacheKeyId, Failure, FailureKind, Pin, TaskId};
use crate::ports::SourceKey;

impl Scheduler {
    /// Goes on from fast keys of the inputs: asks the store for the next of the node's cache maps.
    pub(super) fn look_fast(&mut self, edge: EdgeId) -> Step<bool> {
        let next = self.output(edge)?.next_map;
        if !self.has_map(edge.node, next)? {
            return Ok(false);
        }
        let node = self.node(edge.node)?;
        if next >= node.maps.len() {
            // A source has told all its keys.
            return self.settle_keys(edge);
        }
        if node.of_session {
            let id = key_of_session(&node.maps[next].digest, edge.output);
            let output = self.output_mut(edge)?;
            output.keys = vec![Key {
                id,
                lasting: false,
                imported: false,
            }];
            output.miss = Some(MissReason::NeverMatches);
            return self.settle_keys(edge);
        }
        if node.vertex.ignore_cache {
            self.output_mut(edge)?.miss = Some(MissReason::IgnoreCache);
            return self.settle_keys(edge);
        }
        self.look(edge, Stage::Fast)
    }

    /// Whether a node's cache map is known, or known not to be; sets out to learn it if not.
    fn has_map(&mut self, id: NodeId, index: usize) -> Step<bool> {
        let node = self.node(id)?;
        if index < node.maps.len() {
            return Ok(true);
        }
        if !matches!(node.vertex.op.op, Some(pb::op::Op::Source(_))) {
            let map = cache_map(&node.vertex, &self.host);
            return match map {
                Ok(map) => {
                    self.node_mut(id)?.maps.push(map);
                    Ok(true)
                }
                Err(error) => {
                    self.fail(id, Failure::from(error))?;
                    Ok(false)
                }
            };
        }
        if node.mapping.is_some() {
            return Ok(false);
        }
        if node.maps.last().is_some_and(|map| !map.more) {
            return Ok(true);
        }
        let work = Work::SourceKey {
            vertex: Arc::clone(&node.vertex),
            index: u32::try_from(node.maps.len()).unwrap_or(u32::MAX),
            pin: node.pin.clone(),
        };
        let task = self.perform(Purpose::SourceKey(id), work)?;
        let asking = self.asking(id, task)?;
        self.node_mut(id)?.mapping = Some(asking);
        self.tell_started(id)?;
        Ok(false)
    }

    pub(super) fn asking(&self, id: NodeId, task: TaskId) -> Step<Asking> {
        Ok(Asking {
            task,
            stopping: false,
            began_for: self.node(id)?.jobs.keys().copied().collect(),
        })
    }

    /// Whether failed work should be done again: it was told to stop, or a job whose session it may have used has
    /// left, others remain, and the failure can be for want of that session.
    pub(super) fn is_worth_another_try(
        &self,
        id: NodeId,
        asking: &Asking,
        failure: &Failure,
    ) -> Step<bool> {
        let jobs = &self.node(id)?.jobs;
        let left = asking.began_for.iter().any(|job| !jobs.contains_key(job));
        let of_session = match failure.kind {
            FailureKind::NotFound
            | FailureKind::Denied
            | FailureKind::Cancelled
            | FailureKind::Infrastructure => true,
            FailureKind::InvalidInput
            | FailureKind::Exit { .. }
            | FailureKind::MissingPath
            | FailureKind::Unsupported
            | FailureKind::Internal => false,
        };
        Ok(asking.stopping || (left && of_session && !jobs.is_empty()))
    }

    pub(super) fn on_source_key(&mut self, id: NodeId, told: Result<SourceKey, Failure>) -> Step {
        let Some(asking) = self.node_mut(id)?.mapping.take() else {
            return Err(Bug::at(id, "a source's key came unasked"));
        };
        match told {
            Ok(SourceKey { key, pin, more }) => {
                let node = self.node_mut(id)?;
                node.of_session = is_of_session(&key);
                let Pin(known) = node.pin.get_or_insert_default();
                known.extend(pin.0.clone());
                node.maps.push(source_cache_map(&key, pin, more));
            }
            Err(failure) => {
                if !self.is_worth_another_try(id, &asking, &failure)? {
                    return self.fail(id, failure);
                }
            }
        }
        self.enqueue_all(id)
    }
}

/// A key for a source of one session. Sources of the same text in it are the same.
fn key_of_session(source: &Digest, output: u32) -> CacheKeyId {
    CacheKeyId(Digest::sha256_of(format!(
        "of one session: {source}@{output}"
    )))
}
