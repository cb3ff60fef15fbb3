//! What clients can ask of what is kept: records of use, blobs, the history.

use cooper_proto::content::{InfoRequest, ListContentRequest, ReadContentRequest};
use cooper_proto::control::{
    BuildHistoryRecord, BuildHistoryRequest, DiskUsageRequest, SolveRequest, StatusResponse,
    UpdateBuildHistoryRequest,
};
use futures::StreamExt;
use prost::Message;
use tonic::Code;

use crate::fake::{Bench, Client, FakeExporter, Llb, Script, Served, Setup};

async fn records(client: &mut Client, filter: &str) -> Vec<BuildHistoryRecord> {
    let request = BuildHistoryRequest {
        early_exit: true,
        filter: Some(filter.to_owned())
            .filter(|it| !it.is_empty())
            .into_iter()
            .collect(),
        ..BuildHistoryRequest::default()
    };
    let events = client
        .control
        .listen_build_history(request)
        .await
        .expect("a list");
    let events: Vec<_> = events.into_inner().collect().await;
    let record = |event: Result<cooper_proto::control::BuildHistoryEvent, _>| {
        event.expect("an event").record.expect("a record")
    };
    events.into_iter().map(record).collect()
}

async fn blob(client: &mut Client, digest: &str) -> Vec<u8> {
    let request = ReadContentRequest {
        digest: digest.to_owned(),
        ..ReadContentRequest::default()
    };
    let mut parts = client
        .content
        .read(request)
        .await
        .expect("a blob")
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await.expect("a part") {
        assert_eq!(usize::try_from(part.offset), Ok(bytes.len()));
        bytes.extend(part.data);
    }
    bytes
}

async fn update(client: &mut Client, job: &str, delete: bool) {
    let request = UpdateBuildHistoryRequest {
        r#ref: job.to_owned(),
        finalize: !delete,
        delete,
        ..UpdateBuildHistoryRequest::default()
    };
    client
        .control
        .update_build_history(request)
        .await
        .expect("a known build");
}

#[tokio::test]
async fn usage_is_filtered_and_a_filter_that_is_none_is_refused() {
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    let mut client = served.client().await;
    let mut count = async |filter: &str| {
        let request = DiskUsageRequest {
            filter: vec![filter.to_owned()],
            ..DiskUsageRequest::default()
        };
        let usage = client.control.disk_usage(request).await;
        usage
            .map(|usage| usage.into_inner().record.len())
            .map_err(|status| status.code())
    };
    assert_eq!(count("type==regular,private").await, Ok(1));
    assert_eq!(count("inuse").await, Ok(0));
    assert_eq!(count("type=regular").await, Err(Code::InvalidArgument));
    drop(client);
    served.stop().await;
    bench.engine.shutdown().await;
}

#[tokio::test]
async fn a_finished_build_leaves_its_progress_and_its_error_as_blobs() {
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    let mut client = served.client().await;
    bench.worker.script("bad", Script::Exit(9));
    for (job, step) in [("good", "fine"), ("failing", "bad")] {
        let request = SolveRequest {
            r#ref: job.to_owned(),
            definition: Some(Llb::chain("base", &[step])),
            ..SolveRequest::default()
        };
        let solved = client.control.solve(request).await;
        assert_eq!(solved.is_ok(), job == "good", "{solved:?}");
        update(&mut client, job, false).await;
    }
    let good = records(&mut client, "status==completed").await.remove(0);
    assert_eq!(good.r#ref, "good");
    let logs = blob(&mut client, &good.logs.expect("logs").digest).await;
    let length = u32::from_le_bytes(logs[..4].try_into().expect("four bytes"));
    let first = &logs[4..4 + usize::try_from(length).expect("fits")];
    let first = StatusResponse::decode(first).expect("a status");
    assert!(
        first
            .vertexes
            .iter()
            .any(|vertex| vertex.name.contains("fine")),
        "{first:?}"
    );
    let trace = blob(&mut client, &good.trace.expect("a trace").digest).await;
    assert!(String::from_utf8_lossy(&trace).contains("\"TraceID\""));

    let failing = records(&mut client, "status==error").await.remove(0);
    let error = failing.external_error.expect("an error");
    let status = blob(&mut client, &error.digest).await;
    let status = cooper_proto::rpc::Status::decode(&status[..]).expect("a status");
    let shown = failing.error.expect("an error");
    assert_eq!(status.message, shown.message);
    assert!(shown.details.is_empty() && !status.details.is_empty());

    for job in ["good", "failing"] {
        update(&mut client, job, true).await;
    }
    assert!(records(&mut client, "").await.is_empty());
    let listed = client
        .content
        .list(ListContentRequest::default())
        .await
        .expect("a list");
    assert_eq!(listed.into_inner().collect::<Vec<_>>().await.len(), 0);
    let gone = client
        .content
        .info(InfoRequest {
            digest: error.digest,
        })
        .await;
    assert_eq!(gone.expect_err("it is gone").code(), Code::NotFound);
    drop(client);
    served.stop().await;
    bench.engine.shutdown().await;
}

// T-C21
#[tokio::test]
async fn no_credential_of_a_request_is_in_its_trace_or_in_anything_else_that_is_kept() {
    let state = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(Setup {
        state: Some(state.path().to_owned()),
        exporters: vec![FakeExporter::new("image")],
        ..Setup::default()
    });
    let served = Served::new(&bench.engine);
    let mut client = served.client().await;
    bench.worker.script("bad", Script::Exit(9));
    let s3 = r#"{"Type":"s3","Attrs":{"bucket":"b","access_key_id":"CANARY","secret_access_key":"CANARY","session_token":"CANARY"}}"#;
    let attributes = [("context", "https://user:CANARY@host/app.git")];
    let caches = [("cache-imports", format!("[{s3}]"))];
    let secrets = ["token", "ghtoken", "secret_access_key"].map(|key| (key, "CANARY"));
    let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    for (job, step) in [("good", "fine"), ("failing", "bad")] {
        let mut llb = Llb::default();
        let base = llb.source("https://user:CANARY@host/base");
        let step = llb.step(step, &[&base]);
        let request = SolveRequest {
            r#ref: job.to_owned(),
            definition: Some(llb.wanting(&step)),
            frontend_attrs: attributes
                .into_iter()
                .map(text)
                .chain(caches.iter().map(|(key, value)| text((key, value))))
                .collect(),
            exporters: vec![cooper_proto::control::Exporter {
                r#type: "image".into(),
                attrs: secrets.into_iter().map(text).collect(),
            }],
            cache: Some(cooper_proto::control::CacheOptions {
                imports: vec![cooper_proto::control::CacheOptionsEntry {
                    r#type: "gha".into(),
                    attrs: secrets.into_iter().map(text).collect(),
                }],
                ..Default::default()
            }),
            ..SolveRequest::default()
        };
        let solved = client.control.solve(request).await;
        assert_eq!(solved.is_ok(), job == "good", "{solved:?}");
        update(&mut client, job, false).await;
    }
    for record in records(&mut client, "").await {
        let shown = format!("{record:?}");
        assert!(!shown.contains("CANARY"), "{shown}");
        let kept = [record.trace, record.logs, record.external_error];
        for kept in kept.into_iter().flatten() {
            let bytes = blob(&mut client, &kept.digest).await;
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("CANARY"), "{}: {text}", kept.media_type);
        }
    }
    drop(client);
    served.stop().await;
    bench.engine.shutdown().await;
    let mut folders = vec![state.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).expect("a file");
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("CANARY"), "{}: {text}", path.display());
        }
    }
    assert!(files > 0, "there is nothing to look at");
}
