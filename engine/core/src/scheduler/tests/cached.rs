use std::sync::Arc;

use super::bench::{Bench, Drawing};
use crate::cachekey::MissReason;
use crate::graph::Graph;
use crate::model::{Edge, ResultId};
use crate::scheduler::Report;

/// A base, a session's directory copied onto it, and a run on that.
fn with_context(session: &str) -> (Arc<Graph>, Edge) {
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let context = drawing.source(&format!("session:{session}"));
    let copied = drawing.copy("copied", &base, &context);
    let top = drawing.run("make", "", &copied);
    (drawing.graph(), top)
}

fn chain() -> (Arc<Graph>, Edge) {
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let middle = drawing.run("middle", "", &base);
    let top = drawing.run("top", "", &middle);
    (drawing.graph(), top)
}

/// A world in which the graph was built by a job that is over.
fn built(graph: &Arc<Graph>, top: &Edge) -> Bench {
    let mut bench = Bench::default();
    bench.want("first", graph, top);
    bench.succeed_all();
    bench.close("first");
    assert!(bench.scheduler.is_empty());
    Bench::after(bench)
}

#[test]
fn inputs_are_not_built_when_the_output_is_cached() {
    let (graph, top) = chain();
    let mut bench = built(&graph, &top);
    bench
        .gone
        .extend(["base.0", "middle.0"].map(|name| ResultId(name.into())));
    let request = bench.want("second", &graph, &top);
    assert_eq!(bench.answers[&request], Ok(ResultId("top.0".into())));
    assert!(bench.begun.is_empty());
    assert_eq!(bench.pinned(), ["top.0"], "nothing else was even loaded");
}

#[test]
fn every_cached_step_is_told_to_be() {
    let (graph, top) = chain();
    let mut bench = built(&graph, &top);
    bench.want("second", &graph, &top);
    for name in ["base", "middle", "top"] {
        let cached = Report::Completed {
            cached: true,
            miss: None,
        };
        assert_eq!(bench.told("second", name).last(), Some(&&cached), "{name}");
    }
}

#[test]
fn result_that_is_gone_is_built_again() {
    let (graph, top) = chain();
    let mut bench = built(&graph, &top);
    bench.gone.insert(ResultId("top.0".into()));
    let request = bench.want("second", &graph, &top);
    assert_eq!(bench.begun, ["top"], "its input is cached");
    bench.succeed("top");
    assert!(bench.answers[&request].is_ok());
    let miss = Some(MissReason::ResultGone);
    let ran = Report::Completed {
        cached: false,
        miss,
    };
    assert_eq!(bench.told("second", "top").last(), Some(&&ran));
}

// One failing sync of the disk lost the records of results that were there: they could not be looked for, and were
// taken to be gone.
#[test]
fn result_that_cannot_be_looked_for_now_is_not_forgotten() {
    let (graph, top) = chain();
    let mut bench = built(&graph, &top);
    bench.broken = true;
    let request = bench.want("second", &graph, &top);
    bench.succeed_all();
    assert!(bench.answers[&request].is_ok(), "it is built instead");
    let told = bench.told("second", "top");
    let miss = Some(MissReason::StoreFailed);
    let ran = Report::Completed {
        cached: false,
        miss,
    };
    assert_eq!(told.last(), Some(&&ran));
    bench.close("second");
    let mut bench = Bench::after(bench);
    bench.want("third", &graph, &top);
    assert!(bench.begun.is_empty(), "the record is still there");
}

#[test]
fn build_is_told_of_a_result_that_cannot_be_recorded() {
    let (graph, top) = chain();
    let mut bench = Bench::default();
    bench.broken = true;
    let request = bench.want("first", &graph, &top);
    bench.succeed_all();
    assert!(bench.answers[&request].is_ok());
    let unrecorded = |report: &&&Report| matches!(report, Report::Unrecorded(_));
    // What stands on it has no key to be recorded under.
    for (name, times) in [("base", 1), ("middle", 0), ("top", 0)] {
        let told = bench.told("first", name);
        let heard = told.iter().filter(unrecorded).count();
        assert_eq!(heard, times, "{name}: {told:?}");
    }
}

#[test]
fn unchanged_content_of_another_session_is_a_hit() {
    let (graph, top) = with_context("one");
    let mut bench = built(&graph, &top);
    let context = ResultId("session:one.0".into());
    bench.contents.insert(context, String::from("unchanged"));
    let mut bench = {
        let (graph, top) = with_context("zero");
        bench
            .contents
            .insert(ResultId("session:zero.0".into()), String::from("unchanged"));
        bench.want("first", &graph, &top);
        bench.succeed_all();
        bench.close("first");
        Bench::after(bench)
    };
    let (graph, top) = with_context("two");
    bench
        .contents
        .insert(ResultId("session:two.0".into()), String::from("unchanged"));
    let request = bench.want("second", &graph, &top);
    assert_eq!(
        bench.begun,
        ["session:two"],
        "only the directory is fetched"
    );
    bench.succeed("session:two");
    assert!(bench.answers[&request].is_ok());
    assert_eq!(bench.begun, ["session:two"]);
    assert_eq!(bench.digested, [ResultId("session:two.0".into())]);
}

