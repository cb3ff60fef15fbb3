use cooper_proto::pb;
use cooper_proto::pb::file_action::Action;
use cooper_proto::pb::op::Op as Kind;

use super::definition::{Ops, diff, exec, input, merge, mkdir, mount, op, source};
use crate::graph::{Graph, GraphError, Limits, OpError};

/// What is wrong with an op that stands on two sources.
fn refused(kind: Kind) -> OpError {
    match loaded(kind) {
        Err(GraphError::Op { reason, .. }) => reason,
        other => panic!("expected a refused op, not {other:?}"),
    }
}

fn loaded(kind: Kind) -> Result<Graph, GraphError> {
    let mut ops = Ops::default();
    let (left, right) = (ops.source("left"), ops.source("right"));
    let top = ops.add(&op(&[&left, &right], kind));
    ops.load(&top, 0)
}

/// The vectors of T-A13 for an op with `n` inputs.
fn outside(n: i64) -> [i64; 5] {
    [-2, n, n + 1, i64::MIN, i64::MAX]
}

#[test]
fn index_outside_the_inputs_is_refused_for_each_kind_of_op() {
    for bad in outside(2) {
        let exec = |mount| {
            Kind::Exec(pb::ExecOp {
                mounts: vec![mount],
                ..exec(&["x"], 0)
            })
        };
        refused(exec(mount(bad, "/", 0)));
        refused(Kind::File(mkdir(bad, -1, 0)));
        refused(Kind::File(mkdir(0, bad, 0)));
        refused(merge(&[0, bad]));
        refused(diff(bad, 1));
        refused(diff(0, bad));
        refused(passthrough(&[0, bad]));
        refused(build(-1, bad));
        refused(build(bad, 0));
        refused(Kind::File(owned_by("root", bad)));
    }
}

#[test]
fn minus_one_means_no_input_only_where_the_wire_says_so() {
    refused(merge(&[0, -1]));
    refused(passthrough(&[-1]));
    refused(build(-1, -1));
    loaded(Kind::Exec(exec(&["x"], -1))).unwrap();
    loaded(Kind::File(mkdir(-1, -1, 0))).unwrap();
    loaded(Kind::File(owned_by("root", -1))).unwrap();
    loaded(build(-1, 1)).unwrap();
    let mut ops = Ops::default();
    let base = ops.source("base");
    let top = ops.add(&op(&[&base], diff(-1, 0)));
    ops.load(&top, 0).unwrap();
}

#[test]
fn output_numbers_with_gaps_or_repeats_are_refused() {
    for outputs in [
        vec![1],
        vec![0, 2],
        vec![0, 0],
        vec![i64::MAX],
        vec![-2],
        vec![i64::MIN],
    ] {
        let mounts = outputs.iter().map(|&output| mount(0, "/", output));
        refused(Kind::Exec(pb::ExecOp {
            mounts: mounts.collect(),
            ..exec(&["x"], 0)
        }));
        let actions = outputs
            .iter()
            .flat_map(|&output| mkdir(0, -1, output).actions);
        refused(Kind::File(pb::FileOp {
            actions: actions.collect(),
        }));
    }
}

#[test]
fn file_action_may_name_only_states_made_before_it() {
    let two = |first: i64, second: i64| {
        let mut file = mkdir(first, -1, -1);
        file.actions.extend(mkdir(second, -1, 0).actions);
        Kind::File(file)
    };
    loaded(two(0, 2)).unwrap();
    refused(two(0, 3));
    refused(two(2, 2));
    refused(two(3, 0));
}

#[test]
fn asking_for_an_output_that_is_not_there_is_refused() {
    for bad in [-1, 1, 2, i64::MIN, i64::MAX] {
        let mut ops = Ops::default();
        let base = ops.source("base");
        let top = ops.add(&pb::Op {
            inputs: vec![input(&base, bad)],
            op: Some(Kind::Exec(exec(&["x"], 0))),
            ..pb::Op::default()
        });
        assert!(matches!(
            ops.load(&top, 0),
            Err(GraphError::Op {
                reason: OpError::OutputIndex { .. },
                ..
            })
        ));
        let mut ops = Ops::default();
        let base = ops.source("base");
        assert!(ops.load(&base, bad).is_err());
    }
}

