use std::num::NonZeroUsize;

use cooper_core::model::{FailureKind, JobId};
use cooper_engine::Limits;

use crate::fake::{Bench, Llb, Script, Setup, all, output_of};

#[tokio::test]
async fn shared_vertex_runs_once_for_two_jobs() {
    let bench = Bench::new(Setup::default());
    bench.worker.hold("shared");
    let one = Bench::graph("one", Llb::chain("base", &["shared", "only one"]));
    let one = bench.engine.start(one).expect("it starts");
    bench.worker.reached("shared").await;
    let two = Bench::graph("two", Llb::chain("base", &["shared", "only two"]));
    let two = bench.engine.start(two).expect("it starts");
    let progress = two.progress();
    bench.worker.let_go("shared");
    assert!(one.outcome().await.result.is_ok());
    assert!(two.outcome().await.result.is_ok());
    let runs = ["shared", "only one", "only two"].map(|step| bench.worker.runs(step));
    assert_eq!(runs, [1, 1, 1]);
    // The build that came later sees the step from its beginning.
    let output = output_of(&all(progress).await);
    let beginnings = output.matches("shared begins\n").count();
    let endings = output.matches("shared ends\n").count();
    assert_eq!((beginnings, endings), (1, 1), "{output}");
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.pinned(), []);
}

#[tokio::test]
async fn cancelling_one_job_leaves_the_other_unharmed() {
    let bench = Bench::new(Setup::default());
    bench.worker.hold("shared");
    bench.worker.hold("apart");
    let mut llb = Llb::default();
    let base = llb.source("base");
    let shared = llb.step("shared", &[&base]);
    let apart = llb.step("apart", &[&base]);
    let join = llb.step("join", &[&shared, &apart]);
    let one = bench.engine.start(Bench::graph("one", llb.wanting(&join)));
    let one = one.expect("it starts");
    bench.worker.reached("shared").await;
    bench.worker.reached("apart").await;
    let two = Bench::graph("two", Llb::chain("base", &["shared"]));
    let two = bench.engine.start(two).expect("it starts");
    let mut progress = two.progress();
    // The second build has joined when it shows the step as begun.
    wait_until_begun(&mut progress, "shared").await;
    one.cancel();
    let gone = one.outcome().await.result.expect_err("cancelled");
    assert_eq!(gone.kind, FailureKind::Cancelled);
    // What only the cancelled build needed was gone before that was said.
    assert_eq!(bench.worker.stopped(), ["apart"]);
    bench.worker.let_go("shared");
    let outcome = two.outcome().await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    assert_eq!(bench.worker.runs("shared"), 1);
    assert_eq!(bench.worker.runs("join"), 0);
}

#[tokio::test]
async fn dropping_a_build_stops_its_steps() {
    let bench = Bench::new(Setup::default());
    bench.worker.hold("long");
    let graph = Llb::chain("base", &["long"]);
    let running = bench
        .engine
        .start(Bench::graph("job", graph))
        .expect("it starts");
    let progress = running.progress();
    bench.worker.reached("long").await;
    drop(running);
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.stopped(), ["long"]);
    assert_eq!(bench.worker.pinned(), []);
    let seen = all(progress).await;
    let last = seen.vertexes.iter().rfind(|vertex| vertex.name == "long");
    assert_eq!(last.map(|v| v.error.as_str()), Some("context canceled"));
}

#[tokio::test]
async fn a_step_that_fails_fails_every_build_that_shares_it() {
    let bench = Bench::new(Setup::default());
    bench.worker.hold("bad");
    bench.worker.script("bad", Script::Exit(1));
    let graph = || Llb::chain("base", &["bad"]);
    let one = bench
        .engine
        .start(Bench::graph("one", graph()))
        .expect("it starts");
    bench.worker.reached("bad").await;
    let two = bench
        .engine
        .start(Bench::graph("two", graph()))
        .expect("it starts");
    let mut progress = two.progress();
    wait_until_begun(&mut progress, "bad").await;
    bench.worker.let_go("bad");
    for build in [one, two] {
        let failure = build.outcome().await.result.expect_err("it fails");
        assert_eq!(failure.kind, FailureKind::Exit { code: 1 });
    }
    assert_eq!(bench.worker.runs("bad"), 1);
}

