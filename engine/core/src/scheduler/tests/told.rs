use super::bench::{Bench, Drawing};
use crate::model::FailureKind;
use crate::scheduler::Report;

#[test]
fn job_that_joins_learns_of_what_runs_and_of_what_is_done() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let top = drawing.run("make", "", &base);
    let graph = drawing.graph();
    bench.want("early", &graph, &top);
    bench.succeed("base");
    bench.want("late", &graph, &top);
    assert!(matches!(
        bench.told("late", "base")[..],
        [Report::Completed { cached: true, .. }]
    ));
    assert!(matches!(bench.told("late", "make")[..], [Report::Started]));
    bench.succeed("make");
    let completed = |report: &&Report| matches!(report, Report::Completed { cached: false, .. });
    for job in ["early", "late"] {
        assert!(
            bench.told(job, "make").last().is_some_and(completed),
            "{job}"
        );
    }
}

#[test]
fn source_that_is_not_there_fails_with_its_vertex() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let other = drawing.source("other");
    let top = drawing.copy("copied", &base, &other);
    let graph = drawing.graph();
    bench.unresolvable.insert(String::from("other"));
    let request = bench.want("a", &graph, &top);
    let failure = bench.answers[&request].clone().unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert_eq!(failure.vertex, Some(other.vertex));
    assert!(matches!(
        bench.told("a", "other")[..],
        [Report::Started, Report::Failed(_)]
    ));
    assert!(matches!(
        bench.told("a", "base").last(),
        Some(Report::Cancelled) | None
    ));
    assert!(bench.told("a", "copied").is_empty(), "it never began");
    bench.close("a");
    assert!(bench.scheduler.is_empty());
}

#[test]
fn wide_graph_is_scheduled_in_bounded_time() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let mut top = drawing.run("step", "", &base);
    for step in 0..1_000 {
        let side = drawing.run(&format!("side {step}"), "", &base);
        top = drawing.copy(&format!("join {step}"), &top, &side);
    }
    let graph = drawing.graph();
    let request = bench.want("a", &graph, &top);
    bench.succeed("base");
    assert_eq!(bench.running.len(), 1_001);
    bench.succeed_all();
    assert!(bench.answers[&request].is_ok());
    bench.close("a");
    assert!(bench.scheduler.is_empty());
}