#[test]
fn diff_without_a_side_is_refused() {
    for diff in [
        pb::DiffOp {
            lower: None,
            upper: Some(pb::UpperDiffInput { input: 0 }),
        },
        pb::DiffOp {
            lower: Some(pb::LowerDiffInput { input: 0 }),
            upper: None,
        },
        pb::DiffOp::default(),
    ] {
        assert!(matches!(refused(Kind::Diff(diff)), OpError::Missing(_)));
    }
}

#[test]
fn diff_must_name_its_inputs_in_order() {
    refused(diff(1, 0));
    refused(diff(0, 0));
    refused(diff(-1, 0));
    refused(diff(-1, -1));
    loaded(diff(0, 1)).unwrap();
}

#[test]
fn missing_parts_are_refused() {
    let secret = |kind: pb::MountType| {
        let mut run = exec(&["x"], 0);
        run.mounts.push(pb::Mount {
            mount_type: kind.into(),
            ..mount(-1, "/m", -1)
        });
        Kind::Exec(run)
    };
    for kind in [
        Kind::Exec(pb::ExecOp::default()),
        Kind::Exec(exec(&[], 0)),
        Kind::Exec(pb::ExecOp {
            mounts: Vec::new(),
            ..exec(&["x"], 0)
        }),
        Kind::Exec(pb::ExecOp {
            mounts: vec![mount(0, "/a", 0)],
            ..exec(&["x"], 0)
        }),
        secret(pb::MountType::Secret),
        secret(pb::MountType::Ssh),
        secret(pb::MountType::Cache),
        Kind::File(pb::FileOp::default()),
        Kind::File(mkdir(0, -1, -1)),
        Kind::File(pb::FileOp {
            actions: vec![pb::FileAction {
                output: 0,
                ..pb::FileAction::default()
            }],
        }),
        Kind::Passthrough(pb::PassthroughOp {
            id: String::new(),
            outputs: vec![0],
        }),
        passthrough(&[]),
    ] {
        assert!(matches!(refused(kind), OpError::Missing(_)));
    }
    loaded(secret(pb::MountType::Tmpfs)).unwrap();
}

#[test]
fn unknown_enum_values_are_refused() {
    for bad in [-1, 9, i32::MAX, i32::MIN] {
        let with = |change: &dyn Fn(&mut pb::ExecOp)| {
            let mut run = exec(&["x"], 0);
            run.mounts.push(pb::Mount {
                mount_type: pb::MountType::Cache.into(),
                cache_opt: Some(pb::CacheOpt::default()),
                ..mount(-1, "/c", -1)
            });
            change(&mut run);
            assert!(matches!(
                refused(Kind::Exec(run)),
                OpError::UnknownValue { .. } | OpError::SecurityMode(_)
            ));
        };
        with(&|run| run.security = bad);
        with(&|run| run.network = bad);
        with(&|run| run.mounts[0].mount_type = bad);
        with(&|run| run.mounts[0].content_cache = bad);
        with(&|run| {
            run.mounts[1].cache_opt = Some(pb::CacheOpt {
                sharing: bad,
                ..pb::CacheOpt::default()
            })
        });
    }
    // The value that once disabled the sandbox (T-A10).
    let mut run = exec(&["x"], 0);
    run.security = 2;
    refused(Kind::Exec(run));
}

#[test]
fn root_must_be_a_bind_mount() {
    let mut run = exec(&["x"], -1);
    run.mounts[0].mount_type = pb::MountType::Tmpfs.into();
    refused(Kind::Exec(run));
}

#[test]
fn op_of_unknown_kind_is_refused() {
    let mut ops = Ops::default();
    let base = ops.source("base");
    // Field 9 is no kind of op that we know.
    let mut bytes = prost::Message::encode_to_vec(&pb::Op {
        inputs: vec![input(&base, 0)],
        ..pb::Op::default()
    });
    bytes.extend([9 << 3 | 2, 0]);
    let top = cooper_proto::Digest::sha256_of(&bytes);
    ops.definition.def.push(bytes);
    assert!(matches!(
        ops.load(top.as_str(), 0),
        Err(GraphError::Op {
            reason: OpError::UnknownKind,
            ..
        })
    ));
}

