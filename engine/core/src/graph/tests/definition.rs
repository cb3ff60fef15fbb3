//! Builds definitions by hand.

use cooper_proto::pb::op::Op as Kind;
use cooper_proto::{Digest, pb};
use prost::Message as _;

use crate::graph::{Graph, GraphError, Limits};

/// A definition in the making.
#[derive(Default)]
pub(super) struct Ops {
    pub(super) definition: pb::Definition,
}

impl Ops {
    /// Adds an op and says its digest.
    pub(super) fn add(&mut self, op: &pb::Op) -> String {
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256_of(&bytes).as_str().to_owned();
        self.definition.def.push(bytes);
        digest
    }

    /// Adds a source.
    pub(super) fn source(&mut self, name: &str) -> String {
        self.add(&op(&[], source(name)))
    }

    /// Adds the terminal op and loads the definition.
    pub(super) fn load(mut self, target: &str, index: i64) -> Result<Graph, GraphError> {
        self.end(target, index);
        Graph::load(&self.definition, &Limits::default())
    }

    /// Adds the terminal op.
    pub(super) fn end(&mut self, target: &str, index: i64) {
        self.add(&pb::Op {
            inputs: vec![input(target, index)],
            ..pb::Op::default()
        });
    }
}

pub(super) fn input(digest: &str, index: i64) -> pb::Input {
    pb::Input {
        digest: digest.to_owned(),
        index,
    }
}

/// An op on the first outputs of other ops.
pub(super) fn op(inputs: &[&str], kind: Kind) -> pb::Op {
    pb::Op {
        inputs: inputs.iter().map(|digest| input(digest, 0)).collect(),
        op: Some(kind),
        ..pb::Op::default()
    }
}

pub(super) fn source(name: &str) -> Kind {
    Kind::Source(pb::SourceOp {
        identifier: format!("docker-image://{name}"),
        ..pb::SourceOp::default()
    })
}

/// An exec with one writable root that stands on `input`.
pub(super) fn exec(args: &[&str], input: i64) -> pb::ExecOp {
    pb::ExecOp {
        meta: Some(pb::Meta {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            cwd: String::from("/"),
            ..pb::Meta::default()
        }),
        mounts: vec![mount(input, "/", 0)],
        ..pb::ExecOp::default()
    }
}

pub(super) fn mount(input: i64, dest: &str, output: i64) -> pb::Mount {
    pb::Mount {
        input,
        dest: dest.to_owned(),
        output,
        ..pb::Mount::default()
    }
}

/// A file op of one `mkdir`.
pub(super) fn mkdir(input: i64, secondary_input: i64, output: i64) -> pb::FileOp {
    pb::FileOp {
        actions: vec![pb::FileAction {
            input,
            secondary_input,
            output,
            action: Some(pb::file_action::Action::Mkdir(pb::FileActionMkDir {
                path: String::from("/a"),
                ..pb::FileActionMkDir::default()
            })),
        }],
    }
}

pub(super) fn merge(inputs: &[i64]) -> Kind {
    Kind::Merge(pb::MergeOp {
        inputs: inputs
            .iter()
            .map(|&input| pb::MergeInput { input })
            .collect(),
    })
}

pub(super) fn diff(lower: i64, upper: i64) -> Kind {
    Kind::Diff(pb::DiffOp {
        lower: Some(pb::LowerDiffInput { input: lower }),
        upper: Some(pb::UpperDiffInput { input: upper }),
    })
}
