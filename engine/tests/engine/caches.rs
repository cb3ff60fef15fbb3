use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::model::{FailureKind, JobId};
use cooper_core::ports::{Bridge, FrontendPart, FrontendRequest, FrontendResult};
use cooper_engine::job::{Build, CacheSpec, SolveSpec};
use cooper_proto::control::SolveRequest;
use cooper_proto::frontend::{self, ReturnRequest};
use tonic::Request;

use crate::fake::{Bench, FakeFrontend, FakeRemote, Llb, Served, Setup, all};

fn place(attributes: &[(&str, &str)]) -> CacheSpec {
    let attributes = attributes.iter();
    CacheSpec {
        kind: "fake".to_owned(),
        attributes: attributes
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn exporting(job: &str, steps: &[&str]) -> SolveSpec {
    let mut spec = Bench::graph(job, Llb::chain("base", steps));
    spec.cache_exports = vec![place(&[])];
    spec
}

fn importing(job: &str, steps: &[&str]) -> SolveSpec {
    let mut spec = Bench::graph(job, Llb::chain("base", steps));
    spec.cache_imports = vec![place(&[])];
    spec
}

fn bench(remote: &Arc<FakeRemote>) -> Bench {
    let chain = |bridge: Arc<dyn Bridge>, _| async move {
        let result = bridge.solve(Llb::chain("base", &["a", "b", "c"])).await?;
        Ok(FrontendResult {
            parts: vec![FrontendPart {
                platform: None,
                result: Some(result),
            }],
            ..FrontendResult::default()
        })
    };
    Bench::new(Setup {
        frontends: vec![FakeFrontend::new("chain", chain)],
        remote: Some(Arc::clone(remote)),
        ..Setup::default()
    })
}

/// A world that has seen nothing, beside a cache of another world's builds.
async fn elsewhere(steps: &[&str]) -> (Bench, Arc<FakeRemote>) {
    let remote = Arc::new(FakeRemote::default());
    let first = bench(&remote);
    let outcome = first.engine.solve(exporting("one", steps)).await;
    let response = outcome.result.expect("it builds");
    assert_eq!(response["cache.manifest"], "here");
    first.engine.shutdown().await;
    assert_eq!(first.worker.pinned(), []);
    let copy = FakeRemote::copy_of(&remote);
    (bench(&copy), copy)
}

#[tokio::test]
async fn a_cache_of_another_engine_serves_what_it_has() {
    let (bench, _) = elsewhere(&["a", "b"]).await;
    let running = bench.engine.start(importing("two", &["a", "b", "c"]));
    let running = running.expect("it starts");
    let progress = running.progress();
    running.outcome().await.result.expect("it builds");
    assert_eq!(
        ["a", "b", "c"].map(|step| bench.worker.runs(step)),
        [0, 0, 1]
    );
    let progress = all(progress).await;
    let names: Vec<_> = progress
        .vertexes
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert!(
        names.contains(&"importing cache manifest from nowhere"),
        "{names:?}"
    );
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.pinned(), []);
}

// T-E8
#[tokio::test]
async fn what_an_imported_cache_claims_stays_with_builds_that_import_it() {
    let (bench, _) = elsewhere(&["a", "b"]).await;
    let runs = || ["a", "b", "c"].map(|step| bench.worker.runs(step));
    let build = async |spec| {
        let outcome = bench.engine.solve(spec).await;
        outcome.result.expect("it builds");
    };
    build(importing("on claims", &["a", "b", "c"])).await;
    assert_eq!(runs(), [0, 0, 1]);
    // It is kept for who believes the same,
    build(importing("on claims again", &["a", "b", "c"])).await;
    assert_eq!(runs(), [0, 0, 1]);
    // and for nobody else, not even the step that ran here.
    build(Bench::graph(
        "on its own",
        Llb::chain("base", &["a", "b", "c"]),
    ))
    .await;
    assert_eq!(runs(), [1, 1, 2]);
    build(Bench::graph(
        "on its own again",
        Llb::chain("base", &["a", "b", "c"]),
    ))
    .await;
    build(importing("on either", &["a", "b", "c"])).await;
    assert_eq!(runs(), [1, 1, 2]);
}

#[tokio::test]
async fn a_cache_that_cannot_be_read_costs_time_and_not_the_build() {
    let (bench, _) = elsewhere(&["a"]).await;
    let mut spec = importing("two", &["a"]);
    spec.cache_imports = vec![place(&[("do", "fail")])];
    let running = bench.engine.start(spec).expect("it starts");
    let progress = running.progress();
    running.outcome().await.result.expect("it builds");
    assert_eq!(bench.worker.runs("a"), 1);
    let progress = all(progress).await;
    let failed = progress
        .vertexes
        .iter()
        .find(|it| it.error.contains("the place is gone"));
    assert!(failed.is_some());
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_fails_the_build_unless_that_is_to_be_ignored() {
    let remote = Arc::new(FakeRemote::default());
    let bench = bench(&remote);
    let mut spec = exporting("one", &["a"]);
    spec.cache_exports = vec![place(&[("do", "fail")])];
    let failed = bench.engine.solve(spec.clone()).await.result;
    assert_eq!(failed.expect_err("it fails").message, "the place is gone");
    spec.cache_exports = vec![place(&[("do", "fail"), ("ignore-error", "true")])];
    assert!(bench.engine.solve(spec.clone()).await.result.is_ok());
    spec.cache_exports = vec![place(&[]), place(&[])];
    let twice = bench.engine.solve(spec).await.result.expect_err("refused");
    assert!(twice.message.contains("duplicate cache exports"), "{twice}");
    assert_eq!(remote.records(), 0);
}

#[tokio::test]
async fn a_build_that_was_cached_whole_exports_the_same_cache() {
    let remote = Arc::new(FakeRemote::default());
    let bench = bench(&remote);
    let steps = ["a", "b"];
    assert!(
        bench
            .engine
            .solve(exporting("one", &steps))
            .await
            .result
            .is_ok()
    );
    let records = remote.records();
    assert!(
        bench
            .engine
            .solve(exporting("two", &steps))
            .await
            .result
            .is_ok()
    );
    assert_eq!((bench.worker.runs("a"), remote.records()), (1, records));
    assert_eq!(records, 3);
}

#[tokio::test]
async fn a_build_that_an_import_served_exports_what_it_was_served_from() {
    let (bench, remote) = elsewhere(&["a", "b"]).await;
    let written = remote.keys();
    let mut spec = importing("two", &["a", "b"]);
    spec.cache_exports = vec![place(&[])];
    assert!(bench.engine.solve(spec).await.result.is_ok());
    assert_eq!(bench.worker.runs("a") + bench.worker.runs("b"), 0);
    assert_eq!(remote.keys(), written);
}

fn told(options: &[(&str, &str)]) -> SolveSpec {
    let options = options.iter();
    let options = options.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let build = Build::Frontend {
        name: "chain".into(),
        request: FrontendRequest {
            options: options.collect(),
            ..FrontendRequest::default()
        },
    };
    SolveSpec::new(JobId("told".into()), build)
}

#[tokio::test]
async fn caches_that_a_frontend_is_told_of_serve_its_steps() {
    let (bench, _) = elsewhere(&["a", "b"]).await;
    let spec = told(&[("cache-imports", r#"[{"Type":"fake","Attrs":null}]"#)]);
    bench.engine.solve(spec).await.result.expect("it builds");
    let runs = ["a", "b", "c"].map(|step| bench.worker.runs(step));
    assert_eq!(runs, [0, 0, 1]);
    let unread = told(&[("cache-imports", "fake")]);
    let failure = bench.engine.solve(unread).await.result;
    let failure = failure.expect_err("no list");
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert!(failure.message.contains("cache-imports"), "{failure}");
    // Caches in registries by their names alone, none of which is there: a cache is never needed.
    let spec = told(&[("cache-from", "one:latest,two:latest")]);
    let running = bench.engine.start(spec).expect("it starts");
    let progress = running.progress();
    running.outcome().await.result.expect("it builds");
    let progress = all(progress).await;
    let unknown = progress.vertexes.iter();
    let unknown = unknown.filter(|it| it.error == "unknown cache importer: registry");
    assert_eq!(unknown.count(), 2);
}

#[tokio::test]
async fn caches_that_a_request_over_the_bridge_names_serve_that_request() {
    fn of<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        let key = "buildkit-controlapi-buildid";
        let metadata = request.metadata_mut();
        metadata.insert(key, "driven".parse().expect("ASCII"));
        request
    }
    let (bench, _) = elsewhere(&["a", "b"]).await;
    let served = Served::new(&bench.engine);
    let (mut outer, mut inner) = (served.client().await, served.client().await);
    let opened = SolveRequest {
        r#ref: "driven".into(),
        ..SolveRequest::default()
    };
    let drive = async {
        let gateway = &mut inner.gateway;
        let mut solve = frontend::SolveRequest {
            definition: Some(Llb::chain("base", &["a", "b", "c"])),
            allow_result_return: true,
            allow_result_array_ref: true,
            evaluate: true,
            ..frontend::SolveRequest::default()
        };
        let mut runs = Vec::new();
        for kind in ["fake", "fake", ""] {
            solve.cache_imports.clear();
            if !kind.is_empty() {
                solve.cache_imports.push(frontend::CacheOptionsEntry {
                    r#type: kind.to_owned(),
                    attrs: BTreeMap::new(),
                });
            }
            gateway.solve(of(solve.clone())).await.expect("it builds");
            runs.push(["a", "b", "c"].map(|step| bench.worker.runs(step)));
        }
        // Asked without the caches, it does not go by what they claim.
        assert_eq!(runs, [[0, 0, 1], [0, 0, 1], [1, 1, 2]]);
        let back = ReturnRequest {
            result: Some(frontend::Result::default()),
            error: None,
        };
        gateway.r#return(of(back)).await.expect("taken");
    };
    let (solved, ()) = futures::join!(outer.control.solve(opened), drive);
    assert!(solved.is_ok(), "{solved:?}");
    drop((outer, inner));
    served.stop().await;
}
