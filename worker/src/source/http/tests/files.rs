use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;
use cooper_core::model::{JobId, Pin, ResultId};
use cooper_core::ports::{ChecksumAlgorithm, ChecksumRequest, SourceQuery};
use cooper_proto::{Digest, pb};

use super::bench::{Bench, Client, Route, Server, file, methods, op};
use crate::confine::Last;
use crate::limits::Limits;

#[tokio::test]
async fn a_file_is_fetched_once_until_its_etag_changes() {
    let (server, bench) = (Server::start().await, Bench::plain());
    server.put("/f", file(b"one", "\"e1\""));
    server.put("/g", file(b"another", "\"e1\""));
    let f = op(&server.url("/f"), &[]);
    let first = bench.fetch(&f, "f").await;
    assert_eq!(first.1, b"one");
    assert_eq!(methods(&server.requests()), ["GET"]);
    assert_eq!(bench.fetch(&f, "f").await, first);
    assert_eq!(methods(&server.requests()), ["HEAD"]);
    // An ETag says nothing about another URL.
    assert_eq!(
        bench.fetch(&op(&server.url("/g"), &[]), "g").await.1,
        b"another"
    );
    assert_eq!(methods(&server.requests()), ["GET"]);
    server.put("/f", file(b"two", "W/\"e2\""));
    let second = bench.fetch(&f, "f").await;
    assert_eq!(second.1, b"two");
    assert_ne!(second.0, first.0);
    assert_eq!(methods(&server.requests()), ["HEAD", "GET"]);
    // Weak ETags count, and what was seen before is still known.
    assert_eq!(bench.fetch(&f, "f").await, second);
    server.put("/f", file(b"one", "\"e1\""));
    assert_eq!(bench.fetch(&f, "f").await, first);
    assert_eq!(methods(&server.requests()), ["HEAD", "HEAD"]);
}

#[tokio::test]
async fn a_build_sees_one_state_of_a_url() {
    let (server, bench) = (Server::start().await, Bench::plain());
    server.put("/f", file(b"one", "\"e1\""));
    let f = op(&server.url("/f"), &[]);
    let query = SourceQuery {
        source: pb::SourceOp {
            identifier: server.url("/f"),
            ..pb::SourceOp::default()
        },
        build: Some(JobId("b".into())),
        checksum: Some(ChecksumRequest {
            algorithm: ChecksumAlgorithm::Sha512,
            suffix: Bytes::from_static(b"!"),
        }),
        ..SourceQuery::default()
    };
    let meta = bench.source.meta(&query, &[], &bench.events).await.unwrap();
    assert_eq!(meta.digest, Digest::sha256_of("one"));
    let sum = cooper_proto::Algorithm::Sha512.digest("one!");
    assert_eq!(meta.checksum, Some(sum.to_string()));
    server.put("/f", file(b"two", "\"e2\""));
    let first = bench.key(&f, Some("b")).await.unwrap();
    assert_eq!(first, bench.key(&f, Some("b")).await.unwrap());
    assert_eq!(methods(&server.requests()), ["GET"]);
    // What it saw is not removed under it.
    let id = ResultId(first.pin.0["result"].clone());
    assert!(bench.snapshots.meta().pins().is_pinned(&id));
    bench.source.end_build(&JobId("b".into()));
    assert!(!bench.snapshots.meta().pins().is_pinned(&id));
    assert_ne!(first.key, bench.key(&f, Some("c")).await.unwrap().key);
}

