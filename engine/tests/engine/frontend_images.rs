//! Frontends in containers, as the engine sees them.

use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::model::JobId;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{Containers, FrontendRequest};
use cooper_engine::FrontendImages;
use cooper_engine::job::{Build, SolveOutcome, SolveSpec};
use cooper_proto::frontend::{
    self, PingRequest, Ref, ReturnRequest, SolveRequest, result::Result as Returned,
};
use cooper_proto::{pb, rpc};

use crate::fake::{Bench, FakeContainers, Llb, Setup};

fn spec(source: &str, inputs: BTreeMap<String, pb::Definition>) -> SolveSpec {
    let request = FrontendRequest {
        options: BTreeMap::from([
            ("source".to_owned(), source.to_owned()),
            ("build-arg:A".to_owned(), "1".to_owned()),
        ]),
        inputs,
        session: "mine".to_owned(),
    };
    let build = Build::Frontend {
        name: "gateway.v0".to_owned(),
        request,
    };
    SolveSpec::new(JobId("job".to_owned()), build)
}

async fn solve(containers: Arc<dyn Containers>, spec: SolveSpec) -> (SolveOutcome, Bench) {
    let bench = Bench::new(Setup {
        containers: Some(containers),
        frontend_images: FrontendImages {
            allowed_repositories: vec!["example.com/frontend".to_owned()],
            ..FrontendImages::default()
        },
        ..Setup::default()
    });
    let outcome = bench.engine.solve(spec).await;
    bench.engine.shutdown().await;
    (outcome, bench)
}

fn failed(outcome: SolveOutcome) -> Failure {
    outcome.result.expect_err("it fails")
}

#[tokio::test]
async fn a_frontend_in_a_container_asks_back_and_returns_its_result() {
    let containers = FakeContainers::new(|mut engine, process| async move {
        let env = process.meta.env.join("\n");
        for part in [
            "=build-arg:A=1",
            "BUILDKIT_SESSION_ID=mine",
            "BUILDKIT_WORKERS=[{",
        ] {
            assert!(env.contains(part), "{env}");
        }
        assert_eq!(process.meta.args, ["/run"]);
        let pong = engine.ping(PingRequest {}).await.expect("an answer");
        let caps = pong.into_inner().frontend_api_caps;
        assert!(caps.iter().any(|cap| cap.id == "gateway.exec"));
        let wanted = SolveRequest {
            definition: Some(Llb::chain("base", &["compile"])),
            allow_result_return: true,
            allow_result_array_ref: true,
            ..SolveRequest::default()
        };
        let solved = engine.solve(wanted).await.expect("a result").into_inner();
        let result = solved.result.expect("a result");
        assert!(matches!(&result.result, Some(Returned::Ref(Ref { id, .. })) if !id.is_empty()));
        let back = ReturnRequest {
            result: Some(result),
            ..ReturnRequest::default()
        };
        engine.r#return(back.clone()).await.expect("taken");
        assert!(engine.r#return(back).await.is_err());
        0
    });
    let (outcome, bench) = solve(containers, spec("example.com/frontend:1", BTreeMap::new())).await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    assert_eq!(bench.worker.runs("compile"), 1);
    assert_eq!(bench.worker.pinned(), []);
}

#[tokio::test]
async fn what_a_frontend_returns_as_its_error_counts_more_than_its_exit_code() {
    let containers = FakeContainers::new(|mut engine, _| async move {
        let back = ReturnRequest {
            error: Some(rpc::Status {
                code: 3,
                message: "no such target".into(),
                details: Vec::new(),
            }),
            ..ReturnRequest::default()
        };
        engine.r#return(back).await.expect("taken");
        1
    });
    let (outcome, _) = solve(containers, spec("example.com/frontend", BTreeMap::new())).await;
    let failure = failed(outcome);
    assert_eq!(failure.message, "no such target");
    assert_eq!(failure.kind, FailureKind::InvalidInput);
}

#[tokio::test]
async fn a_result_counts_for_nothing_when_the_frontend_fails_after_it() {
    let containers = FakeContainers::new(|mut engine, _| async move {
        let back = ReturnRequest {
            result: Some(frontend::Result::default()),
            ..ReturnRequest::default()
        };
        engine.r#return(back).await.expect("taken");
        7
    });
    let (outcome, _) = solve(containers, spec("example.com/frontend", BTreeMap::new())).await;
    assert_eq!(failed(outcome).kind, FailureKind::Exit { code: 7 });
}

#[tokio::test]
async fn a_frontend_must_return_something() {
    let containers = FakeContainers::new(|_, _| async { 0 });
    let (outcome, _) = solve(containers, spec("example.com/frontend", BTreeMap::new())).await;
    assert!(failed(outcome).message.contains("no result"));
}

#[tokio::test]
async fn a_frontend_that_is_not_allowed_or_lacks_what_is_asked_is_not_run() {
    let never = || FakeContainers::new(|_, _| async { panic!("it runs") });
    let (outcome, _) = solve(never(), spec("example.org/frontend", BTreeMap::new())).await;
    let failure = failed(outcome);
    assert_eq!(failure.kind, FailureKind::Denied);
    assert!(failure.message.contains("not an allowed gateway source"));
    let inputs = BTreeMap::from([("a".to_owned(), Llb::chain("base", &[]))]);
    let (outcome, _) = solve(never(), spec("example.com/frontend", inputs)).await;
    let failure = failed(outcome);
    assert_eq!(failure.kind, FailureKind::Unsupported);
    assert!(failure.message.contains("moby.buildkit.frontend.inputs"));
}
