//! A worker and a cache store that compute states instead of building them.

use std::collections::BTreeMap;

use cooper_core::graph::Vertex;
use cooper_core::model::{ContentSelector, Failure, FailureKind, Pin, ResultId};
use cooper_core::ports::conformance::MemoryStore;
use cooper_core::ports::{OpOutcome, SourceKey};
use cooper_core::scheduler::{Work, WorkDone};
use cooper_proto::pb::file_action::Action;
use cooper_proto::pb::op::Op as Kind;
use cooper_proto::{Digest, pb};

use crate::plan::{State, copy_state, exec_states, image_state, local_state, merge_state};
use crate::rng::Rng;

/// How often things go wrong, in percent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trouble {
    pub(crate) store: usize,
    pub(crate) fault: usize,
}

pub(crate) struct Worker {
    pub(crate) store: MemoryStore,
    pub(crate) trouble: Trouble,
    results: BTreeMap<ResultId, Kept>,
    made: u64,
    /// Vertices that failed for no reason of their own.
    pub(crate) faults: Vec<Digest>,
}

struct Kept {
    state: State,
    pins: usize,
}

impl Worker {
    pub(crate) fn new(trouble: Trouble) -> Self {
        Self {
            store: MemoryStore::default(),
            trouble,
            results: BTreeMap::new(),
            made: 0,
            faults: Vec::new(),
        }
    }

    pub(crate) fn state(&self, result: &ResultId) -> State {
        self.results[result].state
    }

    pub(crate) fn is_pinned(&self, result: &ResultId) -> bool {
        self.results.get(result).is_some_and(|kept| kept.pins > 0)
    }

    pub(crate) fn pins(&self) -> usize {
        self.results.values().map(|kept| kept.pins).sum()
    }

    pub(crate) fn release(&mut self, results: &[ResultId]) {
        for result in results {
            let kept = self
                .results
                .get_mut(result)
                .expect("only what is kept is released");
            assert!(
                kept.pins > 0,
                "{result} is released more often than it was pinned"
            );
            kept.pins -= 1;
        }
    }

    /// Removes results that nobody has pinned, as garbage collection does; sometimes the store is told.
    pub(crate) fn collect_garbage(&mut self, rng: &mut Rng) {
        let loose: Vec<ResultId> = self
            .results
            .iter()
            .filter(|(_, kept)| kept.pins == 0)
            .map(|(result, _)| result.clone())
            .collect();
        for result in loose {
            if rng.chance(30) {
                self.results.remove(&result);
                if rng.chance(50) {
                    self.store.forget_now(&result);
                }
            }
        }
    }

    /// Whether all results that a piece of work uses are pinned.
    pub(crate) fn may_use(&self, work: &Work) -> bool {
        match work {
            Work::ContentKey { result, .. } => self.is_pinned(result),
            Work::Run { inputs, .. } => inputs.iter().all(|input| self.is_pinned(input)),
            Work::SourceKey { .. }
            | Work::Lookup { .. }
            | Work::Results { .. }
            | Work::Load { .. }
            | Work::Save { .. }
            | Work::Forget { .. } => true,
        }
    }

    /// Does a piece of work.
    pub(crate) fn perform(&mut self, work: &Work, rng: &mut Rng) -> WorkDone {
        match work {
            Work::SourceKey { vertex, index, pin } => {
                WorkDone::SourceKey(self.source_key(vertex, *index, pin.as_ref(), rng))
            }
            Work::Lookup { query, .. } => {
                WorkDone::Lookup(self.or_trouble(rng, |store| store.lookup_now(query)))
            }
            Work::Results { keys, .. } => WorkDone::Results(self.or_trouble(rng, |store| {
                keys.iter().flat_map(|key| store.results_now(key)).collect()
            })),
            Work::Load { result } => {
                let asked = self.or_trouble(rng, |_| ());
                WorkDone::Load(asked.map(|()| match self.results.get_mut(result) {
                    Some(kept) => {
                        kept.pins += 1;
                        true
                    }
                    None => false,
                }))
            }
            Work::ContentKey {
                result, selectors, ..
            } => WorkDone::ContentKey(Ok(self.content_key(result, selectors))),
            Work::Run { vertex, inputs, .. } => WorkDone::Run(self.run(vertex, inputs, rng)),
            Work::Save { records } => WorkDone::Save(self.or_trouble(rng, |store| {
                let save = |(query, result): &(_, Option<ResultId>)| {
                    store.save_now(query, result.as_ref())
                };
                records.iter().map(save).collect()
            })),
            Work::Forget { result } => {
                self.store.forget_now(result);
                WorkDone::Forget
            }
        }
    }

