use cooper_proto::pb;
use cooper_proto::pb::op::Op as Kind;

use prost::Message as _;

use super::definition::{Ops, diff, exec, input, merge, mkdir, mount, op, source};
use crate::cachekey::cache_map;
use crate::graph::{Graph, Limits};

#[test]
fn empty_definition_is_scratch() {
    let graph = Graph::load(&pb::Definition::default(), &Limits::default()).unwrap();
    assert!(graph.target.is_none());
    assert!(graph.vertices.is_empty());
}

#[test]
fn inputs_come_before_their_users_whatever_the_definitions_order() {
    let mut sorted = Ops::default();
    let base = sorted.source("base");
    let left = sorted.add(&op(&[&base], Kind::Exec(exec(&["left"], 0))));
    let right = sorted.add(&op(&[&base], Kind::Exec(exec(&["right"], 0))));
    let top = sorted.add(&op(&[&left, &right], merge(&[0, 1])));
    sorted.definition.def.reverse();
    let graph = sorted.load(&top, 0).unwrap();
    let names: Vec<_> = graph
        .vertices
        .values()
        .map(|vertex| vertex.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "docker-image://base",
            "right",
            "left",
            "merge (left, right)"
        ]
    );
    assert_eq!(graph.target.unwrap().vertex.as_str(), top);
}

#[test]
fn names_are_made_as_buildkit_makes_them() {
    let mut ops = Ops::default();
    let base = ops.source("base");
    let made = ops.add(&op(&[&base], Kind::File(mkdir(0, -1, 0))));
    let cut = ops.add(&op(&[&made], diff(-1, 0)));
    let top = ops.add(&op(&[&cut], Kind::Exec(exec(&["make", "all"], 0))));
    let metadata = pb::OpMetadata {
        description: [(
            String::from("llb.customname"),
            String::from("[1/1] RUN make"),
        )]
        .into(),
        ..pb::OpMetadata::default()
    };
    ops.definition.metadata.insert(top.clone(), metadata);
    let graph = ops.load(&top, 0).unwrap();
    let names: Vec<_> = graph
        .vertices
        .values()
        .map(|vertex| vertex.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "docker-image://base",
            "mkdir /a",
            "diff scratch -> (mkdir /a)",
            "[1/1] RUN make"
        ]
    );
}

#[test]
fn metadata_reaches_the_vertex() {
    let mut ops = Ops::default();
    let base = ops.source("base");
    let top = ops.add(&op(&[&base], Kind::Exec(exec(&["make"], 0))));
    let metadata = pb::OpMetadata {
        ignore_cache: true,
        export_cache: Some(pb::ExportCache { value: false }),
        caps: [(String::from("exec.meta.base"), true)].into(),
        linux_resources: Some(pb::LinuxResources {
            memory: 7,
            ..pb::LinuxResources::default()
        }),
        ..pb::OpMetadata::default()
    };
    ops.definition.metadata.insert(base, metadata.clone());
    ops.definition.metadata.insert(top.clone(), metadata);
    let position = |line, character| Some(pb::Position { line, character });
    ops.definition.source = Some(pb::Source {
        locations: [(
            top.clone(),
            pb::Locations {
                locations: vec![pb::Location {
                    source_index: 0,
                    ranges: vec![pb::Range {
                        start: position(3, 0),
                        end: position(4, 9),
                    }],
                }],
            },
        )]
        .into(),
        infos: vec![pb::SourceInfo {
            filename: String::from("Dockerfile"),
            data: b"FROM base\n".to_vec(),
            ..pb::SourceInfo::default()
        }],
    });
    let graph = ops.load(&top, 0).unwrap();
    let vertices: Vec<_> = graph.vertices.values().collect();
    assert!(vertices[0].resources.is_none(), "a source runs nothing");
    let vertex = vertices[1];
    assert!(vertex.ignore_cache);
    assert_eq!(vertex.export_cache, Some(false));
    assert_eq!(vertex.resources.as_ref().unwrap().memory, 7);
    assert_eq!(vertex.locations[0].file.name, "Dockerfile");
    assert_eq!(vertex.locations[0].ranges[0].end_line, 4);
}

#[test]
fn outputs_of_mounts_without_state_do_not_count() {
    let mut ops = Ops::default();
    let base = ops.source("base");
    let mut run = exec(&["make"], 0);
    run.mounts.push(pb::Mount {
        mount_type: pb::MountType::Secret.into(),
        secret_opt: Some(pb::SecretOpt::default()),
        ..mount(-1, "/secret", 0)
    });
    run.mounts.push(mount(0, "/data", 1));
    let top = ops.add(&op(&[&base], Kind::Exec(run)));
    let graph = ops.load(&top, 1).unwrap();
    assert_eq!(graph.vertices.values().last().unwrap().outputs, 2);
}

#[test]
fn one_op_may_use_an_input_twice() {
    let mut ops = Ops::default();
    let base = ops.source("base");
    let top = ops.add(&pb::Op {
        inputs: vec![input(&base, 0), input(&base, 0)],
        op: Some(merge(&[0, 1])),
        ..pb::Op::default()
    });
    assert_eq!(ops.load(&top, 0).unwrap().vertices.len(), 2);
}

#[test]
fn drawing_names_every_vertex_and_arrow() {
    let mut ops = Ops::default();
    let base = ops.source("base");
    let top = ops.add(&op(&[&base], Kind::Exec(exec(&["say", "\"hi\""], 0))));
    let dot = ops.load(&top, 0).unwrap().dot();
    assert!(dot.contains("docker-image://base"), "{dot}");
    assert!(dot.contains("0 -> 1"), "{dot}");
    assert!(dot.contains("say \\\"hi\\\""), "{dot}");
}

#[test]
fn a_source_needs_a_scheme() {
    let mut ops = Ops::default();
    let top = ops.add(&op(
        &[],
        Kind::Source(pb::SourceOp {
            identifier: String::from("busybox"),
            ..pb::SourceOp::default()
        }),
    ));
    assert!(ops.load(&top, 0).is_err());
    let mut ops = Ops::default();
    let top = ops.add(&op(&[], source("busybox")));
    assert!(ops.load(&top, 0).is_ok());
}

/// `client_definitions.tsv` holds a name and the bytes of a definition, in hexadecimal, as BuildKit's Go client writes
/// them for states with every kind of op and mount.
#[test]
fn definitions_of_buildkits_client_load() {
    let table = include_str!("client_definitions.tsv");
    for line in table.lines() {
        let (name, hex) = line.split_once('\t').unwrap();
        let digits = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<u8> = digits
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect();
        let definition = pb::Definition::decode(bytes.as_slice()).unwrap();
        let graph = Graph::load(&definition, &Limits::default());
        let graph = graph.unwrap_or_else(|error| panic!("{name}: {error}"));
        for vertex in graph.vertices.values() {
            let is_source = matches!(vertex.op.op, Some(Kind::Source(_)));
            let map = cache_map(vertex, &cooper_proto::platform::host());
            assert!(is_source || map.is_ok(), "{name}: {map:?}");
        }
        assert_eq!(graph.target.is_none(), name == "scratch");
    }
    assert!(table.lines().count() > 15);
}
