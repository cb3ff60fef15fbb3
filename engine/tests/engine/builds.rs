use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use cooper_core::cachekey::MissReason;
use cooper_core::model::{FailureKind, JobId};
use cooper_core::policy::Rules;
use cooper_core::ports::{
    Blobs, Bridge, FrontendPart, FrontendRequest, FrontendResult, ImageAnswer, ImageQuery,
    ResolveMode,
};
use cooper_engine::Limits;
use cooper_engine::job::{Build, ExporterSpec, SolveSpec};
use cooper_proto::pb;
use cooper_proto::source_policy::{Policy, PolicyAction, Rule, Selector, Update};

use crate::fake::{
    Bench, FakeBlobs, FakeExporter, FakeFrontend, Llb, Script, Setup, all, output_of,
};

fn exporter(kind: &str, behaviour: &str) -> ExporterSpec {
    let attributes = match behaviour {
        "" => BTreeMap::new(),
        behaviour => BTreeMap::from([("do".to_owned(), behaviour.to_owned())]),
    };
    ExporterSpec {
        kind: kind.to_owned(),
        attributes,
    }
}

#[tokio::test]
async fn a_graph_runs_and_the_second_build_is_all_cached() {
    let bench = Bench::new(Setup::default());
    let graph = || Llb::chain("base", &["compile", "link"]);
    let first = bench.engine.solve(Bench::graph("first", graph())).await;
    assert_eq!(first.result, Ok(BTreeMap::new()));
    let compile = first.summary.vertices.iter().find(|v| v.name == "compile");
    let compile = compile.expect("it was reported");
    assert!(!compile.cached);
    assert_eq!(compile.miss, Some(MissReason::NewOp));
    assert!(compile.duration_ns().is_some());

    let second = bench.engine.solve(Bench::graph("second", graph())).await;
    assert_eq!(second.result, Ok(BTreeMap::new()));
    let link = second.summary.vertices.iter().find(|v| v.name == "link");
    assert!(link.is_some_and(|link| link.cached), "{:?}", second.summary);
    assert_eq!(bench.worker.runs("compile"), 1);
    assert_eq!(bench.worker.runs("link"), 1);
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.pinned(), []);
}

#[tokio::test]
async fn the_empty_definition_is_the_empty_file_system() {
    let exporter_port = FakeExporter::new("oci");
    let bench = Bench::new(Setup {
        exporters: vec![Arc::<FakeExporter>::clone(&exporter_port)],
        ..Setup::default()
    });
    let mut spec = Bench::graph("empty", pb::Definition::default());
    spec.exporters.push(exporter("oci", ""));
    let outcome = bench.engine.solve(spec).await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    assert_eq!(exporter_port.requests.lock()[0].parts[0].result, None);
}

#[tokio::test]
async fn a_failing_step_names_itself() {
    let bench = Bench::new(Setup::default());
    bench.worker.script("test", Script::Exit(3));
    let graph = Llb::chain("base", &["test", "pack"]);
    let outcome = bench.engine.solve(Bench::graph("job", graph)).await;
    let failure = outcome.result.expect_err("it fails");
    assert_eq!(failure.kind, FailureKind::Exit { code: 3 });
    let test = outcome.summary.vertices.iter().find(|v| v.name == "test");
    let test = test.expect("it was reported");
    assert_eq!(failure.vertex.as_ref(), Some(&test.digest));
    assert_eq!(test.error.as_ref(), Some(&failure.message));
    assert_eq!(bench.worker.runs("pack"), 0);
}

#[tokio::test]
async fn a_panic_in_the_worker_fails_only_its_build() {
    let bench = Bench::new(Setup::default());
    bench.worker.script("bad", Script::Panic);
    bench.worker.hold("good");
    let good = bench
        .engine
        .start(Bench::graph("good", Llb::chain("base", &["good"])));
    let good = good.expect("it starts");
    bench.worker.reached("good").await;
    let bad = Bench::graph("bad", Llb::chain("base", &["bad"]));
    let bad = bench.engine.solve(bad).await.result.expect_err("it fails");
    assert_eq!(bad.kind, FailureKind::Internal);
    assert!(bad.message.contains("brings the worker down"), "{bad}");
    bench.worker.let_go("good");
    assert!(good.outcome().await.result.is_ok());
}

