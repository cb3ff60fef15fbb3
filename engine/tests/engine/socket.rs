use std::collections::BTreeMap;
use std::time::Duration;

use cooper_core::model::FailureKind;
use cooper_engine::Limits;
use cooper_engine::server::failure_from_status;
use cooper_proto::control::{
    BuildHistoryRequest, Exporter, InfoRequest, ListWorkersRequest, SolveRequest, StatusRequest,
    StatusResponse, UpdateBuildHistoryRequest,
};
use cooper_proto::frontend::{
    self, InputsRequest, NewContainerRequest, PingRequest, ReadFileRequest, ReturnRequest,
};
use cooper_proto::pb;
use tonic::{Code, Request, Streaming};

use crate::fake::{Bench, Client, FakeExporter, Llb, PATIENCE, Script, Served, Setup, output_of};

fn request(job: &str, definition: pb::Definition) -> SolveRequest {
    SolveRequest {
        r#ref: job.to_owned(),
        definition: Some(definition),
        ..SolveRequest::default()
    }
}

async fn status(client: &mut Client, job: &str) -> Streaming<StatusResponse> {
    let asked = StatusRequest {
        r#ref: job.to_owned(),
    };
    client
        .control
        .status(asked)
        .await
        .expect("a build")
        .into_inner()
}

async fn rest(mut news: Streaming<StatusResponse>) -> StatusResponse {
    let mut all = StatusResponse::default();
    while let Some(news) = news.message().await.expect("a stream") {
        all.vertexes.extend(news.vertexes);
        all.logs.extend(news.logs);
    }
    all
}

#[tokio::test]
async fn two_clients_over_one_socket_share_a_step() {
    let bench = Bench::new(Setup {
        exporters: vec![FakeExporter::new("oci")],
        ..Setup::default()
    });
    let served = Served::new(&bench.engine);
    bench.worker.hold("shared");
    let (mut one, mut two) = (served.client().await, served.client().await);
    let first = async {
        let mut asked = request("one", Llb::chain("base", &["shared", "one"]));
        asked.exporters.push(Exporter {
            r#type: "oci".into(),
            attrs: BTreeMap::new(),
        });
        one.control.solve(asked).await
    };
    let second = async {
        bench.worker.reached("shared").await;
        let mut watcher = served.client().await;
        let asked = request("two", Llb::chain("base", &["shared", "two"]));
        let (solved, progress) = futures::join!(two.control.solve(asked), async {
            let news = status(&mut watcher, "two").await;
            bench.worker.let_go("shared");
            rest(news).await
        });
        (solved, output_of(&progress))
    };
    let (first, (second, output)) = futures::join!(first, second);
    let response = first.expect("it works").into_inner().exporter_response;
    assert_eq!(response["exported.by"], "oci");
    assert!(second.is_ok());
    assert_eq!(bench.worker.runs("shared"), 1);
    assert!(output.contains("shared ends\n"), "{output}");
    drop((one, two));
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_build_with_it() {
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    bench.worker.hold("long");
    let mut client = served.client().await;
    let mut watcher = served.client().await;
    {
        let solve = client
            .control
            .solve(request("job", Llb::chain("base", &["long"])));
        tokio::select! {
            ended = solve => panic!("the step is held: {ended:?}"),
            () = bench.worker.reached("long") => {}
        }
    }
    drop(client);
    let seen = rest(status(&mut watcher, "job").await).await;
    assert_eq!(bench.worker.stopped(), ["long"]);
    let last = seen.vertexes.iter().rfind(|vertex| vertex.name == "long");
    assert_eq!(last.map(|v| v.error.as_str()), Some("context canceled"));
    drop(watcher);
    served.stop().await;
}

#[tokio::test]
async fn an_engine_that_is_closed_refuses_builds_and_lets_those_that_run_end() {
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    bench.worker.hold("long");
    let (mut one, mut two) = (served.client().await, served.client().await);
    let first = one
        .control
        .solve(request("one", Llb::chain("base", &["long"])));
    let second = async {
        bench.worker.reached("long").await;
        bench.engine.close();
        let asked = request("two", Llb::chain("base", &["late"]));
        let refused = two.control.solve(asked).await.expect_err("it is closed");
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("is stopping"), "{refused}");
        two.control.info(InfoRequest {}).await.expect("it answers");
        bench.worker.let_go("long");
        bench.engine.idle().await;
    };
    let (first, ()) = futures::join!(first, second);
    first.expect("what ran has ended well");
    assert_eq!(bench.worker.runs("late"), 0);
    drop((one, two));
    served.stop().await;
}

