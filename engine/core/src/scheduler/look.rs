//! Asking the store for keys, and what its answers lead to.

use cooper_proto::Digest;

use super::Work;
use super::bug::{Bug, Step};
use super::machine::{Purpose, Scheduler};
use super::node::{Content, EdgeId, Key, NodeId};
use super::state::{Level, Phase, Stage};
use crate::cachekey::MissReason;
use crate::model::{CacheKeyId, CacheMap, Failure, TaskId};
use crate::ports::{InputKey, KeyQuery, LookupAnswer};

/// A key by which an input is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KnownKey {
    pub(super) key: InputKey,
    /// Whether it means something to the store.
    pub(super) lasting: bool,
    /// Whether only an imported cache says so.
    pub(super) imported: bool,
}

/// The op under which records are kept that hold only if what the caches of a scope claim is true.
#[must_use]
pub fn scoped_op(scope: &Digest, op: &Digest) -> Digest {
    Digest::sha256_of(format!("in the scope {scope}: {op}"))
}

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
            scope: self.node(edge.node)?.key.scope.clone(),
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
            let lasting = keys.into_iter().filter(|key| key.lasting);
            Ok(lasting.map(|key| key.key).collect())
        });
        Ok(KeyQuery {
            op: map.digest.clone(),
            output: edge.output,
            inputs: inputs.collect::<Step<_>>()?,
        })
    }

    /// What is saved of an edge by one of the node's cache maps. Inputs count by keys of our own; where an input has
    /// none, the state is an imported cache's claim, and the record is kept apart for builds of the same scope.
    pub(super) fn saving(&self, edge: EdgeId, map: usize) -> Step<KeyQuery> {
        let node = self.node(edge.node)?;
        let mut query = self.query(edge, map)?;
        let map = node
            .maps
            .get(map)
            .ok_or_else(|| Bug::at(edge.node, "it has no cache map"))?;
        for (input, keys) in query.inputs.iter_mut().enumerate() {
            let own = self.own_keys(edge.node, map, input)?;
            if !own.is_empty() {
                *keys = own;
            }
        }
        if let Some(scope) = &node.key.scope
            && self.stands_on_claims(edge.node)?
        {
            query.op = scoped_op(scope, &query.op);
        }
        Ok(query)
    }

    /// Whether some input is known by keys of imported caches alone.
    pub(super) fn stands_on_claims(&self, id: NodeId) -> Step<bool> {
        let node = self.node(id)?;
        let Some(map) = node.maps.first() else {
            return Ok(false);
        };
        for input in 0..node.inputs.len() {
            let keys = self.input_keys(id, map, input)?;
            if keys.iter().any(|key| key.imported) && self.own_keys(id, map, input)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn own_keys(&self, id: NodeId, map: &CacheMap, input: usize) -> Step<Vec<InputKey>> {
        let keys = self.input_keys(id, map, input)?.into_iter();
        let own = keys.filter(|key| key.lasting && !key.imported);
        Ok(own.map(|key| key.key).collect())
    }

    /// The keys by which an input is known, sorted.
    pub(super) fn input_keys(
        &self,
        id: NodeId,
        map: &CacheMap,
        input: usize,
    ) -> Step<Vec<KnownKey>> {
        let node = self.node(id)?;
        let selector = map
            .inputs
            .get(input)
            .and_then(|rule| rule.selector.as_ref());
        let of_state = self.output(node.inputs[input])?.keys.iter().map(|key| {
            let (lasting, imported) = (key.lasting, key.imported);
            let (key, selector) = (key.id.clone(), selector.cloned());
            KnownKey {
                key: InputKey { key, selector },
                lasting,
                imported,
            }
        });
        let mut keys: Vec<_> = of_state.collect();
        if let Content::Known(digest) = &node.contents[input] {
            let key = CacheKeyId(digest.clone());
            let selector = None;
            keys.push(KnownKey {
                key: InputKey { key, selector },
                lasting: true,
                imported: false,
            });
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
            Ok(answer) if answer.matches() => self.key_matched(edge, stage, &answer)?,
            Ok(answer) => {
                self.output_mut(edge)?.miss = MissReason::of(&answer);
                match stage {
                    Stage::Fast => self.plan_slow_keys(edge, answer)?,
                    Stage::Slow => {
                        let output = self.output_mut(edge)?;
                        output.missed = output.missed.take().map(|_| answer);
                        self.go_on_without_key(edge, stage)?;
                    }
                    Stage::Full => {
                        self.go_on_without_key(edge, stage)?;
                    }
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
        let key = |id: &CacheKeyId, imported| Key {
            id: id.clone(),
            lasting: true,
            imported,
        };
        let own = answer.keys.iter().map(|id| key(id, false));
        let imported = answer.imported.iter().map(|id| key(id, true));
        output.keys.extend(own.chain(imported));
        output.keys.sort();
        output.keys.dedup();
        output.miss = None;
        output.missed = None;
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
        // Two keys of which one is imported name the same state only if the imported cache is right.
        let mut imported = false;
        if let Some(map) = self.node(edge.node)?.maps.first() {
            for input in 0..query.inputs.len() {
                let keys = self.input_keys(edge.node, map, input)?;
                imported |= keys.iter().any(|key| key.imported);
            }
        }
        if !imported && query.inputs.iter().any(|keys| keys.len() > 1) {
            let records = vec![(query, None)];
            self.perform(Purpose::Links(edge.node), Work::Save { records })?;
        }
        Ok(())
    }

    /// Decides after a first miss whether slow keys could match, and which.
    ///
    /// They cannot when no record has the op, or when some input's keys lead to no record of it and the input has no
    /// further keys. An input whose keys do lead there is left alone. Inputs that can tell more keys without being
    /// built are asked for those first; contents come only when these do not match.
    fn plan_slow_keys(&mut self, edge: EdgeId, answer: LookupAnswer) -> Step {
        let node = self.node(edge.node)?;
        let source_has_more =
            node.inputs.is_empty() && node.maps.last().is_some_and(|map| map.more);
        let next_map = self.output(edge)?.next_map + 1;
        if node.inputs.is_empty() && (source_has_more || next_map < node.maps.len()) {
            self.output_mut(edge)?.next_map = next_map;
            return self.set_phase(edge, Phase::Waiting(Stage::Fast));
        }
        let (mut wants, mut hopeless) = (Vec::new(), !answer.op_known);
        for (input, input_edge) in node.inputs.iter().enumerate() {
            let known = answer.inputs_known.get(input).copied().unwrap_or(false);
            let may_tell_more = self.may_tell_more(*input_edge)?;
            hopeless |= !known && !may_tell_more && !self.has_content(edge.node, input)?;
            wants.push(match !known && may_tell_more {
                true => Level::SlowKeys,
                false => Level::Nothing,
            });
        }
        if hopeless {
            self.settle_keys(edge)?;
            return Ok(());
        }
        if wants.iter().all(|want| *want == Level::Nothing) {
            return self.plan_contents(edge, &answer);
        }
        let output = self.output_mut(edge)?;
        output.slow_wants = wants;
        output.plan = Vec::new();
        output.missed = Some(answer);
        self.set_phase(edge, Phase::Known(Stage::Fast))?;
        self.raise(edge, Level::FastKeys)
    }

    /// Decides, when no key of the inputs' states matched, whether contents of inputs could, and of which.
    fn plan_contents(&mut self, edge: EdgeId, answer: &LookupAnswer) -> Step {
        let node = self.node(edge.node)?;
        let all_known = answer.inputs_known.iter().all(|known| *known);
        let (mut wants, mut plan, mut hopeless) = (Vec::new(), Vec::new(), !answer.op_known);
        for input in 0..node.inputs.len() {
            let known = answer.inputs_known.get(input).copied().unwrap_or(false);
            let has_content = self.has_content(edge.node, input)?;
            let want = if known && !(all_known && has_content) {
                Level::Nothing
            } else if has_content {
                plan.push(input);
                Level::Result
            } else {
                hopeless = true;
                Level::Nothing
            };
            wants.push(want);
        }
        hopeless |= plan.is_empty();
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

    /// Whether an edge may learn further keys without being built.
    fn may_tell_more(&self, edge: EdgeId) -> Step<bool> {
        let state = self.output(edge)?;
        Ok(state.level < Level::SlowKeys && !state.keys.iter().any(|key| key.lasting))
    }

    /// Whether an input's contents can be a key.
    fn has_content(&self, id: NodeId, input: usize) -> Step<bool> {
        let maps = &self.node(id)?.maps;
        let rule = maps.first().and_then(|map| map.inputs.get(input));
        Ok(rule.is_some_and(|rule| rule.content.is_some()))
    }

    /// No key matched at this stage.
    pub(super) fn go_on_without_key(&mut self, edge: EdgeId, stage: Stage) -> Step<bool> {
        match stage {
            Stage::Fast => self.settle_keys(edge),
            Stage::Slow => match self.output_mut(edge)?.missed.take() {
                Some(answer) => {
                    self.plan_contents(edge, &answer)?;
                    Ok(true)
                }
                None => self.settle_keys(edge),
            },
            Stage::Full => {
                self.set_phase(edge, Phase::Running)?;
                Ok(true)
            }
        }
    }
}