#[tokio::test]
async fn a_panic_in_a_frontend_is_a_failure_of_its_build() {
    let bench = Bench::new(Setup {
        frontends: vec![FakeFrontend::new("broken", |_, _| async {
            panic!("cannot convert")
        })],
        ..Setup::default()
    });
    let build = Build::Frontend {
        name: "broken".into(),
        request: FrontendRequest::default(),
    };
    let outcome = bench
        .engine
        .solve(SolveSpec::new(JobId("job".into()), build))
        .await;
    assert_eq!(
        outcome.result.map_err(|failure| failure.kind),
        Err(FailureKind::Internal)
    );
    let after = Bench::graph("after", Llb::chain("base", &["step"]));
    assert!(bench.engine.solve(after).await.result.is_ok());
}

#[tokio::test]
async fn a_failing_exporter_fails_the_build_and_stops_the_others() {
    let (oci, local) = (FakeExporter::new("oci"), FakeExporter::new("local"));
    let bench = Bench::new(Setup {
        exporters: vec![
            Arc::<FakeExporter>::clone(&oci),
            Arc::<FakeExporter>::clone(&local),
        ],
        ..Setup::default()
    });
    let mut spec = Bench::graph("job", Llb::chain("base", &["step"]));
    spec.exporters = vec![exporter("local", "wait"), exporter("oci", "fail")];
    let outcome = bench.engine.solve(spec).await;
    let failure = outcome.result.expect_err("it fails");
    assert_eq!(failure.message, "the disk is full");
    assert!(*local.stopped.lock());
    let vertex = |name| outcome.summary.vertices.iter().find(|v| v.name == name);
    let error = |name| vertex(name).and_then(|v| v.error.clone());
    assert_eq!(
        error("exporting to oci").as_deref(),
        Some("the disk is full")
    );
    assert_eq!(
        error("exporting to local").as_deref(),
        Some("context canceled")
    );
}

#[tokio::test]
async fn an_exporter_that_dislikes_its_attributes_is_heard_before_anything_runs() {
    let bench = Bench::new(Setup {
        exporters: vec![FakeExporter::new("oci")],
        ..Setup::default()
    });
    let mut spec = Bench::graph("job", Llb::chain("base", &["step"]));
    spec.exporters.push(exporter("oci", "dance"));
    let failure = bench.engine.solve(spec).await.result.expect_err("refused");
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert_eq!(bench.worker.runs("step"), 0);
}

#[tokio::test]
async fn several_exporters_all_get_the_result() {
    let (oci, local) = (FakeExporter::new("oci"), FakeExporter::new("local"));
    let bench = Bench::new(Setup {
        exporters: vec![
            Arc::<FakeExporter>::clone(&oci),
            Arc::<FakeExporter>::clone(&local),
        ],
        ..Setup::default()
    });
    let mut spec = Bench::graph("job", Llb::chain("base", &["step"]));
    spec.exporters = vec![exporter("oci", ""), exporter("local", "")];
    let response = bench.engine.solve(spec).await.result.expect("it works");
    assert_eq!(response["exported.by"], "local");
    let index = |exporter: &FakeExporter| exporter.requests.lock()[0].index;
    assert_eq!((index(&oci), index(&local)), (0, 1));
    assert_eq!(oci.requests.lock()[0].parts, local.requests.lock()[0].parts);
}

#[tokio::test]
async fn a_build_runs_no_more_steps_at_a_time_than_it_may() {
    let bench = Bench::new(Setup {
        limits: Limits {
            steps_per_build: NonZeroUsize::new(2),
            ..Limits::default()
        },
        ..Setup::default()
    });
    let mut llb = Llb::default();
    let names: Vec<_> = (0..6).map(|n| format!("side {n}")).collect();
    let sides: Vec<_> = names.iter().map(|name| llb.step(name, &[])).collect();
    let join = llb.step("join", &sides.iter().collect::<Vec<_>>());
    for name in &names {
        bench.worker.hold(name);
    }
    let running = bench.engine.start(Bench::graph("job", llb.wanting(&join)));
    let running = running.expect("it starts");
    bench.worker.busy(2).await;
    for name in &names {
        bench.worker.let_go(name);
    }
    assert!(running.outcome().await.result.is_ok());
    assert_eq!(bench.worker.most_running(), 2);
}