#[tokio::test]
async fn a_file_that_went_is_fetched_again_and_must_be_the_same() {
    let (server, bench) = (Server::start().await, Bench::plain());
    server.put("/f", file(b"one", ""));
    let f = op(&server.url("/f"), &[]);
    let key = bench.key(&f, None).await.unwrap();
    let id = ResultId(key.pin.0["result"].clone());
    let gone = bench.snapshots.meta().remove_results(vec![id.clone()]);
    assert_eq!(gone.unwrap(), [id]);
    bench.run(&f, Some(key.pin.clone())).await.unwrap();
    assert_eq!(methods(&server.requests()), ["GET", "GET"]);
    server.put("/f", file(b"two", ""));
    let other = Pin(BTreeMap::from([(
        "digest".into(),
        key.pin.0["digest"].clone(),
    )]));
    let failure = bench.run(&f, Some(other)).await.unwrap_err();
    let words = format!(
        "digest mismatch {}: {}",
        Digest::sha256_of("two"),
        Digest::sha256_of("one")
    );
    assert_eq!(failure.message, words);
}

#[tokio::test]
async fn a_checksum_puts_the_download_off_and_is_kept_to() {
    let (server, bench) = (Server::start().await, Bench::plain());
    server.put("/f", file(b"content", "\"e\""));
    for algorithm in [
        cooper_proto::Algorithm::Sha256,
        cooper_proto::Algorithm::Sha384,
        cooper_proto::Algorithm::Sha512,
    ] {
        let sum = algorithm.digest("content");
        let right = op(&server.url("/f"), &[("http.checksum", sum.as_str())]);
        let key = bench.key(&right, None).await.unwrap();
        assert!(server.requests().is_empty());
        bench.run(&right, Some(key.pin)).await.unwrap();
        assert_eq!(methods(&server.requests()), ["GET"]);
        let sum = algorithm.digest("other");
        let wrong = op(&server.url("/f"), &[("http.checksum", sum.as_str())]);
        let pin = bench.key(&wrong, None).await.unwrap().pin;
        let failure = bench.run(&wrong, Some(pin)).await.unwrap_err();
        assert!(failure.message.starts_with("digest mismatch "), "{failure}");
        server.requests();
    }
    let results = bench.snapshots.meta().results().unwrap();
    assert_eq!(results.len(), 3, "what did not match was not kept");
}

#[tokio::test]
async fn a_file_looks_as_its_attributes_and_the_server_say() {
    let (server, bench) = (Server::start().await, Bench::plain());
    let date = "Sunday, 06-Nov-94 08:49:37 UTC";
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(b"content").unwrap();
    server.put(
        "/x",
        Route {
            headers: vec![
                ("Last-Modified", date.into()),
                ("Content-Encoding", "gzip".into()),
                (
                    "Content-Disposition",
                    "attachment; filename=\"../my img.jpg\"".into(),
                ),
            ],
            body: zipped.finish().unwrap(),
            ..Route::default()
        },
    );
    let attributes = [("http.perm", "04741"), ("http.uid", "5"), ("http.gid", "6")];
    let x = op(&server.url("/x"), &attributes);
    let key = bench.key(&x, None).await.unwrap();
    let result = bench.run(&x, Some(key.pin)).await.unwrap();
    let root = bench.snapshots.view(&result).unwrap().root().unwrap();
    let path = Path::new("my img.jpg");
    assert_eq!(root.read_small(path, 100).unwrap(), b"content");
    let metadata = root.metadata(path, Last::NoFollow).unwrap();
    assert_eq!(metadata.mode & 0o7777, 0o741);
    assert_eq!((metadata.owner.uid, metadata.owner.gid), (5, 6));
    assert_eq!(metadata.mtime.seconds, 784_111_777);
    let request = &server.requests()[0];
    assert!(request.2.contains("accept-encoding: gzip"), "{}", request.2);
}

#[tokio::test]
async fn what_the_client_uploads_is_a_file_too() {
    let client = Client {
        upload: vec![Bytes::from_static(b"FROM "), Bytes::from_static(b"scratch")],
        ..Client::default()
    };
    let bench = Bench::new(client, &Limits::default());
    let op = op(
        "http://buildkit-session/abc",
        &[("http.filename", "context")],
    );
    assert_eq!(bench.fetch(&op, "context").await.1, b"FROM scratch");
}
