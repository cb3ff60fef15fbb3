//! Where keys come from: the op, a source's worker, inputs' contents, the store.

use std::sync::Arc;

use cooper_proto::{Digest, pb};

use super::Work;
use super::bug::{Bug, Step};
use super::machine::{Purpose, Scheduler};
use super::node::{Asking, Content, EdgeId, Key, NodeId};
use super::state::{Level, Phase, Stage};
use crate::cachekey::{MissReason, cache_map, is_of_session, source_cache_map};
use crate::model::{CacheKeyId, CacheMap, Failure, Pin, ResultId, TaskId};
use crate::ports::{InputKey, KeyQuery, LookupAnswer, SourceKey};

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
            output.keys = vec![Key { id, lasting: false }];
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
    /// left and others remain.
    pub(super) fn is_worth_another_try(&self, id: NodeId, asking: &Asking) -> Step<bool> {
        let jobs = &self.node(id)?.jobs;
        let left = asking.began_for.iter().any(|job| !jobs.contains_key(job));
        Ok(asking.stopping || (left && !jobs.is_empty()))
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
                if !self.is_worth_another_try(id, &asking)? {
                    return self.fail(id, failure);
                }
            }
        }
        self.enqueue_all(id)
    }

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
        let result = self.result_of(node.inputs[input])?;
        self.pins.share(&result);
        let purpose = Purpose::Content(id, input, result.clone());
        let task = self.perform(purpose, Work::ContentKey { result, selectors })?;
        let asking = self.asking(id, task)?;
        let node = self.node_mut(id)?;
        node.contents[input] = Content::Asking(asking);
        node.contents_asked += 1;
        Ok(())
    }

    pub(super) fn result_of(&self, edge: EdgeId) -> Step<ResultId> {
        match &self.output(edge)?.phase {
            Phase::Done(result) => Ok(result.clone()),
            Phase::Idle
            | Phase::Waiting(_)
            | Phase::Looking { .. }
            | Phase::Known(_)
            | Phase::Listing { .. }
            | Phase::Loading { .. }
            | Phase::Running
            | Phase::Saving
            | Phase::Failed(_) => Err(Bug::at(edge.node, "an input is used before it is built")),
        }
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
                if !self.is_worth_another_try(id, &asking)? {
                    return self.fail(id, failure);
                }
            }
        }
        self.enqueue_all(id)
    }

    /// Asks the store for keys, unless nothing is new since it was asked last.
    pub(super) fn look(&mut self, edge: EdgeId, stage: Stage) -> Step<bool> {
        let node = self.node(edge.node)?;
        let map = self
            .output(edge)?
            .next_map
            .min(node.maps.len().saturating_sub(1));
        let never = node.vertex.ignore_cache || node.of_session;
        let query = self.query(edge, map)?;
        if never || self.output(edge)?.asked.as_ref() == Some(&query) {
            return self.go_on_without_key(edge, stage);
        }
        let work = Work::Lookup {
            query: query.clone(),
        };
        let task = self.perform(Purpose::Lookup(edge), work)?;
        self.output_mut(edge)?.asked = Some(query);
        self.set_phase(edge, Phase::Looking { stage, task })?;
        Ok(false)
    }

    /// What the store is asked about an edge by one of the node's cache maps.
    pub(super) fn query(&self, edge: EdgeId, map: usize) -> Step<KeyQuery> {
        let node = self.node(edge.node)?;
        let map = node
            .maps
            .get(map)
            .ok_or_else(|| Bug::at(edge.node, "it has no cache map"))?;
        let inputs = (0..node.inputs.len()).map(|input| {
            let keys = self.input_keys(edge.node, map, input)?;
            let lasting = keys.into_iter().filter(|(_, lasting)| *lasting);
            Ok(lasting.map(|(key, _)| key).collect())
        });
        Ok(KeyQuery {
            op: map.digest.clone(),
            output: edge.output,
            inputs: inputs.collect::<Step<_>>()?,
        })
    }

    /// The keys by which an input is known, sorted, and whether they mean something to the store.
    pub(super) fn input_keys(
        &self,
        id: NodeId,
        map: &CacheMap,
        input: usize,
    ) -> Step<Vec<(InputKey, bool)>> {
        let node = self.node(id)?;
        let selector = map
            .inputs
            .get(input)
            .and_then(|rule| rule.selector.as_ref());
        let of_state = self.output(node.inputs[input])?.keys.iter().map(|key| {
            let (key, lasting) = (key.id.clone(), key.lasting);
            let selector = selector.cloned();
            (InputKey { key, selector }, lasting)
        });
        let mut keys: Vec<_> = of_state.collect();
        if let Content::Known(digest) = &node.contents[input] {
            let key = CacheKeyId(digest.clone());
            keys.push((
                InputKey {
                    key,
                    selector: None,
                },
                true,
            ));
        }
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    pub(super) fn on_lookup(
        &mut self,
        task: TaskId,
        edge: EdgeId,
        answer: Result<LookupAnswer, Failure>,
    ) -> Step {
        let Phase::Looking { stage, task: asked } = self.output(edge)?.phase else {
            return Ok(());
        };
        if asked != task {
            return Ok(());
        }
        match answer {
            Ok(answer) if !answer.keys.is_empty() => self.key_matched(edge, stage, &answer)?,
            Ok(answer) => {
                self.output_mut(edge)?.miss = MissReason::of(&answer);
                if stage == Stage::Fast {
                    self.plan_slow_keys(edge, &answer)?;
                } else {
                    self.go_on_without_key(edge, stage)?;
                }
            }
            Err(_) => {
                // A store that cannot be read costs time, not the build.
                self.output_mut(edge)?.miss = Some(MissReason::StoreFailed);
                self.go_on_without_key(edge, stage)?;
            }
        }
        self.enqueue(edge);
        Ok(())
    }

    fn key_matched(&mut self, edge: EdgeId, stage: Stage, answer: &LookupAnswer) -> Step {
        let output = self.output_mut(edge)?;
        let matched = answer.keys.iter().map(|id| Key {
            id: id.clone(),
            lasting: true,
        });
        output.keys.extend(matched);
        output.keys.sort();
        output.keys.dedup();
        output.miss = None;
        if stage != Stage::Fast {
            self.learn_links(edge)?;
        }
        if stage == Stage::Full {
            return self.list(edge, stage);
        }
        self.settle_keys(edge)?;
        if self.output(edge)?.demand() < Level::Result {
            self.tell_cached(edge.node)?;
        }
        Ok(())
    }

    /// Has the store remember keys of the inputs that did not lead here before, so that they do at once next time.
    fn learn_links(&mut self, edge: EdgeId) -> Step {
        let Some(query) = self.output(edge)?.asked.clone() else {
            return Ok(());
        };
        if query.inputs.iter().any(|keys| keys.len() > 1) {
            let records = vec![(query, None)];
            self.perform(Purpose::Links(edge.node), Work::Save { records })?;
        }
        Ok(())
    }

    /// Decides after a first miss whether slow keys could match, and which.
    ///
    /// They cannot when no record has the op, or when some input's keys lead to no record of it and the input has no
    /// further keys. An input whose keys do lead there is left alone.
    fn plan_slow_keys(&mut self, edge: EdgeId, answer: &LookupAnswer) -> Step {
        let node = self.node(edge.node)?;
        let source_has_more =
            node.inputs.is_empty() && node.maps.last().is_some_and(|map| map.more);
        let next_map = self.output(edge)?.next_map + 1;
        if node.inputs.is_empty() && (source_has_more || next_map < node.maps.len()) {
            self.output_mut(edge)?.next_map = next_map;
            return self.set_phase(edge, Phase::Waiting(Stage::Fast));
        }
        let all_known = answer.inputs_known.iter().all(|known| *known);
        let (mut wants, mut plan, mut hopeless) = (Vec::new(), Vec::new(), !answer.op_known);
        for (input, input_edge) in node.inputs.iter().enumerate() {
            let known = answer.inputs_known.get(input).copied().unwrap_or(false);
            let rule = node.maps.first().and_then(|map| map.inputs.get(input));
            let has_content = rule.is_some_and(|rule| rule.content.is_some());
            let state = self.output(*input_edge)?;
            let may_tell_more =
                state.level < Level::SlowKeys && !state.keys.iter().any(|key| key.lasting);
            let want = if known && !(all_known && has_content) {
                Level::Nothing
            } else if has_content {
                plan.push(input);
                Level::Result
            } else {
                hopeless |= !may_tell_more;
                Level::SlowKeys
            };
            wants.push(want);
        }
        hopeless |= wants.iter().all(|want| *want == Level::Nothing);
        if hopeless {
            self.settle_keys(edge)?;
            return Ok(());
        }
        let output = self.output_mut(edge)?;
        output.slow_wants = wants;
        output.plan = plan;
        self.set_phase(edge, Phase::Known(Stage::Fast))?;
        self.raise(edge, Level::FastKeys)
    }

    /// No key matched at this stage.
    pub(super) fn go_on_without_key(&mut self, edge: EdgeId, stage: Stage) -> Step<bool> {
        match stage {
            Stage::Fast | Stage::Slow => self.settle_keys(edge),
            Stage::Full => {
                self.set_phase(edge, Phase::Running)?;
                Ok(true)
            }
        }
    }
}

/// A key for a source of one session. Sources of the same text in it are the same.
fn key_of_session(source: &Digest, output: u32) -> CacheKeyId {
    CacheKeyId(Digest::sha256_of(format!(
        "of one session: {source}@{output}"
    )))
}
