//! Asking the store for keys, and what its answers lead to.

use super::Work;
use super::bug::{Bug, Step};
use super::machine::{Purpose, Scheduler};
use super::node::{Content, EdgeId, Key, NodeId};
use super::state::{Level, Phase, Stage};
use crate::cachekey::MissReason;
use crate::model::{CacheKeyId, CacheMap, Failure, TaskId};
use crate::ports::{InputKey, KeyQuery, LookupAnswer};

impl Scheduler {
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
