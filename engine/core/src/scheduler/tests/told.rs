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

#[test]
fn each_job_is_told_of_vertices_by_its_own_names() {
    let mut bench = Bench::default();
    let draw = |name: &str| {
        let mut drawing = Drawing::default();
        let base = drawing.source("base");
        let name = name.to_owned();
        let top = drawing.changed_run("make", "", &base, 1, |vertex| vertex.name.clone_from(&name));
        (drawing.graph(), top)
    };
    let (one, top) = draw("[1/2] make");
    bench.want("a", &one, &top);
    let (other, same) = draw("[build 4/9] make");
    assert_eq!(top, same);
    bench.want("b", &other, &same);
    bench.succeed_all();
    assert_eq!(bench.begun, ["base", "[1/2] make"]);
    assert_eq!(bench.told("a", "[1/2] make").len(), 2);
    assert_eq!(bench.told("b", "[build 4/9] make").len(), 2);
    assert!(bench.told("b", "[1/2] make").is_empty());
}

#[test]
fn fault_of_the_scheduler_fails_the_builds_it_concerns_and_no_other() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let bad = drawing.source("bad");
    let good = drawing.source("good");
    let graph = drawing.graph();
    let hit = bench.want("a", &graph, &bad);
    let spared = bench.want("b", &graph, &good);
    bench.end_as_other_work("bad");
    let failure = bench.answers[&hit].clone().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Internal);
    assert!(
        failure.message.contains("running"),
        "the trace is told: {failure}"
    );
    let broken = bench.want("a", &graph, &good);
    assert!(
        bench.answers[&broken].is_err(),
        "the build that was hit is over"
    );
    bench.succeed("good");
    assert!(bench.answers[&spared].is_ok());
    let later = bench.want("c", &graph, &bad);
    bench.succeed("bad");
    assert!(bench.answers[&later].is_ok(), "a later build begins anew");
}

#[test]
fn task_that_nobody_asked_for_changes_nothing_and_gives_its_pins_back() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let graph = drawing.graph();
    let request = bench.want("a", &graph, &base);
    bench
        .running
        .insert(String::from("stranger"), crate::model::TaskId(u64::MAX));
    bench.succeed("stranger");
    assert!(bench.pinned().is_empty());
    bench.succeed("base");
    assert!(bench.answers[&request].is_ok());
}
