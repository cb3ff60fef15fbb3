//! Random builds whose every result can be computed without building.
//!
//! A state is a pair of numbers: the *part* that copies and mounts look at, and the *rest*. Ops that look at a part
//! only give equal states on inputs with equal parts; parts come from a small range, so that this happens often.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use cooper_core::graph::{Graph, Limits};
use cooper_core::model::Edge;
use cooper_proto::pb::op::Op as Kind;
use cooper_proto::{Digest, pb};
use prost::Message as _;

use crate::rng::Rng;

/// What a file-system state holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    pub(crate) part: u64,
    pub(crate) rest: u64,
}

impl State {
    /// The state that some data leads to.
    fn of(data: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        data.hash(&mut hasher);
        let rest = hasher.finish();
        Self {
            part: rest % 3,
            rest,
        }
    }

    fn whole(self) -> (u64, u64) {
        (self.part, self.rest)
    }
}

/// A step of a plan; numbers name earlier steps and their outputs.
#[derive(Debug, Clone)]
enum Step {
    Image {
        name: usize,
    },
    Local {
        context: usize,
    },
    Copy {
        base: Place,
        from: Place,
    },
    Exec {
        root: Place,
        mount: Option<Place>,
        outputs: u32,
    },
    Merge {
        inputs: Vec<Place>,
    },
}

type Place = (usize, u32);

/// Steps that builds choose from.
#[derive(Debug)]
pub(crate) struct Plan {
    steps: Vec<(Step, Flavour)>,
}

/// What distinguishes steps that are alike.
#[derive(Debug, Clone, Copy)]
struct Flavour {
    /// What the step does; steps that agree on it and on their inputs give the same.
    work: usize,
    /// What changes the vertex and not its key.
    noise: usize,
    ignore_cache: bool,
    broken: bool,
}

/// What is known of one vertex of a build.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    /// The states it gives.
    pub(crate) states: Vec<State>,
    /// Every vertex it stands on, itself too.
    pub(crate) closure: BTreeSet<Digest>,
    /// Whether a cached result will not do, here or below.
    pub(crate) ignores_cache: bool,
    /// Whether running it fails.
    pub(crate) broken: bool,
}

/// A build: a graph and what its vertices give.
pub(crate) struct Build {
    pub(crate) graph: Arc<Graph>,
    pub(crate) facts: BTreeMap<Digest, Fact>,
}

impl Plan {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let mut steps: Vec<(Step, Flavour)> = Vec::new();
        for index in 0..3 + rng.below(24) {
            let step = if index < 2 || rng.chance(15) {
                match rng.chance(60) {
                    true => Step::Image { name: rng.below(4) },
                    false => Step::Local {
                        context: rng.below(2),
                    },
                }
            } else {
                random_step(rng, &steps)
            };
            let flavour = Flavour {
                work: rng.below(3),
                noise: rng.below(2),
                ignore_cache: rng.chance(4),
                broken: rng.chance(3),
            };
            steps.push((step, flavour));
        }
        Self { steps }
    }

    /// Some steps of the plan and all that they stand on, for a job with its own local directories. A job's directory
    /// has one of few contents, so that builds find what others copied from theirs.
    pub(crate) fn build(&self, rng: &mut Rng, job: usize) -> Build {
        let target = self.steps.len() - 1 - rng.below(self.steps.len().min(6));
        let contents = [rng.below(2), rng.below(2)];
        let mut definition = pb::Definition::default();
        let mut digests: Vec<String> = Vec::new();
        let mut facts = BTreeMap::new();
        let mut by_step: Vec<Digest> = Vec::new();
        for (step, flavour) in &self.steps[..=target] {
            let op = op_of(step, *flavour, job, contents, &digests);
            let bytes = op.encode_to_vec();
            let digest = Digest::sha256_of(&bytes);
            if !facts.contains_key(&digest) {
                let fact = fact_of(step, *flavour, &digest, contents, &facts, &by_step);
                let metadata = pb::OpMetadata {
                    ignore_cache: flavour.ignore_cache,
                    ..pb::OpMetadata::default()
                };
                definition
                    .metadata
                    .insert(digest.as_str().to_owned(), metadata);
                definition.def.push(bytes);
                facts.insert(digest.clone(), fact);
            }
            digests.push(digest.as_str().to_owned());
            by_step.push(digest);
        }
        let terminal = pb::Op {
            inputs: vec![wire_input(&digests, (target, 0))],
            ..pb::Op::default()
        };
        definition.def.push(terminal.encode_to_vec());
        let graph = Graph::load(&definition, &Limits::default()).unwrap();
        Build {
            graph: Arc::new(graph),
            facts,
        }
    }
}

