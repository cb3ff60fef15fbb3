use std::sync::Arc;

use super::bench::{Bench, Drawing, NESTING};
use crate::graph::Graph;
use crate::model::{Edge, FailureKind, ResultId};
use crate::ports::OpOutcome;

/// A graph of build ops, each on a source of its own, the last one wanted.
fn builds(names: &[&str]) -> (Arc<Graph>, Edge) {
    let mut drawing = Drawing::default();
    let mut last = None;
    for name in names {
        let file = drawing.source(&format!("file of {name}"));
        last = Some(drawing.build(name, name, &file));
    }
    (drawing.graph(), last.expect("one at least"))
}

/// A build op alone, whose source has the contents that it is wanted to have.
fn build(name: &str, file: &str, source: &str) -> (Arc<Graph>, Edge) {
    let mut drawing = Drawing::default();
    let source = drawing.source(source);
    let top = drawing.build(name, file, &source);
    (drawing.graph(), top)
}

fn step(name: &str) -> (Arc<Graph>, Edge) {
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let top = drawing.run(name, "", &base);
    (drawing.graph(), top)
}

/// Lets the source of a build op be there, so that the build op runs.
fn begin(bench: &mut Bench, name: &str) {
    bench.succeed(&format!("file of {name}"));
    assert!(bench.running.contains_key(name), "{name}");
}

fn refusal(bench: &Bench, request: u64) -> &str {
    let failure = bench.answers[&request].as_ref().expect_err("a refusal");
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    &failure.message
}

#[test]
fn a_nested_graph_runs_while_the_op_that_asked_waits() {
    let mut bench = Bench::default();
    let (graph, top) = builds(&["outer"]);
    let asked = bench.want("a", &graph, &top);
    begin(&mut bench, "outer");
    let (inner, edge) = step("inner");
    let nested = bench.nest("a", "outer", &inner, &edge);
    bench.succeed("base");
    bench.succeed("inner");
    assert_eq!(bench.answers[&nested], Ok(ResultId("inner.0".into())));
    assert!(!bench.answers.contains_key(&asked));
    bench.succeed_with("outer", vec![ResultId("inner.0".into())]);
    assert_eq!(bench.answers[&asked], Ok(ResultId("inner.0".into())));
    bench.close("a");
    assert!(bench.scheduler.is_empty());
    assert_eq!(bench.pinned(), [""; 0]);
}

#[test]
fn a_definition_that_needs_the_op_that_reads_it_is_refused() {
    let mut bench = Bench::default();
    let (graph, top) = builds(&["outer"]);
    bench.want("a", &graph, &top);
    begin(&mut bench, "outer");
    let nested = bench.nest("a", "outer", &graph, &top);
    let told = refusal(&bench, nested);
    assert!(told.contains("needs the build op that reads it"), "{told}");
}

#[test]
fn definitions_that_need_each_other_are_refused_whoever_asked_first() {
    let mut bench = Bench::default();
    let (graph, both) = builds(&["one", "other"]);
    let one = graph
        .vertices
        .values()
        .find(|vertex| vertex.name == "one")
        .map(|vertex| Edge {
            vertex: vertex.digest.clone(),
            output: 0,
        })
        .expect("it was drawn");
    bench.want("a", &graph, &one);
    bench.want("b", &graph, &both);
    begin(&mut bench, "one");
    begin(&mut bench, "other");
    let first = bench.nest("a", "one", &graph, &both);
    assert!(!bench.answers.contains_key(&first));
    let second = bench.nest("b", "other", &graph, &one);
    let told = refusal(&bench, second);
    assert!(told.contains("needs the build op"), "{told}");
}