#[tokio::test]
async fn an_image_is_asked_for_once_a_build_however_many_want_it() {
    let bench = Bench::new(Setup {
        frontends: vec![FakeFrontend::new(
            "images",
            |bridge: Arc<dyn Bridge>, _| async move {
                let query = |log_name: &str| ImageQuery {
                    reference: "docker.io/library/busybox:latest".into(),
                    platform: None,
                    mode: ResolveMode::Default,
                    log_name: log_name.into(),
                    oci_layout_store: None,
                };
                let name = "[internal] load metadata for docker.io/library/busybox:latest";
                let (one, two) = futures::join!(
                    bridge.resolve_image(query(name)),
                    bridge.resolve_image(query(name))
                );
                assert_eq!(one, two);
                Ok(FrontendResult::default())
            },
        )],
        ..Setup::default()
    });
    let build = Build::Frontend {
        name: "images".into(),
        request: FrontendRequest::default(),
    };
    let outcome = bench
        .engine
        .solve(SolveSpec::new(JobId("job".into()), build))
        .await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    assert_eq!(bench.files.resolved(), 1);
    let shown: Vec<_> = outcome
        .summary
        .vertices
        .iter()
        .map(|v| v.name.as_str())
        .collect();
    assert_eq!(
        shown,
        ["[internal] load metadata for docker.io/library/busybox:latest"]
    );
}

#[tokio::test]
async fn a_frontend_hears_of_another_source_in_an_image_s_place() {
    let asks = |bridge: Arc<dyn Bridge>, _| async move {
        let query = ImageQuery {
            reference: "docker.io/library/busybox:latest".into(),
            platform: None,
            mode: ResolveMode::Default,
            log_name: String::new(),
            oci_layout_store: None,
        };
        let replaced = ImageAnswer::Replaced {
            reference: query.reference.clone(),
            by: "local://mine".into(),
        };
        assert_eq!(bridge.resolve_image(query).await?, replaced);
        assert!(replaced.into_image().is_err());
        Ok(FrontendResult::default())
    };
    let bench = Bench::new(Setup {
        frontends: vec![FakeFrontend::new("images", asks)],
        ..Setup::default()
    });
    let build = Build::Frontend {
        name: "images".into(),
        request: FrontendRequest::default(),
    };
    let convert = Rule {
        action: PolicyAction::Convert.into(),
        selector: Some(Selector {
            identifier: "docker-image://docker.io/library/busybox:latest".into(),
            ..Selector::default()
        }),
        updates: Some(Update {
            identifier: "local://mine".into(),
            ..Update::default()
        }),
    };
    let policy = Policy {
        version: 1,
        rules: vec![convert],
    };
    let mut spec = SolveSpec::new(JobId("job".into()), build);
    spec.source_rules = Rules::read(vec![policy]).expect("rules");
    let outcome = bench.engine.solve(spec).await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    assert_eq!(bench.files.resolved(), 0);
}

#[tokio::test]
async fn what_a_frontend_solves_runs_only_when_it_is_needed() {
    let bench = Bench::new(Setup {
        frontends: vec![FakeFrontend::new(
            "lazy",
            |bridge: Arc<dyn Bridge>, _| async move {
                let _unused = bridge.solve(Llb::chain("base", &["unused"])).await?;
                let read = bridge.solve(Llb::chain("base", &["read"])).await?;
                let name = bridge.read_file(&read, "/name", None).await?;
                assert!(name.starts_with(b"result of "));
                let missing = bridge.read_file(&read, "/other", None).await;
                assert_eq!(missing.map_err(|f| f.kind), Err(FailureKind::NotFound));
                let wanted = bridge.solve(Llb::chain("base", &["wanted"])).await?;
                Ok(FrontendResult {
                    parts: vec![FrontendPart {
                        platform: None,
                        result: Some(wanted),
                    }],
                    ..FrontendResult::default()
                })
            },
        )],
        ..Setup::default()
    });
    let build = Build::Frontend {
        name: "lazy".into(),
        request: FrontendRequest::default(),
    };
    let outcome = bench
        .engine
        .solve(SolveSpec::new(JobId("job".into()), build))
        .await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    let runs = ["unused", "read", "wanted"].map(|step| bench.worker.runs(step));
    assert_eq!(runs, [0, 1, 1]);
}

