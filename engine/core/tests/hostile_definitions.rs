//! Whatever a definition holds, loading it ends with a graph whose indexes are all sound, or with an error.

use cooper_core::cachekey::{KeyError, cache_map};
use cooper_core::graph::{Graph, Limits};
use cooper_proto::pb::file_action::Action;
use cooper_proto::pb::op::Op as Kind;
use cooper_proto::{Digest, pb, platform};
use proptest::prelude::*;
use prost::Message as _;

/// Mostly a number that is right nearly everywhere, else one near the edges of what is allowed or far outside.
fn index(usual: i64) -> impl Strategy<Value = i64> {
    let far = vec![
        i64::MIN,
        i64::MAX,
        i64::from(i32::MIN),
        i64::from(u32::MAX) + 1,
    ];
    prop_oneof![60 => Just(usual), 4 => -1..3_i64, 1 => -3..9_i64, 1 => prop::sample::select(far)]
}

fn number() -> impl Strategy<Value = i32> {
    prop_oneof![60 => Just(0), 4 => 0..3_i32, 1 => any::<i32>()]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            "/",
            "/a",
            "/a/../..",
            "a//b",
            "*",
            "docker-image://x",
            "://"
        ])
        .prop_map(String::from),
        "\\PC{0,6}",
    ]
}

fn mount(root: bool) -> impl Strategy<Value = pb::Mount> {
    let opts = (any::<bool>(), any::<bool>(), any::<bool>(), number());
    let output = index(if root { 0 } else { -1 });
    let dest = if root { "/" } else { "/m" };
    (index(0), text(), output, number(), number(), opts).prop_map(
        move |(
            input,
            selector,
            output,
            mount_type,
            content_cache,
            (cache, secret, ssh, sharing),
        )| pb::Mount {
            input,
            dest: dest.to_owned(),
            selector,
            output,
            mount_type,
            content_cache,
            cache_opt: cache.then(|| pb::CacheOpt {
                sharing,
                ..pb::CacheOpt::default()
            }),
            secret_opt: secret.then(pb::SecretOpt::default),
            ssh_opt: ssh.then(pb::SshOpt::default),
            ..pb::Mount::default()
        },
    )
}

fn owner() -> impl Strategy<Value = Option<pb::ChownOpt>> {
    let user = (text(), index(0)).prop_map(|(name, input)| pb::UserOpt {
        user: Some(pb::user_opt::User::ByName(pb::NamedUserOpt { name, input })),
    });
    prop::option::of(prop::option::of(user).prop_map(|user| pb::ChownOpt {
        group: user.clone(),
        user,
    }))
}

fn action() -> impl Strategy<Value = pb::FileAction> {
    let what =
        (prop_oneof![9 => 0..5, 1 => 0..6], text(), owner()).prop_map(|(kind, path, owner)| {
            match kind {
                0 => Some(Action::Mkdir(pb::FileActionMkDir {
                    path,
                    owner,
                    ..Default::default()
                })),
                1 => Some(Action::Mkfile(pb::FileActionMkFile {
                    path,
                    owner,
                    ..Default::default()
                })),
                2 => Some(Action::Rm(pb::FileActionRm {
                    path,
                    ..Default::default()
                })),
                3 => Some(Action::Symlink(pb::FileActionSymlink {
                    newpath: path,
                    owner,
                    ..Default::default()
                })),
                4 => Some(Action::Copy(pb::FileActionCopy {
                    src: path,
                    owner,
                    allow_wildcard: true,
                    ..Default::default()
                })),
                _ => None,
            }
        });
    (index(0), index(-1), index(0), what).prop_map(|(input, secondary_input, output, action)| {
        pb::FileAction {
            input,
            secondary_input,
            output,
            action,
        }
    })
}

fn exec() -> impl Strategy<Value = Kind> {
    let args = prop_oneof![19 => Just(vec![String::from("make")]), 1 => prop::collection::vec(text(), 0..2)];
    let mounts = (
        prop::option::weighted(0.95, mount(true)),
        prop::collection::vec(mount(false), 0..3),
    );
    (
        prop::option::weighted(0.95, args),
        mounts,
        number(),
        number(),
    )
        .prop_map(|(args, (root, mounts), network, security)| {
            let mounts = root.into_iter().chain(mounts).collect();
            Kind::Exec(pb::ExecOp {
                meta: args.map(|args| pb::Meta {
                    args,
                    ..pb::Meta::default()
                }),
                mounts,
                network,
                security,
                ..pb::ExecOp::default()
            })
        })
}

fn kind() -> impl Strategy<Value = Option<Kind>> {
    let identifier = prop_oneof![19 => Just(String::from("docker-image://x")), 1 => text()];
    prop_oneof![
        4 => identifier.prop_map(|identifier| Some(Kind::Source(pb::SourceOp { identifier, ..Default::default() }))),
        4 => exec().prop_map(Some),
        4 => prop::collection::vec(action(), 0..2).prop_map(|actions| Some(Kind::File(pb::FileOp { actions }))),
        2 => prop_oneof![9 => Just(vec![0]), 1 => prop::collection::vec(index(0), 0..3)].prop_map(|inputs| {
            let inputs = inputs.into_iter().map(|input| pb::MergeInput { input });
            Some(Kind::Merge(pb::MergeOp { inputs: inputs.collect() }))
        }),
        2 => (prop::option::weighted(0.95, index(-1)), prop::option::weighted(0.95, index(0))).prop_map(|(lower, upper)| {
            Some(Kind::Diff(pb::DiffOp {
                lower: lower.map(|input| pb::LowerDiffInput { input }),
                upper: upper.map(|input| pb::UpperDiffInput { input }),
            }))
        }),
        1 => (index(-1), index(0), prop::bool::weighted(0.1)).prop_map(|(builder, input, inline)| {
            Some(Kind::Build(pb::BuildOp {
                builder,
                inputs: [(String::from("buildkit.llb.definition"), pb::BuildInput { input })].into(),
                def: inline.then(pb::Definition::default),
                ..pb::BuildOp::default()
            }))
        }),
        1 => (text(), prop::collection::vec(index(0), 0..3))
            .prop_map(|(id, outputs)| Some(Kind::Passthrough(pb::PassthroughOp { id, outputs }))),
        1 => prop::sample::select(vec![None, Some(Kind::Merge(pb::MergeOp::default()))]),
    ]
}

