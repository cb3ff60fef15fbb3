//! T-E1: large definitions are loaded or refused in bounded time, on a small stack.

use cooper_proto::Digest;
use cooper_proto::pb;
use cooper_proto::pb::op::Op as Kind;

use super::definition::{Ops, exec, input, merge, op};
use crate::graph::order::order;
use crate::graph::{Graph, GraphError, Limits};

/// Runs on a stack of 128 KiB, where recursion over a large graph could not hide.
fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    thread.spawn(work).unwrap().join().unwrap()
}

/// An op of few bytes on `base`.
fn small(base: &str) -> pb::Op {
    op(&[base], Kind::Exec(exec(&["x"], 0)))
}

#[test]
fn chain_of_a_million_ops_is_refused_by_its_count() {
    on_a_small_stack(|| {
        let mut ops = Ops::default();
        let base = ops.source("base");
        ops.definition.def.resize(1_000_000, vec![1]);
        assert!(matches!(
            ops.load(&base, 0),
            Err(GraphError::TooMany { what: "ops", .. })
        ));
    });
}

#[test]
fn chain_of_a_million_ops_is_ordered_on_a_small_stack() {
    on_a_small_stack(|| {
        let chain: Vec<Vec<usize>> = (0..1_000_000_usize)
            .map(|op| op.checked_sub(1).into_iter().collect())
            .collect();
        let ordered = order(&chain, usize::MAX).ok().unwrap();
        assert!(ordered.iter().copied().eq(0..1_000_000));
        assert!(order(&chain, 1_000).is_err());
    });
}

#[test]
fn long_chain_within_limits_loads_and_drops_on_a_small_stack() {
    on_a_small_stack(|| {
        let mut ops = Ops::default();
        let mut top = ops.source("base");
        for _ in 0..20_000 {
            top = ops.add(&small(&top));
        }
        let graph = ops.load(&top, 0).unwrap();
        assert_eq!(graph.vertices.len(), 20_001);
        drop(graph);
    });
}

#[test]
fn chain_deeper_than_the_limit_is_refused() {
    let mut ops = Ops::default();
    let mut top = ops.source("base");
    for _ in 0..20 {
        top = ops.add(&small(&top));
    }
    ops.end(&top, 0);
    let limits = Limits {
        depth: 20,
        ..Limits::default()
    };
    assert!(matches!(
        Graph::load(&ops.definition, &limits),
        Err(GraphError::TooMany {
            what: "ops on one way",
            ..
        })
    ));
}

#[test]
fn fan_in_of_a_hundred_thousand_is_refused() {
    let mut ops = Ops::default();
    let base = ops.source("base");
    let top = ops.add(&pb::Op {
        inputs: vec![input(&base, 0); 100_000],
        op: Some(Kind::Exec(exec(&["x"], 0))),
        ..pb::Op::default()
    });
    assert!(matches!(ops.load(&top, 0), Err(GraphError::Op { .. })));
}

#[test]
fn diamond_of_a_million_edges_is_refused_by_its_size() {
    on_a_small_stack(|| {
        let mut ops = Ops::default();
        let mut level = vec![ops.source("base"); 1_024];
        let all: Vec<i64> = (0..1_024).collect();
        for _ in 0..1_024 {
            let inputs: Vec<&str> = level.iter().map(String::as_str).collect();
            let top = ops.add(&op(&inputs, merge(&all)));
            level = vec![top; 1_024];
        }
        let top = level.swap_remove(0);
        assert!(matches!(
            ops.load(&top, 0),
            Err(GraphError::TooMany { what: "bytes", .. })
        ));
    });
}

#[test]
fn diamonds_on_diamonds_keep_their_names_short() {
    let mut ops = Ops::default();
    let mut top = ops.source("base");
    for _ in 0..60 {
        top = ops.add(&op(&[&top, &top], merge(&[0, 1])));
    }
    let graph = ops.load(&top, 0).unwrap();
    let longest = graph
        .vertices
        .values()
        .map(|vertex| vertex.name.len())
        .max();
    assert_eq!(longest, Some(Limits::default().name_bytes));
}

#[test]
fn circle_is_refused() {
    // No digest can be found that makes a circle of real ops, so the order is asked by itself.
    assert!(order(&[vec![1], vec![0]], 10).is_err());
    assert!(order(&[vec![0]], 10).is_err());
}

// T-C18
#[test]
fn message_over_16_mib_is_refused_before_it_is_decoded() {
    let mut ops = Ops::default();
    let base = ops.source("base");
    ops.definition.def.insert(0, vec![0xff; (16 << 20) + 1]);
    assert!(matches!(
        ops.load(&base, 0),
        Err(GraphError::TooMany { what: "bytes", .. })
    ));
}

#[test]
fn source_that_names_itself_cannot_be_written() {
    let own = Digest::sha256_of(b"a guess");
    let mut ops = Ops::default();
    let top = ops.add(&small(own.as_str()));
    assert!(ops.load(&top, 0).is_err());
}