impl Build {
    /// An edge of the graph: its target, or any other.
    pub(crate) fn edge(&self, rng: &mut Rng) -> Edge {
        if rng.chance(70) {
            return self.graph.target.clone().unwrap();
        }
        let (digest, vertex) = self
            .graph
            .vertices
            .get_index(rng.below(self.graph.vertices.len()))
            .unwrap();
        let outputs = usize::try_from(vertex.outputs).unwrap();
        Edge {
            vertex: digest.clone(),
            output: u32::try_from(rng.below(outputs)).unwrap(),
        }
    }
}

fn random_step(rng: &mut Rng, steps: &[(Step, Flavour)]) -> Step {
    let place = |rng: &mut Rng| {
        // Late steps are preferred, so that graphs are deep as well as wide.
        let back = if rng.chance(60) {
            steps.len().min(4)
        } else {
            steps.len()
        };
        let step = steps.len() - 1 - rng.below(back);
        let output = match steps[step].0 {
            Step::Exec { outputs, .. } => {
                u32::try_from(rng.below(usize::try_from(outputs).unwrap())).unwrap()
            }
            Step::Image { .. } | Step::Local { .. } | Step::Copy { .. } | Step::Merge { .. } => 0,
        };
        (step, output)
    };
    let base = place(rng);
    let other = place(rng);
    match rng.below(10) {
        0..4 if other != base => Step::Copy { base, from: other },
        0..8 => Step::Exec {
            root: base,
            mount: (rng.chance(30) && other != base).then_some(other),
            outputs: if rng.chance(20) { 2 } else { 1 },
        },
        _ => Step::Merge {
            inputs: (0..1 + rng.below(4)).map(|_| place(rng)).collect(),
        },
    }
}

fn wire_input(digests: &[String], (step, output): Place) -> pb::Input {
    pb::Input {
        digest: digests[step].clone(),
        index: i64::from(output),
    }
}

/// The op of a step. Images name what they resolve to: `image://manifest/chain`.
fn op_of(
    step: &Step,
    flavour: Flavour,
    job: usize,
    contents: [usize; 2],
    digests: &[String],
) -> pb::Op {
    let (inputs, kind) = match step {
        Step::Image { name } => {
            let identifier = format!("docker-image://{name}/{}/{}", name / 2, flavour.noise);
            (Vec::new(), source(identifier, flavour.broken))
        }
        Step::Local { context } => {
            let content = contents[*context];
            (
                Vec::new(),
                source(format!("local://{job}-{context}-{content}"), false),
            )
        }
        Step::Copy { base, from } => (vec![*base, *from], copy(flavour)),
        Step::Exec {
            root,
            mount,
            outputs,
        } => {
            let inputs = std::iter::once(*root).chain(*mount).collect();
            (inputs, exec(flavour, mount.is_some(), *outputs))
        }
        Step::Merge { inputs } => {
            let positions = (0..inputs.len()).map(|input| pb::MergeInput {
                input: i64::try_from(input).unwrap(),
            });
            let merge = pb::MergeOp {
                inputs: positions.collect(),
            };
            (inputs.clone(), Kind::Merge(merge))
        }
    };
    pb::Op {
        inputs: inputs
            .into_iter()
            .map(|place| wire_input(digests, place))
            .collect(),
        op: Some(kind),
        ..pb::Op::default()
    }
}

fn source(identifier: String, broken: bool) -> Kind {
    let attrs = broken.then(|| (String::from("broken"), String::from("true")));
    Kind::Source(pb::SourceOp {
        identifier,
        attrs: attrs.into_iter().collect(),
    })
}