/// How an op's inputs name others: mostly one before it, at times what is not there or is no digest.
#[derive(Debug, Clone)]
enum Named {
    Before(usize),
    Text(String),
}

fn named() -> impl Strategy<Value = (Named, i64)> {
    let name = prop_oneof![
        60 => (0..4_usize).prop_map(Named::Before),
        1 => text().prop_map(Named::Text),
    ];
    (name, index(0))
}

type Sketch = (Vec<(Named, i64)>, Option<Kind>, bool);

fn definition() -> impl Strategy<Value = pb::Definition> {
    let inputs = prop_oneof![9 => prop::collection::vec(named(), 1), 1 => prop::collection::vec(named(), 0..3)];
    let op = (inputs, kind(), any::<bool>());
    (
        prop::collection::vec(op, 1..7),
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 0..12),
    )
        .prop_map(|(sketches, terminal, noise)| write(sketches, terminal, noise))
}

fn write(sketches: Vec<Sketch>, terminal: bool, noise: Vec<u8>) -> pb::Definition {
    let mut definition = pb::Definition::default();
    let mut digests: Vec<String> = Vec::new();
    let base = (
        Vec::new(),
        Some(Kind::Source(pb::SourceOp {
            identifier: String::from("docker-image://base"),
            ..Default::default()
        })),
        true,
    );
    for (mut inputs, kind, capable) in std::iter::once(base).chain(sketches) {
        if capable && matches!(kind, Some(Kind::Source(_))) {
            inputs.clear();
        }
        let inputs = inputs.into_iter().map(|(named, index)| pb::Input {
            digest: match named {
                Named::Before(back) => digests[digests.len().saturating_sub(back + 1)].clone(),
                Named::Text(text) => text,
            },
            index,
        });
        let op = pb::Op {
            inputs: inputs.collect(),
            op: kind,
            ..pb::Op::default()
        };
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256_of(&bytes).as_str().to_owned();
        if !capable {
            let caps = [(String::from("exec.meta.base"), true)].into();
            let metadata = pb::OpMetadata {
                caps,
                ..pb::OpMetadata::default()
            };
            definition.metadata.insert(digest.clone(), metadata);
        }
        definition.def.push(bytes);
        digests.push(digest);
    }
    if terminal {
        let input = pb::Input {
            digest: digests[digests.len() - 1].clone(),
            index: 0,
        };
        definition.def.push(
            pb::Op {
                inputs: vec![input],
                ..pb::Op::default()
            }
            .encode_to_vec(),
        );
    } else {
        definition.def.push(noise);
    }
    definition
}

/// All that code behind the check relies on.
fn is_sound(graph: &Graph) {
    for (at, (digest, vertex)) in graph.vertices.iter().enumerate() {
        assert_eq!(*digest, vertex.digest);
        assert_eq!(vertex.inputs.len(), vertex.op.inputs.len());
        for input in &vertex.inputs {
            let (before, _, of) = graph
                .vertices
                .get_full(&input.vertex)
                .expect("an input is in the graph");
            assert!(before < at, "inputs come first");
            assert!(input.output < of.outputs);
        }
        let is_source = matches!(vertex.op.op, Some(Kind::Source(_)));
        match cache_map(vertex, &platform::host()) {
            Ok(map) => assert_eq!(map.inputs.len(), vertex.inputs.len()),
            Err(error) => {
                assert!(is_source || matches!(error, KeyError::UnsafeContentCache { .. }))
            }
        }
    }
    if let Some(target) = &graph.target {
        assert!(target.output < graph.vertices[&target.vertex].outputs);
    }
    assert!(!graph.dot().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loading_is_total_and_what_it_gives_is_sound(definition in definition()) {
        if let Ok(graph) = Graph::load(&definition, &Limits::default()) {
            is_sound(&graph);
        }
    }

    #[test]
    fn loading_any_bytes_is_total(def in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5)) {
        let definition = pb::Definition { def, ..pb::Definition::default() };
        if let Ok(graph) = Graph::load(&definition, &Limits::default()) {
            is_sound(&graph);
        }
    }
}

#[test]
fn many_of_the_random_definitions_are_sound() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let loads = |_: &u32| {
        let tree = definition()
            .new_tree(&mut runner)
            .expect("the strategy rejects nothing");
        Graph::load(&tree.current(), &Limits::default()).is_ok()
    };
    let loaded = (0..2_000).filter(loads).count();
    assert!(
        (20..1_900).contains(&loaded),
        "{loaded} of 2000 load: the test sees one side only"
    );
}