    /// What a piece of work says that was stopped, `None` for work that cannot be.
    pub(crate) fn stopped(work: &Work) -> Option<WorkDone> {
        let cancelled = || Failure::new(FailureKind::Cancelled, "stopped");
        match work {
            Work::SourceKey { .. } => Some(WorkDone::SourceKey(Err(cancelled()))),
            Work::ContentKey { .. } => Some(WorkDone::ContentKey(Err(cancelled()))),
            Work::Run { .. } => Some(WorkDone::Run(OpOutcome::Cancelled)),
            Work::Lookup { .. }
            | Work::Results { .. }
            | Work::Load { .. }
            | Work::Save { .. }
            | Work::Forget { .. } => None,
        }
    }

    fn or_trouble<T>(
        &self,
        rng: &mut Rng,
        answer: impl FnOnce(&MemoryStore) -> T,
    ) -> Result<T, Failure> {
        if rng.chance(self.trouble.store) {
            return Err(Failure::new(
                FailureKind::Infrastructure,
                "the store is troubled",
            ));
        }
        Ok(answer(&self.store))
    }

    fn fault(&mut self, vertex: &Vertex) -> Failure {
        self.faults.push(vertex.digest.clone());
        Failure::new(FailureKind::Infrastructure, "the worker is troubled")
    }

    fn source_key(
        &mut self,
        vertex: &Vertex,
        index: u32,
        pin: Option<&Pin>,
        rng: &mut Rng,
    ) -> Result<SourceKey, Failure> {
        if rng.chance(self.trouble.fault) {
            return Err(self.fault(vertex));
        }
        let Some(Kind::Source(source)) = &vertex.op.op else {
            panic!("only sources are asked for their keys");
        };
        if source.attrs.contains_key("broken") {
            return Err(broken());
        }
        assert_eq!(
            index > 0,
            pin.is_some(),
            "a pin is told from the second key on"
        );
        let (scheme, rest) = source.identifier.split_once("://").unwrap();
        let mut names = rest.split('/');
        let (first, second) = (names.next().unwrap(), names.next());
        let key = match (scheme, index) {
            ("local", 0) => format!("session:{rest}"),
            ("docker-image", 0) => format!("manifest {first}"),
            ("docker-image", 1) => format!("chain {}", second.unwrap()),
            _ => panic!("{scheme} has no key {index}"),
        };
        Ok(SourceKey {
            more: scheme == "docker-image" && index == 0,
            pin: Pin([(String::from("name"), first.to_owned())].into()),
            key,
        })
    }

    fn content_key(&self, result: &ResultId, selectors: &[ContentSelector]) -> Digest {
        let state = self.state(result);
        let looked_at = match selectors {
            [selector] if selector.path == "/part" => format!("part {}", state.part),
            [selector] if selector.path == "/" => format!("whole {state:?}"),
            other => panic!("unexpected selectors {other:?}"),
        };
        Digest::sha256_of(looked_at)
    }

    fn run(&mut self, vertex: &Vertex, inputs: &[ResultId], rng: &mut Rng) -> OpOutcome {
        if rng.chance(self.trouble.fault) {
            return OpOutcome::Fault(self.fault(vertex));
        }
        let inputs: Vec<State> = inputs.iter().map(|input| self.state(input)).collect();
        let Some(states) = states_of(&vertex.op, &inputs) else {
            return OpOutcome::Failed(broken());
        };
        let results = states.into_iter().map(|state| self.keep(state));
        OpOutcome::Success(results.collect())
    }

    fn keep(&mut self, state: State) -> ResultId {
        self.made += 1;
        let result = ResultId(format!("result {}", self.made));
        self.results.insert(result.clone(), Kept { state, pins: 1 });
        result
    }
}

fn broken() -> Failure {
    Failure::new(FailureKind::Exit { code: 1 }, "broken")
}

/// What an op gives on its inputs, read from its message; `None` when it fails.
fn states_of(op: &pb::Op, inputs: &[State]) -> Option<Vec<State>> {
    match op.op.as_ref().unwrap() {
        Kind::Source(source) => {
            let (scheme, rest) = source.identifier.split_once("://").unwrap();
            let last = if scheme == "local" {
                rest.rsplit('-').next()
            } else {
                rest.split('/').nth(1)
            };
            Some(vec![match scheme {
                "local" => local_state(last.unwrap()),
                _ => image_state(last.unwrap()),
            }])
        }
        Kind::File(file) => match &file.actions[0].action {
            Some(Action::Copy(copy)) if copy.mode_str.is_empty() => {
                Some(vec![copy_state(&copy.dest, inputs)])
            }
            _ => None,
        },
        Kind::Exec(exec) => {
            let args = &exec.meta.as_ref().unwrap().args;
            let outputs = exec.mounts.iter().filter(|mount| mount.output >= 0).count();
            (args[0] == "sound")
                .then(|| exec_states(&args[1], u32::try_from(outputs).unwrap(), inputs))
        }
        Kind::Merge(_) => Some(vec![merge_state(inputs)]),
        Kind::Build(_) | Kind::Diff(_) | Kind::Passthrough(_) => panic!("not in plans"),
    }
}