#[tokio::test]
async fn who_listens_for_builds_hears_that_the_engine_ends() {
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    let mut client = served.client().await;
    let listening = client
        .control
        .listen_build_history(BuildHistoryRequest::default());
    let mut events = listening.await.expect("it listens").into_inner();
    bench.engine.shutdown().await;
    let last = events.message().await.expect("a whole answer");
    assert_eq!(last, None);
    drop((events, client));
    served.stop().await;
}

#[tokio::test]
async fn a_failure_reaches_the_client_with_its_vertex() {
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    bench.worker.script("test", Script::Exit(9));
    let mut client = served.client().await;
    let asked = request("job", Llb::chain("base", &["test"]));
    let refused = client.control.solve(asked).await.expect_err("it fails");
    assert_eq!(refused.code(), Code::Unknown);
    let failure = failure_from_status(&refused);
    assert_eq!(failure.kind, FailureKind::Exit { code: 9 });
    assert!(failure.vertex.is_some());
    drop(client);
    served.stop().await;
}

#[tokio::test]
async fn a_step_gets_a_secret_through_the_tunnel() {
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    bench.worker.script("tell", Script::TellSecret("password"));
    let mut client = served.client().await;
    client.attach("session", true).await.expect("attached");
    let taken = client.attach("session", true).await.expect_err("taken");
    assert_eq!(taken.code(), Code::InvalidArgument);
    let asked = SolveRequest {
        session: "session".into(),
        ..request("job", Llb::chain("base", &["tell"]))
    };
    client.control.solve(asked).await.expect("it works");
    let seen = rest(status(&mut client, "job").await).await;
    assert!(output_of(&seen).contains("password is swordfish\n"));
    drop(client);
    bench.engine.shutdown().await;
    served.stop().await;
}

#[tokio::test]
async fn a_session_that_does_not_say_it_is_alive_is_given_up() {
    let bench = Bench::new(Setup {
        limits: Limits {
            health_interval: Duration::from_millis(20),
            ..Limits::default()
        },
        ..Setup::default()
    });
    let served = Served::new(&bench.engine);
    let mut client = served.client().await;
    client.attach("mute", false).await.expect("attached");
    // The id is free again once the session is given up.
    let given_up = async {
        let mut second = served.client().await;
        while second.attach("mute", true).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, given_up)
        .await
        .expect("it is given up");
    drop(client);
    bench.engine.shutdown().await;
    served.stop().await;
}

#[tokio::test]
async fn what_is_not_built_answers_with_its_name() {
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    let mut client = served.client().await;
    let traces = client
        .control
        .update_build_history(UpdateBuildHistoryRequest {
            r#ref: "unknown".into(),
            finalize: true,
            ..UpdateBuildHistoryRequest::default()
        });
    let unknown = traces.await.expect_err("there is no such build");
    assert_eq!(unknown.code(), Code::NotFound);
    let container = client.gateway.new_container(NewContainerRequest::default());
    let container = container.await.expect_err("of no build");
    assert_eq!(container.code(), Code::InvalidArgument);
    drop(client);
    served.stop().await;
}

