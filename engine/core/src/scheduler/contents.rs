//! Digests of inputs' contents.

use std::sync::Arc;

use cooper_proto::Digest;

use super::Work;
use super::bug::{Bug, Step};
use super::machine::{Purpose, Scheduler};
use super::node::{Content, EdgeId, NodeId};
use crate::model::{Failure, ResultId};

impl Scheduler {
    /// The inputs whose contents can be a key.
    pub(super) fn inputs_with_content(&self, id: NodeId) -> Step<Vec<usize>> {
        let maps = &self.node(id)?.maps;
        let rules = maps.first().map_or(&[][..], |map| &map.inputs);
        let with_content = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.content.is_some());
        Ok(with_content.map(|(input, _)| input).collect())
    }

    /// Whether digests of inputs' contents are known; has those made that are not.
    pub(super) fn contents_are_known(&mut self, id: NodeId, inputs: &[usize]) -> Step<bool> {
        if self.node(id)?.contents_asked > 0 {
            return Ok(false);
        }
        let mut known = true;
        for &input in inputs {
            if matches!(self.node(id)?.contents[input], Content::Unasked) {
                known = false;
                self.digest_content(id, input)?;
            }
        }
        Ok(known)
    }

    fn digest_content(&mut self, id: NodeId, input: usize) -> Step {
        let node = self.node(id)?;
        let rule = node.maps.first().and_then(|map| map.inputs.get(input));
        let selectors = rule.and_then(|rule| rule.content.clone());
        let selectors = selectors.ok_or_else(|| Bug::at(id, "an input has no content key"))?;
        let vertex = Arc::clone(&node.vertex);
        let result = self.result_of(node.inputs[input])?;
        self.pins.share(&result);
        let purpose = Purpose::Content(id, input, result.clone());
        let work = Work::ContentKey {
            vertex,
            input,
            result,
            selectors,
        };
        let task = self.perform(purpose, work)?;
        let asking = self.asking(id, task)?;
        let node = self.node_mut(id)?;
        node.contents[input] = Content::Asking(asking);
        node.contents_asked += 1;
        Ok(())
    }

    pub(super) fn result_of(&self, edge: EdgeId) -> Step<ResultId> {
        let result = self.output(edge)?.phase.result().cloned();
        result.ok_or_else(|| Bug::at(edge.node, "an input is used before it is built"))
    }

    pub(super) fn on_content(
        &mut self,
        id: NodeId,
        input: usize,
        digest: Result<Digest, Failure>,
    ) -> Step {
        let node = self.node_mut(id)?;
        node.contents_asked -= 1;
        let before = std::mem::replace(&mut node.contents[input], Content::Unasked);
        let Content::Asking(asking) = before else {
            return Err(Bug::at(id, "a content key came unasked"));
        };
        match digest {
            Ok(digest) => node.contents[input] = Content::Known(digest),
            Err(failure) => {
                if !self.is_worth_another_try(id, &asking, &failure)? {
                    return self.fail(id, failure);
                }
            }
        }
        self.enqueue_all(id)
    }
}