#[tokio::test]
async fn two_builds_of_one_name_cannot_run_at_the_same_time() {
    let bench = Bench::new(Setup::default());
    bench.worker.hold("step");
    let spec = || Bench::graph("name", Llb::chain("base", &["step"]));
    let first = bench.engine.start(spec()).expect("it starts");
    bench.worker.reached("step").await;
    let second = bench.engine.start(spec()).expect_err("refused");
    assert_eq!(second.kind, FailureKind::InvalidInput);
    bench.worker.let_go("step");
    assert!(first.outcome().await.result.is_ok());
    assert!(bench.engine.solve(spec()).await.result.is_ok());
}

#[tokio::test]
async fn no_more_steps_run_than_the_worker_takes_however_many_builds_there_are() {
    let bench = Bench::new(Setup {
        limits: Limits {
            steps_per_worker: NonZeroUsize::new(1),
            ..Limits::default()
        },
        ..Setup::default()
    });
    bench.worker.hold("first");
    let start = |step: &str| {
        let mut llb = Llb::default();
        let only = llb.step(step, &[]);
        let spec = Bench::graph(step, llb.wanting(&only));
        bench.engine.start(spec).expect("it starts")
    };
    let first = start("first");
    bench.worker.reached("first").await;
    let (waiting, given_up) = (start("waiting"), start("given up"));
    // A step that waits for its turn can be given up without one.
    given_up.cancel();
    let gone = given_up.outcome().await.result.expect_err("cancelled");
    assert_eq!(gone.kind, FailureKind::Cancelled);
    bench.worker.let_go("first");
    assert!(first.outcome().await.result.is_ok());
    assert!(waiting.outcome().await.result.is_ok());
    assert_eq!(bench.worker.most_running(), 1);
    assert_eq!(bench.worker.runs("given up"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_builds_at_once_run_what_they_share_once() {
    let bench = Bench::new(Setup::default());
    bench.worker.hold("shared");
    let names: Vec<_> = (0..200).map(|n| format!("build {n}")).collect();
    let builds: Vec<_> = names
        .iter()
        .map(|name| {
            let graph = Llb::chain("base", &["shared", name]);
            bench
                .engine
                .start(Bench::graph(name, graph))
                .expect("it starts")
        })
        .collect();
    bench.worker.reached("shared").await;
    bench.worker.let_go("shared");
    for (place, build) in builds.into_iter().enumerate() {
        // Every third one is given up at whatever moment this is.
        if place % 3 == 0 {
            drop(build);
        } else {
            let outcome = build.outcome().await;
            assert!(outcome.result.is_ok(), "{outcome:?}");
        }
    }
    assert_eq!(bench.worker.runs("shared"), 1);
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.pinned(), []);
}

#[tokio::test(start_paused = true)]
async fn progress_of_a_build_that_never_comes_is_an_error() {
    let bench = Bench::new(Setup::default());
    let missing = bench.engine.progress(&JobId("never".into())).await;
    let failure = missing.err().expect("there is none");
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert_eq!(failure.message, "no such job never");
}

async fn wait_until_begun(progress: &mut cooper_engine::progress::StatusStream, step: &str) {
    use futures::StreamExt;
    while let Some(news) = progress.next().await {
        let news = news.expect("a readable log");
        let begun = |v: &cooper_proto::control::Vertex| v.name == step && v.started.is_some();
        if news.vertexes.iter().any(begun) {
            return;
        }
    }
    panic!("{step} never began");
}

// T-A17
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_builds_at_once_share_their_steps_and_all_end() {
    let bench = Bench::new(Setup::default());
    let builds: Vec<_> = (0..200)
        .map(|number| {
            let own = format!("own {}", number % 20);
            let steps = ["shared", "shared too", own.as_str()];
            let build = Bench::graph(&format!("job {number}"), Llb::chain("base", &steps));
            bench.engine.start(build).expect("it starts")
        })
        .collect();
    for (number, build) in builds.into_iter().enumerate() {
        // Some give up, while others go on with the same steps.
        if number % 7 == 3 {
            build.cancel();
            drop(build.outcome().await);
        } else {
            let outcome = build.outcome().await;
            assert!(outcome.result.is_ok(), "{number}: {outcome:?}");
        }
    }
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.pinned(), []);
}
