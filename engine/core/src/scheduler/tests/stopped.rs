use std::sync::Arc;

use super::bench::{Bench, Drawing};
use crate::graph::Graph;
use crate::model::{Edge, Failure, FailureKind, ResultId};
use crate::ports::OpOutcome;
use crate::scheduler::Report;

#[test]
fn what_nobody_wants_is_stopped_and_its_pins_go() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let top = drawing.run("make", "", &base);
    let graph = drawing.graph();
    let request = bench.want("a", &graph, &top);
    bench.succeed("base");
    bench.abandon(request);
    let failure = bench.answers[&request].clone().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Cancelled);
    assert_eq!(bench.stopped, ["make"]);
    assert_eq!(bench.told("a", "make").last(), Some(&&Report::Cancelled));
    bench.close("a");
    assert_eq!(
        bench.pinned(),
        ["base.0"],
        "the run that is stopping still uses it"
    );
    bench.end("make", OpOutcome::Cancelled);
    assert!(bench.pinned().is_empty());
    assert!(bench.scheduler.is_empty());
}

#[test]
fn what_another_job_wants_is_not_stopped() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let graph = drawing.graph();
    let gives_up = bench.want("a", &graph, &base);
    let stays = bench.want("b", &graph, &base);
    bench.abandon(gives_up);
    bench.close("a");
    assert!(bench.stopped.is_empty());
    bench.succeed("base");
    assert!(bench.answers[&stays].is_ok());
}

#[test]
fn what_is_wanted_again_while_it_stops_runs_again() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let graph = drawing.graph();
    let first = bench.want("a", &graph, &base);
    bench.abandon(first);
    let second = bench.want("a", &graph, &base);
    assert_eq!(bench.begun, ["base"], "it has not come to its end yet");
    bench.end("base", OpOutcome::Cancelled);
    assert_eq!(bench.begun, ["base", "base"]);
    bench.succeed("base");
    assert!(bench.answers[&second].is_ok());
}

#[test]
fn what_ends_well_though_stopped_is_taken() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let graph = drawing.graph();
    let first = bench.want("a", &graph, &base);
    bench.close("a");
    assert!(bench.answers[&first].is_err());
    let second = bench.want("b", &graph, &base);
    bench.succeed("base");
    assert!(bench.answers[&second].is_ok());
    assert_eq!(bench.begun, ["base"]);
}

/// A chain of 3,000 runs on a base.
fn long_chain() -> (Arc<Graph>, Edge) {
    let mut drawing = Drawing::default();
    let mut top = drawing.source("base");
    for step in 0..3_000 {
        top = drawing.run(&format!("step {step:04}"), "", &top);
    }
    (drawing.graph(), top)
}

/// Runs on a stack of 256 KiB, where recursion over a long graph could not hide.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(256 << 10);
    thread.spawn(work).unwrap().join().unwrap();
}

#[test]
fn stopping_of_a_chain_stops_what_runs_below() {
    on_a_small_stack(|| {
        let mut bench = Bench::default();
        let (graph, top) = long_chain();
        let request = bench.want("a", &graph, &top);
        assert_eq!(bench.begun, ["base"]);
        bench.abandon(request);
        assert_eq!(bench.stopped, ["base"]);
    });
}

#[test]
fn failure_below_a_long_chain_reaches_its_top() {
    on_a_small_stack(|| {
        let mut bench = Bench::default();
        let (graph, top) = long_chain();
        let request = bench.want("a", &graph, &top);
        bench.fail("base");
        assert_eq!(
            bench.answers[&request].clone().unwrap_err().message,
            "base failed"
        );
        bench.close("a");
        assert!(bench.scheduler.is_empty());
    });
}

#[test]
fn long_chain_is_built_found_again_and_let_go() {
    on_a_small_stack(|| {
        let mut bench = Bench::default();
        let (graph, top) = long_chain();
        let request = bench.want("a", &graph, &top);
        bench.succeed_all();
        assert!(bench.answers[&request].is_ok());
        bench.close("a");
        assert!(bench.scheduler.is_empty());
        let mut bench = Bench::after(bench);
        let again = bench.want("b", &graph, &top);
        assert_eq!(bench.answers[&again], Ok(ResultId("step 2999.0".into())));
        assert!(bench.begun.is_empty());
    });
}

#[test]
fn failure_with_a_session_that_left_is_tried_again_for_the_others() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let graph = drawing.graph();
    bench.want("a", &graph, &base);
    let stays = bench.want("b", &graph, &base);
    // The run began with a's session, as b was not there yet.
    bench.close("a");
    let lost = Failure::new(FailureKind::Infrastructure, "the session is gone");
    bench.end("base", OpOutcome::Fault(lost.clone()));
    assert_eq!(bench.begun, ["base", "base"]);
    bench.end("base", OpOutcome::Fault(lost.clone()));
    assert_eq!(
        bench.answers[&stays].clone().unwrap_err().message,
        lost.message
    );
}

#[test]
fn step_that_fails_by_itself_is_not_tried_again_for_who_stays() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let graph = drawing.graph();
    bench.want("a", &graph, &base);
    let stays = bench.want("b", &graph, &base);
    bench.close("a");
    bench.fail("base");
    assert!(bench.answers[&stays].is_err());
    assert_eq!(bench.begun, ["base"]);
}

#[test]
fn closing_twice_and_abandoning_late_change_nothing() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let graph = drawing.graph();
    let request = bench.want("a", &graph, &base);
    bench.succeed("base");
    bench.abandon(request);
    bench.close("a");
    bench.close("a");
    assert!(bench.scheduler.is_empty());
}

#[test]
fn edge_that_the_graph_does_not_have_is_an_internal_failure() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let mut base = drawing.source("base");
    let graph = drawing.graph();
    base.output = 1;
    let request = bench.want("a", &graph, &base);
    let failure = bench.answers[&request].clone().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Internal);
}