#[tokio::test]
async fn an_op_that_needs_a_permission_is_refused_without_it() {
    let bench = Bench::new(Setup::default());
    let mut llb = Llb::default();
    let step = llb.exec(
        "on the host's network",
        &[],
        pb::ExecOp {
            meta: Some(pb::Meta {
                args: vec!["true".into()],
                cwd: "/".into(),
                ..pb::Meta::default()
            }),
            mounts: vec![pb::Mount {
                input: -1,
                dest: "/".into(),
                ..pb::Mount::default()
            }],
            network: pb::NetMode::Host as i32,
            ..pb::ExecOp::default()
        },
    );
    let spec = Bench::graph("job", llb.wanting(&step));
    let failure = bench
        .engine
        .solve(spec.clone())
        .await
        .result
        .expect_err("refused");
    assert_eq!(failure.kind, FailureKind::Denied);
    assert_eq!(failure.message, "network.host is not allowed");
    let asked = SolveSpec {
        entitlements: vec!["network.host".into()],
        ..spec
    };
    let failure = bench.engine.solve(asked).await.result.expect_err("refused");
    assert_eq!(failure.kind, FailureKind::Denied);
    assert_eq!(bench.worker.runs("on the host's network"), 0);
}

#[tokio::test]
async fn a_finished_build_can_be_followed_and_is_in_the_history() {
    let bench = Bench::new(Setup::default());
    let graph = Llb::chain("base", &["step"]);
    let live = bench
        .engine
        .start(Bench::graph("job", graph))
        .expect("it starts");
    let progress = live.progress();
    assert!(live.outcome().await.result.is_ok());
    let seen = all(progress).await;
    let again = all(bench.progress("job").await).await;
    assert_eq!(seen, again);
    assert_eq!(
        output_of(&again),
        "base begins\nbase ends\nstep begins\nstep ends\n"
    );
    let records = bench.engine.history();
    assert_eq!(records.len(), 1);
    let ending = records[0].ending.as_ref().expect("it ended");
    assert_eq!(ending.failure, None);
    assert!(ending.vertices.iter().any(|vertex| vertex.name == "step"));
}

// Killed after it kept blobs for a build's record and before it wrote the record, an engine leaked the blobs.
#[tokio::test]
async fn blobs_of_a_build_without_a_record_go_with_the_next_start() {
    let state = tempfile::tempdir().expect("a folder");
    let blobs = Arc::new(FakeBlobs::default());
    let setup = || Setup {
        state: Some(state.path().to_owned()),
        blobs: Arc::clone(&blobs),
        ..Setup::default()
    };
    let bench = Bench::new(setup());
    let solved = bench
        .engine
        .solve(Bench::graph("whole", Llb::chain("base", &["step"])));
    assert!(solved.await.result.is_ok());
    bench.engine.shutdown().await;
    let whole = blobs.holders("").await.expect("a list");
    assert!(!whole.is_empty(), "its progress is kept");
    for holder in ["history/killed", "other/kept"] {
        let bytes = Some(Bytes::from(holder));
        blobs.keep(holder, Box::new(bytes)).await.expect("kept");
    }

    Bench::new(setup()).engine.shutdown().await;
    let kept = blobs.holders("").await.expect("a list");
    let others = vec!["other/kept".to_owned()];
    assert_eq!(kept, [whole, others].concat());
}

#[tokio::test]
async fn history_outlives_the_engine_but_not_its_bounds() {
    let state = tempfile::tempdir().expect("a folder");
    let setup = || Setup {
        state: Some(state.path().to_owned()),
        limits: Limits {
            history_entries: 2,
            ..Limits::default()
        },
        ..Setup::default()
    };
    let bench = Bench::new(setup());
    for job in ["one", "two", "three"] {
        let graph = Llb::chain("base", &[job]);
        assert!(
            bench
                .engine
                .solve(Bench::graph(job, graph))
                .await
                .result
                .is_ok()
        );
    }
    bench.engine.shutdown().await;
    drop(bench);
    std::fs::write(state.path().join("logs/left-behind"), "by a kill").expect("written");

    let bench = Bench::new(setup());
    let jobs: Vec<_> = bench
        .engine
        .history()
        .into_iter()
        .map(|record| record.job)
        .collect();
    assert_eq!(jobs, ["three", "two"]);
    let seen = all(bench.progress("three").await).await;
    assert!(output_of(&seen).contains("three ends\n"));
    let logs = std::fs::read_dir(state.path().join("logs")).expect("a folder");
    assert_eq!(logs.count(), 2);
}
