//! Steps that are tried again and steps that may take only so long.

use cooper_core::graph::{RETRIES, TIMEOUT};
use cooper_core::model::FailureKind;
use cooper_proto::pb;

use crate::fake::{Bench, Llb, Script, Setup, all, output_of};

fn flaky(key: &'static str, value: &'static str) -> pb::Definition {
    let mut llb = Llb::default();
    let base = llb.source("base");
    let flaky = llb.step("flaky", &[&base]);
    llb.describe(key, value);
    llb.wanting(&flaky)
}

#[tokio::test]
async fn a_step_is_tried_again_until_it_works() {
    let bench = Bench::new(Setup::default());
    bench.worker.script("flaky", Script::ExitAtFirst(2));
    let running = bench.engine.start(Bench::graph("one", flaky(RETRIES, "3")));
    let running = running.expect("it starts");
    let progress = running.progress();
    assert!(running.outcome().await.result.is_ok());
    assert_eq!(bench.worker.runs("flaky"), 3);
    let output = output_of(&all(progress).await);
    assert!(
        output.contains("exit code: 1; trying again (1 of 3)\n"),
        "{output}"
    );
    assert!(
        output.contains("exit code: 1; trying again (2 of 3)\n"),
        "{output}"
    );
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.pinned(), []);
}

#[tokio::test]
async fn a_step_that_never_works_fails_as_its_last_try() {
    let bench = Bench::new(Setup::default());
    bench.worker.script("flaky", Script::Exit(7));
    let outcome = bench
        .engine
        .solve(Bench::graph("one", flaky(RETRIES, "2")))
        .await;
    let failure = outcome.result.expect_err("it never works");
    assert_eq!(failure.kind, FailureKind::Exit { code: 7 });
    assert_eq!(bench.worker.runs("flaky"), 3);
    bench.engine.shutdown().await;
}

#[tokio::test]
async fn a_step_without_patience_is_tried_once() {
    let bench = Bench::new(Setup::default());
    bench.worker.script("flaky", Script::ExitAtFirst(1));
    let outcome = bench
        .engine
        .solve(Bench::graph("one", flaky("other", "1")))
        .await;
    assert!(outcome.result.is_err());
    assert_eq!(bench.worker.runs("flaky"), 1);
    bench.engine.shutdown().await;
}

#[tokio::test]
async fn a_step_that_takes_too_long_is_stopped_and_says_so() {
    let bench = Bench::new(Setup::default());
    bench.worker.hold("flaky");
    let outcome = bench
        .engine
        .solve(Bench::graph("one", flaky(TIMEOUT, "5000000")))
        .await;
    let failure = outcome.result.expect_err("it is held for ever");
    assert_eq!(failure.kind, FailureKind::Exit { code: 124 });
    assert!(
        failure.message.contains("did not end within 5ms"),
        "{failure}"
    );
    assert_eq!(bench.worker.stopped(), ["flaky"]);
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.pinned(), []);
}

#[tokio::test]
async fn patience_that_is_no_number_is_refused_with_its_key() {
    let bench = Bench::new(Setup::default());
    let outcome = bench
        .engine
        .solve(Bench::graph("one", flaky(RETRIES, "often")))
        .await;
    let failure = outcome.result.expect_err("it is no number");
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert!(failure.message.contains(RETRIES), "{failure}");
    bench.engine.shutdown().await;
}