#[tokio::test]
async fn the_engine_says_what_it_is() {
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    let mut client = served.client().await;
    let info = client
        .control
        .info(InfoRequest {})
        .await
        .expect("it answers");
    let version = info.into_inner().buildkit_version.expect("a version");
    assert_eq!(
        (version.package.as_str(), version.version.as_str()),
        ("cooper", "v0.31.0+cooper.test")
    );
    let workers = client
        .control
        .list_workers(ListWorkersRequest::default())
        .await;
    assert_eq!(
        workers.expect("it answers").into_inner().record[0].id,
        "fake"
    );
    drop(client);
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_is_its_own_frontend_reads_and_returns_over_the_bridge() {
    fn of<T>(job: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let key = "buildkit-controlapi-buildid";
        request
            .metadata_mut()
            .insert(key, job.parse().expect("ASCII"));
        request
    }
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    let (mut outer, mut inner) = (served.client().await, served.client().await);
    let unnamed = inner
        .gateway
        .ping(PingRequest {})
        .await
        .expect_err("no build named");
    assert_eq!(unnamed.code(), Code::InvalidArgument);
    let opened = SolveRequest {
        r#ref: "driven".into(),
        frontend_inputs: BTreeMap::from([("more".to_owned(), Llb::chain("base", &["more"]))]),
        ..SolveRequest::default()
    };
    let drive = async {
        let gateway = &mut inner.gateway;
        let pong = gateway
            .ping(of("driven", PingRequest {}))
            .await
            .expect("a build");
        let caps = pong.into_inner().frontend_api_caps;
        assert!(caps.iter().any(|cap| cap.id == "solve.base" && cap.enabled));
        assert!(caps.iter().any(|cap| cap.id == "gateway.exec"));
        let inputs = gateway
            .inputs(of("driven", InputsRequest {}))
            .await
            .expect("inputs");
        assert!(inputs.into_inner().definitions.contains_key("more"));
        let solve = frontend::SolveRequest {
            definition: Some(Llb::chain("base", &["step"])),
            allow_result_return: true,
            allow_result_array_ref: true,
            ..frontend::SolveRequest::default()
        };
        let solved = gateway.solve(of("driven", solve)).await.expect("a result");
        assert_eq!(bench.worker.runs("step"), 0);
        let result = solved.into_inner().result.expect("a result");
        let Some(frontend::result::Result::Ref(only)) = &result.result else {
            panic!("one ref was asked for: {result:?}");
        };
        assert!(only.def.is_some());
        let read = ReadFileRequest {
            r#ref: only.id.clone(),
            file_path: "/name".into(),
            ..ReadFileRequest::default()
        };
        let read = gateway.read_file(of("driven", read)).await.expect("a file");
        assert!(read.into_inner().data.starts_with(b"result of "));
        let back = || ReturnRequest {
            result: Some(result.clone()),
            error: None,
        };
        gateway.r#return(of("driven", back())).await.expect("taken");
    };
    let (solved, ()) = futures::join!(outer.control.solve(opened), drive);
    assert!(solved.is_ok(), "{solved:?}");
    assert_eq!(bench.worker.runs("step"), 1);
    drop((outer, inner));
    served.stop().await;
}

#[tokio::test]
async fn history_lists_pins_and_forgets_builds() {
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    let mut client = served.client().await;
    client
        .control
        .solve(request("kept", Llb::chain("base", &["step"])))
        .await
        .expect("it works");
    let update = |pinned, delete| UpdateBuildHistoryRequest {
        r#ref: "kept".into(),
        pinned,
        delete,
        finalize: false,
    };
    client
        .control
        .update_build_history(update(true, false))
        .await
        .expect("a record");
    let known = BuildHistoryRequest {
        early_exit: true,
        ..BuildHistoryRequest::default()
    };
    let mut events = client
        .control
        .listen_build_history(known.clone())
        .await
        .expect("a list")
        .into_inner();
    let event = events
        .message()
        .await
        .expect("a stream")
        .expect("one record");
    let record = event.record.expect("a record");
    assert!(record.pinned && record.completed_at.is_some());
    assert_eq!(record.num_total_steps, 2);
    assert!(events.message().await.expect("a stream").is_none());
    client
        .control
        .update_build_history(update(false, true))
        .await
        .expect("a record");
    let mut events = client
        .control
        .listen_build_history(known)
        .await
        .expect("a list")
        .into_inner();
    assert!(events.message().await.expect("a stream").is_none());
    drop(client);
    served.stop().await;
}
