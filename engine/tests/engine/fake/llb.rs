use std::collections::BTreeMap;

use cooper_proto::{Digest, pb};
use prost::Message;

/// Writes definitions whose steps have names.
#[derive(Default)]
pub(crate) struct Llb {
    ops: Vec<(Vec<u8>, String)>,
    described: Vec<(&'static str, &'static str)>,
}

impl Llb {
    /// A source.
    pub(crate) fn source(&mut self, name: &str) -> Digest {
        let source = pb::SourceOp {
            identifier: format!("docker-image://{name}"),
            attrs: BTreeMap::new(),
        };
        self.add(name, Vec::new(), pb::op::Op::Source(source))
    }

    /// A process that stands on its first input and reads the others.
    pub(crate) fn step(&mut self, name: &str, inputs: &[&Digest]) -> Digest {
        let mounts = (0..inputs.len().max(1))
            .map(|place| pb::Mount {
                input: if inputs.is_empty() {
                    -1
                } else {
                    i64::try_from(place).expect("small")
                },
                dest: if place == 0 {
                    "/".into()
                } else {
                    format!("/in{place}")
                },
                output: if place == 0 { 0 } else { -1 },
                readonly: place != 0,
                ..pb::Mount::default()
            })
            .collect();
        let exec = pb::ExecOp {
            meta: Some(pb::Meta {
                args: vec![name.to_owned()],
                cwd: "/".into(),
                ..pb::Meta::default()
            }),
            mounts,
            ..pb::ExecOp::default()
        };
        self.exec(name, inputs, exec)
    }

    /// A process of which all is said.
    pub(crate) fn exec(&mut self, name: &str, inputs: &[&Digest], exec: pb::ExecOp) -> Digest {
        let inputs = inputs
            .iter()
            .map(|digest| pb::Input {
                digest: digest.to_string(),
                index: 0,
            })
            .collect();
        self.add(name, inputs, pb::op::Op::Exec(exec))
    }

    /// A build op whose definition is in a file of a state.
    pub(crate) fn build(&mut self, name: &str, file: &str, state: &Digest) -> Digest {
        let inputs = vec![pb::Input {
            digest: state.to_string(),
            index: 0,
        }];
        let build = pb::BuildOp {
            builder: -1,
            attrs: [("llbbuild.filename".to_owned(), file.to_owned())].into(),
            inputs: [(
                "buildkit.llb.definition".to_owned(),
                pb::BuildInput { input: 0 },
            )]
            .into(),
            ..pb::BuildOp::default()
        };
        self.add(name, inputs, pb::op::Op::Build(build))
    }

    /// Says something more of all its ops.
    pub(crate) fn describe(&mut self, key: &'static str, value: &'static str) {
        self.described.push((key, value));
    }

    /// The definition that asks for a step.
    pub(crate) fn wanting(mut self, target: &Digest) -> pb::Definition {
        let terminal = pb::Op {
            inputs: vec![pb::Input {
                digest: target.to_string(),
                index: 0,
            }],
            ..pb::Op::default()
        };
        let metadata = self
            .ops
            .iter()
            .map(|(bytes, name)| {
                let more = self.described.iter();
                let more = more.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
                let named = ("llb.customname".to_owned(), name.clone());
                let metadata = pb::OpMetadata {
                    description: more.chain([named]).collect(),
                    ..pb::OpMetadata::default()
                };
                (Digest::sha256_of(bytes).to_string(), metadata)
            })
            .collect();
        self.ops.push((terminal.encode_to_vec(), String::new()));
        pb::Definition {
            def: self.ops.into_iter().map(|(bytes, _)| bytes).collect(),
            metadata,
            source: None,
        }
    }

    /// A source and steps on it, each on the one before.
    pub(crate) fn chain(source: &str, steps: &[&str]) -> pb::Definition {
        let mut llb = Self::default();
        let mut last = llb.source(source);
        for step in steps {
            last = llb.step(step, &[&last]);
        }
        llb.wanting(&last)
    }

    fn add(&mut self, name: &str, inputs: Vec<pb::Input>, op: pb::op::Op) -> Digest {
        let op = pb::Op {
            inputs,
            op: Some(op),
            platform: Some(super::worker::platform()),
            constraints: None,
        };
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256_of(&bytes);
        self.ops.push((bytes, name.to_owned()));
        digest
    }
}