fn copy(flavour: Flavour) -> Kind {
    let copy = pb::FileActionCopy {
        // All but the last name is not in the key, but in the selector.
        src: String::from("/part"),
        dest: format!("/{}", flavour.work),
        mode_str: if flavour.broken { "broken" } else { "" }.to_owned(),
        ..pb::FileActionCopy::default()
    };
    Kind::File(pb::FileOp {
        actions: vec![pb::FileAction {
            input: 0,
            secondary_input: 1,
            output: 0,
            action: Some(pb::file_action::Action::Copy(copy)),
        }],
    })
}

fn exec(flavour: Flavour, mount: bool, outputs: u32) -> Kind {
    let proxy = pb::ProxyEnv {
        http_proxy: format!("http://proxy-{}", flavour.noise),
        ..pb::ProxyEnv::default()
    };
    let at = |input, dest: &str, output| pb::Mount {
        input,
        dest: dest.to_owned(),
        output,
        ..pb::Mount::default()
    };
    let mut mounts = vec![at(0, "/", 0)];
    if outputs == 2 {
        mounts.push(at(-1, "/second", 1));
    }
    if mount {
        mounts.push(pb::Mount {
            selector: String::from("/part"),
            readonly: true,
            ..at(1, "/mount", -1)
        });
    }
    let broken = if flavour.broken { "broken" } else { "sound" };
    Kind::Exec(pb::ExecOp {
        meta: Some(pb::Meta {
            args: vec![broken.to_owned(), flavour.work.to_string()],
            proxy_env: Some(proxy),
            ..pb::Meta::default()
        }),
        mounts,
        ..pb::ExecOp::default()
    })
}

fn fact_of(
    step: &Step,
    flavour: Flavour,
    digest: &Digest,
    contents: [usize; 2],
    facts: &BTreeMap<Digest, Fact>,
    by_step: &[Digest],
) -> Fact {
    let inputs: Vec<Place> = match step {
        Step::Image { .. } | Step::Local { .. } => Vec::new(),
        Step::Copy { base, from } => vec![*base, *from],
        Step::Exec { root, mount, .. } => std::iter::once(*root).chain(*mount).collect(),
        Step::Merge { inputs } => inputs.clone(),
    };
    let below: Vec<&Fact> = inputs
        .iter()
        .map(|(step, _)| &facts[&by_step[*step]])
        .collect();
    let states: Vec<State> = inputs
        .iter()
        .zip(&below)
        .map(|((_, output), fact)| fact.states[usize::try_from(*output).unwrap()])
        .collect();
    let given = match step {
        Step::Image { name } => vec![image_state(&(name / 2).to_string())],
        Step::Local { context } => vec![local_state(&contents[*context].to_string())],
        Step::Copy { .. } => vec![copy_state(&format!("/{}", flavour.work), &states)],
        Step::Exec { outputs, .. } => exec_states(&flavour.work.to_string(), *outputs, &states),
        Step::Merge { .. } => vec![merge_state(&states)],
    };
    let mut closure: BTreeSet<Digest> =
        below.iter().flat_map(|fact| fact.closure.clone()).collect();
    closure.insert(digest.clone());
    Fact {
        states: given,
        closure,
        ignores_cache: flavour.ignore_cache || below.iter().any(|fact| fact.ignores_cache),
        broken: flavour.broken && !matches!(step, Step::Local { .. } | Step::Merge { .. }),
    }
}

pub(crate) fn image_state(chain: &str) -> State {
    State::of(("image", chain))
}

pub(crate) fn local_state(content: &str) -> State {
    State {
        part: content.parse().unwrap(),
        rest: State::of(("local", content)).rest,
    }
}

pub(crate) fn copy_state(dest: &str, inputs: &[State]) -> State {
    State::of(("copy", dest, inputs[0].whole(), inputs[1].part))
}

pub(crate) fn exec_states(work: &str, outputs: u32, inputs: &[State]) -> Vec<State> {
    let mounted = inputs.get(1).map(|state| state.part);
    let state = |output| State::of(("exec", work, output, inputs[0].whole(), mounted));
    (0..outputs).map(state).collect()
}

pub(crate) fn merge_state(inputs: &[State]) -> State {
    State::of((
        "merge",
        inputs.iter().map(|state| state.whole()).collect::<Vec<_>>(),
    ))
}