#[test]
fn an_op_that_waits_for_a_nested_one_does_not_run_for_it() {
    let mut bench = Bench::default();
    let (graph, top) = build("outer", "same", "src");
    bench.want("a", &graph, &top);
    bench.succeed("src");
    // The same work by its key, in the graph that it asks for.
    let (again, edge) = build("again", "same", "src");
    let nested = bench.nest("a", "outer", &again, &edge);
    assert!(bench.running.contains_key("again"), "{:?}", bench.begun);
    let closed = bench.nest("a", "again", &again, &edge);
    refusal(&bench, closed);
    bench.end(
        "again",
        OpOutcome::Failed(bench.answers[&closed].clone().expect_err("refused")),
    );
    refusal(&bench, nested);
}

#[test]
fn an_op_that_another_runs_for_is_not_waited_for_by_that_one() {
    let mut bench = Bench::default();
    let (graph, top) = build("outer", "same", "src");
    bench.want("a", &graph, &top);
    bench.succeed("src");
    let (again, edge) = build("again", "same", "src");
    bench.want("b", &again, &edge);
    assert!(!bench.running.contains_key("again"), "{:?}", bench.begun);
    let nested = bench.nest("a", "outer", &again, &edge);
    refusal(&bench, nested);
}

#[test]
fn definitions_nest_as_deep_as_the_limit_and_no_deeper() {
    let mut bench = Bench::default();
    let names: Vec<String> = (0..=NESTING + 1).map(|level| level.to_string()).collect();
    let (graph, top) = builds(&[&names[0]]);
    bench.want("a", &graph, &top);
    begin(&mut bench, "0");
    for level in 1..=NESTING {
        let (graph, top) = builds(&[&names[level]]);
        let nested = bench.nest("a", &names[level - 1], &graph, &top);
        assert!(!bench.answers.contains_key(&nested), "level {level}");
        begin(&mut bench, &names[level]);
    }
    let (graph, top) = step("too deep");
    let nested = bench.nest("a", &names[NESTING], &graph, &top);
    let told = refusal(&bench, nested);
    assert_eq!(told, "definitions in files are nested more than 3 deep");
    // Who asks for the same op itself is not at that depth.
    let (graph, top) = builds(&[&names[NESTING]]);
    bench.want("b", &graph, &top);
    let (graph, top) = step("not too deep");
    let nested = bench.nest("b", &names[NESTING], &graph, &top);
    assert!(!bench.answers.contains_key(&nested));
}

#[test]
fn who_asks_within_an_op_that_is_over_gets_nothing() {
    let mut bench = Bench::default();
    let (graph, top) = builds(&["outer"]);
    bench.want("a", &graph, &top);
    begin(&mut bench, "outer");
    let task = bench.running["outer"];
    bench.fail("outer");
    bench.running.insert("outer".into(), task);
    let (inner, edge) = step("inner");
    let nested = bench.nest("a", "outer", &inner, &edge);
    let failure = bench.answers[&nested].as_ref().expect_err("it is over");
    assert_eq!(failure.kind, FailureKind::Cancelled);
    assert!(!bench.begun.contains(&"inner".to_owned()));
}

#[test]
fn a_build_that_leaves_takes_its_nested_question_along_and_the_op_runs_again_for_others() {
    let mut bench = Bench::default();
    let (graph, top) = builds(&["outer"]);
    bench.want("a", &graph, &top);
    let other = bench.want("b", &graph, &top);
    begin(&mut bench, "outer");
    let (inner, edge) = step("inner");
    let nested = bench.nest("a", "outer", &inner, &edge);
    bench.succeed("base");
    bench.close("a");
    assert!(bench.answers[&nested].is_err());
    assert_eq!(bench.stopped, ["inner"]);
    bench.end("inner", OpOutcome::Cancelled);
    bench.end("outer", OpOutcome::Cancelled);
    assert!(bench.running.contains_key("outer"), "{:?}", bench.begun);
    let nested = bench.nest("b", "outer", &inner, &edge);
    bench.succeed_all();
    assert!(bench.answers[&nested].is_ok());
    assert!(bench.answers[&other].is_ok());
}