#[test]
fn unknown_required_capability_is_refused() {
    let mut ops = Ops::default();
    let base = ops.source("base");
    let metadata = pb::OpMetadata {
        caps: [(String::from("exec.teleport"), true)].into(),
        ..pb::OpMetadata::default()
    };
    ops.definition.metadata.insert(base.clone(), metadata);
    assert!(matches!(
        ops.load(&base, 0),
        Err(GraphError::Op {
            reason: OpError::UnknownCapability(_),
            ..
        })
    ));
}

#[test]
fn input_that_is_missing_or_no_digest_is_refused() {
    let absent = cooper_proto::Digest::sha256_of(b"absent");
    for name in [
        absent.as_str(),
        "",
        "sha256:abc",
        "md5:00",
        "..",
        "sha512:00",
    ] {
        let mut ops = Ops::default();
        let top = ops.add(&op(&[name], Kind::Exec(exec(&["x"], 0))));
        assert!(ops.load(&top, 0).is_err(), "{name}");
        let mut ops = Ops::default();
        ops.source("base");
        assert!(ops.load(name, 0).is_err(), "{name}");
    }
}

#[test]
fn op_listed_twice_is_refused() {
    let mut ops = Ops::default();
    let base = ops.source("base");
    ops.source("base");
    assert!(matches!(
        ops.load(&base, 0),
        Err(GraphError::Duplicate {
            first: 0,
            second: 1,
            ..
        })
    ));
}

#[test]
fn last_entry_must_be_terminal() {
    let mut ops = Ops::default();
    ops.source("base");
    assert!(matches!(
        Graph::load(&ops.definition, &Limits::default()),
        Err(GraphError::Terminal { .. })
    ));
    let mut ops = Ops::default();
    let base = ops.source("base");
    ops.add(&pb::Op {
        inputs: vec![input(&base, 0), input(&base, 0)],
        ..pb::Op::default()
    });
    assert!(matches!(
        Graph::load(&ops.definition, &Limits::default()),
        Err(GraphError::Terminal { .. })
    ));
    let mut alone = Ops::default();
    alone.definition.def.push(Vec::new());
    assert!(Graph::load(&alone.definition, &Limits::default()).is_err());
}

#[test]
fn bytes_that_are_no_op_are_refused() {
    let mut ops = Ops::default();
    let base = ops.source("base");
    ops.definition.def.insert(0, vec![0xff; 40]);
    assert!(matches!(
        ops.load(&base, 0),
        Err(GraphError::Undecodable { entry: 0, .. })
    ));
}

#[test]
fn source_map_that_points_nowhere_is_refused() {
    for (source_index, start) in [(1, Some(1)), (-1, Some(1)), (0, None), (0, Some(-1))] {
        let mut ops = Ops::default();
        let base = ops.source("base");
        let at = |line: i32| pb::Position { line, character: 0 };
        let location = pb::Location {
            source_index,
            ranges: vec![pb::Range {
                start: start.map(at),
                end: Some(at(1)),
            }],
        };
        let locations = pb::Locations {
            locations: vec![location],
        };
        ops.definition.source = Some(pb::Source {
            locations: [(base.clone(), locations)].into(),
            infos: vec![pb::SourceInfo::default()],
        });
        assert!(matches!(
            ops.load(&base, 0),
            Err(GraphError::SourceMap { .. })
        ));
    }
}

#[test]
fn source_with_an_input_is_refused() {
    refused(source("base"));
}

fn passthrough(outputs: &[i64]) -> Kind {
    Kind::Passthrough(pb::PassthroughOp {
        id: String::from("p"),
        outputs: outputs.to_vec(),
    })
}

fn build(builder: i64, input: i64) -> Kind {
    Kind::Build(pb::BuildOp {
        builder,
        inputs: [(
            String::from("buildkit.llb.definition"),
            pb::BuildInput { input },
        )]
        .into(),
        ..pb::BuildOp::default()
    })
}

fn owned_by(name: &str, input: i64) -> pb::FileOp {
    let mut file = mkdir(0, -1, 0);
    let user = pb::UserOpt {
        user: Some(pb::user_opt::User::ByName(pb::NamedUserOpt {
            name: name.to_owned(),
            input,
        })),
    };
    if let Some(Action::Mkdir(mkdir)) = &mut file.actions[0].action {
        mkdir.owner = Some(pb::ChownOpt {
            user: None,
            group: Some(user),
        });
    }
    file
}