#[test]
fn changed_content_reruns_what_reads_it_and_says_why() {
    let (graph, top) = with_context("one");
    let mut bench = built(&graph, &top);
    let (graph, top) = with_context("two");
    bench.want("second", &graph, &top);
    bench.succeed_all();
    assert_eq!(bench.begun, ["session:two", "copied", "make"]);
    let miss = |name| match bench.told("second", name).last() {
        Some(Report::Completed { miss, .. }) => miss.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(miss("session:two"), Some(MissReason::NeverMatches));
    assert_eq!(miss("copied"), Some(MissReason::InputChanged { input: 1 }));
    assert_eq!(miss("make"), Some(MissReason::InputChanged { input: 0 }));
}

#[test]
fn contents_are_not_digested_when_fast_keys_match() {
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let other = drawing.source("other");
    let top = drawing.copy("copied", &base, &other);
    let graph = drawing.graph();
    let mut bench = built(&graph, &top);
    let request = bench.want("second", &graph, &top);
    assert!(bench.answers[&request].is_ok());
    assert!(bench.digested.is_empty());
    assert!(bench.begun.is_empty());
}

#[test]
fn content_that_moved_to_another_source_is_found_and_then_known() {
    let copy_from = |name: &str| {
        let mut drawing = Drawing::default();
        let base = drawing.source("base");
        let from = drawing.source(name);
        let top = drawing.copy("copied", &base, &from);
        (drawing.graph(), top)
    };
    let (graph, top) = copy_from("old");
    let mut bench = Bench::default();
    for name in ["old.0", "new.0"] {
        bench
            .contents
            .insert(ResultId(name.into()), String::from("same"));
    }
    bench.want("first", &graph, &top);
    bench.succeed_all();
    bench.close("first");
    let (graph, top) = copy_from("new");
    let mut bench = Bench::after(bench);
    bench.want("second", &graph, &top);
    bench.succeed_all();
    assert_eq!(bench.begun, ["new"]);
    bench.close("second");
    let mut bench = Bench::after(bench);
    bench.want("third", &graph, &top);
    assert!(bench.begun.is_empty(), "the link was learned");
    assert!(bench.digested.is_empty());
}

#[test]
fn new_op_does_not_wait_for_slow_keys() {
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let first = drawing.source("first");
    let second = drawing.source("second");
    let inner = drawing.copy("inner", &first, &second);
    let top = drawing.copy("top", &base, &inner);
    let graph = drawing.graph();
    let mut bench = Bench::default();
    bench.want("a", &graph, &top);
    let running: Vec<_> = bench.running.keys().cloned().collect();
    assert_eq!(
        running,
        ["base", "first", "second"],
        "all at once, as no key can match"
    );
}

#[test]
fn second_key_of_a_source_is_asked_for_only_when_the_first_does_not_match() {
    let build = |name: &str| {
        let mut drawing = Drawing::default();
        let base = drawing.source(name);
        let top = drawing.run("make", "", &base);
        (drawing.graph(), top)
    };
    let (graph, top) = build("image:one:chain");
    let bench = built(&graph, &top);
    let mut bench = Bench::after(bench);
    bench.want("second", &graph, &top);
    assert_eq!(bench.resolved, ["image:one:chain 0"]);
    bench.close("second");
    let (graph, top) = build("image:two:chain");
    let mut bench = Bench::after(bench);
    let request = bench.want("third", &graph, &top);
    assert_eq!(bench.resolved, ["image:two:chain 0", "image:two:chain 1"]);
    assert!(
        bench.answers[&request].is_ok(),
        "the same layers by another name"
    );
    assert!(bench.begun.is_empty());
}

#[test]
fn ignoring_the_cache_runs_again_and_saves() {
    let build = |ignore: bool| {
        let mut drawing = Drawing::default();
        let base = drawing.source("base");
        let top = drawing.changed_run("make", "", &base, 1, |vertex| vertex.ignore_cache = ignore);
        (drawing.graph(), top)
    };
    let (graph, top) = build(false);
    let mut bench = built(&graph, &top);
    let (ignoring, top) = build(true);
    bench.want("second", &ignoring, &top);
    assert_eq!(bench.begun, ["make"]);
    bench.succeed_with("make", vec![ResultId("make anew".into())]);
    let reason = Some(MissReason::IgnoreCache);
    assert!(matches!(
        bench.told("second", "make").last(),
        Some(Report::Completed { cached: false, miss }) if *miss == reason
    ));
    bench.close("second");
    let mut bench = Bench::after(bench);
    let request = bench.want("third", &graph, &top);
    assert_eq!(
        bench.answers[&request],
        Ok(ResultId("make anew".into())),
        "the newest counts"
    );
}
