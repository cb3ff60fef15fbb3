use super::bench::{Bench, Drawing};
use crate::model::{JobId, LinuxResources, ResultId};
use crate::scheduler::Report;

#[test]
fn shared_vertex_runs_once_for_two_jobs() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let top = drawing.run("make", "", &base);
    let graph = drawing.graph();
    let (one, other) = (bench.want("a", &graph, &top), bench.want("b", &graph, &top));
    bench.succeed_all();
    assert_eq!(bench.begun, ["base", "make"]);
    assert_eq!(bench.answers[&one], bench.answers[&other]);
    assert!(bench.answers[&one].is_ok());
    assert!(
        bench
            .audiences
            .contains(&vec![JobId("a".into()), JobId("b".into())])
    );
}

#[test]
fn a_shared_vertex_has_of_each_limit_the_one_that_leaves_more() {
    let mut bench = Bench::default();
    let draw = |memory: Option<i64>| {
        let mut drawing = Drawing::default();
        let base = drawing.source("base");
        let top = drawing.changed_run("make", "", &base, 1, |vertex| {
            vertex.resources = memory.map(|memory| LinuxResources {
                memory,
                ..LinuxResources::default()
            });
        });
        (drawing.graph(), top)
    };
    for (job, memory) in [
        ("a", Some(10)),
        ("b", Some(30)),
        ("c", None),
        ("d", Some(20)),
    ] {
        let (graph, top) = draw(memory);
        bench.want(job, &graph, &top);
    }
    bench.succeed_all();
    assert_eq!(bench.begun, ["base", "make"]);
    let memory = bench.limits[1].as_ref().map(|limits| limits.memory);
    assert_eq!(memory, Some(30));
}

#[test]
fn independent_vertices_run_at_the_same_time() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let left = drawing.run("left", "", &base);
    let right = drawing.run("right", "", &base);
    let top = drawing.copy("top", &left, &right);
    let graph = drawing.graph();
    bench.want("a", &graph, &top);
    bench.succeed("base");
    let running: Vec<_> = bench.running.keys().cloned().collect();
    assert_eq!(running, ["left", "right"]);
}

#[test]
fn what_the_target_does_not_need_never_runs() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    drawing.run("unneeded", "", &base);
    let top = drawing.run("make", "", &base);
    let graph = drawing.graph();
    bench.want("a", &graph, &top);
    bench.succeed_all();
    assert_eq!(bench.begun, ["base", "make"]);
}

#[test]
fn edges_that_meet_in_one_key_share_a_run() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let one = drawing.run("make", "http://one", &base);
    let other = drawing.run("make", "http://other", &base);
    assert_ne!(one.vertex, other.vertex);
    let graph = drawing.graph();
    let requests = [
        bench.want("a", &graph, &one),
        bench.want("b", &graph, &other),
    ];
    bench.succeed("base");
    assert_eq!(
        bench.begun,
        ["base", "make"],
        "the second waits for the first"
    );
    bench.succeed("make");
    for request in requests {
        assert_eq!(bench.answers[&request], Ok(ResultId("make.0".into())));
    }
    bench.close("a");
    assert_eq!(
        bench.pinned(),
        ["base.0", "make.0"],
        "the follower keeps the result"
    );
    bench.close("b");
    assert!(bench.pinned().is_empty());
}

#[test]
fn one_that_follows_keeps_the_run_alive() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let one = drawing.run("make", "http://one", &base);
    let other = drawing.run("make", "http://other", &base);
    let graph = drawing.graph();
    bench.want("a", &graph, &one);
    let waits = bench.want("b", &graph, &other);
    bench.succeed("base");
    bench.close("a");
    assert!(bench.stopped.is_empty());
    bench.succeed("make");
    assert!(bench.answers[&waits].is_ok());
}

#[test]
fn all_outputs_come_from_one_run() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let first = drawing.changed_run("two", "", &base, 2, |_| {});
    let mut second = first.clone();
    second.output = 1;
    let graph = drawing.graph();
    let requests = [
        bench.want("a", &graph, &first),
        bench.want("a", &graph, &second),
    ];
    bench.succeed_all();
    assert_eq!(bench.begun, ["base", "two"]);
    let results = requests.map(|request| bench.answers[&request].clone().unwrap().0);
    assert_eq!(results, ["two.0", "two.1"]);
}

#[test]
fn failure_reaches_each_request_once_and_is_not_kept_for_other_jobs() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let broken = drawing.run("broken", "", &base);
    let left = drawing.run("left", "", &broken);
    let right = drawing.run("right", "", &broken);
    let top = drawing.copy("top", &left, &right);
    let graph = drawing.graph();
    let requests = [
        bench.want("a", &graph, &top),
        bench.want("a", &graph, &left),
    ];
    bench.succeed("base");
    bench.fail("broken");
    for request in requests {
        let failure = bench.answers[&request].clone().unwrap_err();
        assert_eq!(failure.message, "broken failed");
        assert_eq!(failure.vertex.as_ref(), Some(&broken.vertex));
    }
    let failed = |(_, _, report): &&(String, String, Report)| matches!(report, Report::Failed(_));
    assert_eq!(bench.reports.iter().filter(failed).count(), 1);
    let again = bench.want("a", &graph, &top);
    assert!(
        bench.answers[&again].is_err(),
        "the same job is told the same"
    );

    let fresh = bench.want("b", &graph, &top);
    bench.succeed_all();
    assert!(bench.answers[&fresh].is_ok());
    assert_eq!(bench.begun.iter().filter(|name| *name == "base").count(), 1);
}

#[test]
fn failure_of_one_job_does_not_hurt_another_that_shares() {
    let mut bench = Bench::default();
    let mut drawing = Drawing::default();
    let base = drawing.source("base");
    let sound = drawing.run("sound", "", &base);
    let broken = drawing.run("broken", "", &base);
    let graph = drawing.graph();
    let fails = bench.want("a", &graph, &broken);
    let works = bench.want("b", &graph, &sound);
    bench.succeed("base");
    bench.fail("broken");
    bench.close("a");
    assert!(bench.answers[&fails].is_err());
    bench.succeed_all();
    assert!(bench.answers[&works].is_ok());
}
