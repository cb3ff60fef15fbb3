use std::io::Write as _;

use cooper_core::model::FailureKind;

use super::bench::{Bench, Client, Route, Server, file, op};
use crate::limits::Limits;

#[tokio::test]
async fn refusals_are_told_by_their_status() {
    let (server, bench) = (Server::start().await, Bench::plain());
    for (status, kind) in [
        (401, FailureKind::Denied),
        (404, FailureKind::NotFound),
        (503, FailureKind::Infrastructure),
    ] {
        server.put(
            "/f",
            Route {
                status,
                ..Route::default()
            },
        );
        let f = op(&server.url("/f"), &[]);
        let failure = bench.key(&f, None).await.unwrap_err();
        assert_eq!(failure.message, format!("invalid response status {status}"));
        assert_eq!(failure.kind, kind);
    }
}

// T-C4
#[tokio::test]
async fn passwords_stay_with_the_origin_of_the_url() {
    let secrets = [
        ("HTTP_AUTH_TOKEN_127.0.0.1", "CANARY"),
        ("mine", "Basic CANARY"),
    ];
    let client = Client {
        secrets: secrets.map(|(id, value)| (id.into(), value.into())).into(),
        ..Client::default()
    };
    let bench = Bench::new(client, &Limits::default());
    let (server, other) = (Server::start().await, Server::start().await);
    let redirect = |location: String, status| Route {
        status,
        headers: vec![("Location", location)],
        ..Route::default()
    };
    other.put("/f", file(b"content", ""));
    server.put("/here", redirect("/there".into(), 302));
    server.put("/there", redirect(other.url("/f"), 307));
    for (url, attributes, want) in [
        (server.url("/here"), vec![], "authorization: bearer canary"),
        (
            server.url("/here"),
            vec![("http.authheadersecret", "mine")],
            "authorization: basic canary",
        ),
        (
            server.url("/here").replace("//", "//name:CANARY@"),
            vec![("http.authheadersecret", "mine")],
            "authorization: basic canary",
        ),
    ] {
        bench.key(&op(&url, &attributes), None).await.unwrap();
        let ours = server.requests();
        assert_eq!(ours.len(), 2);
        assert!(ours.iter().all(|it| it.2.contains(want)), "{ours:?}");
        let theirs = other.requests();
        assert_eq!(theirs.len(), 1);
        assert!(!theirs[0].2.contains("authorization"), "{theirs:?}");
    }
    let missing = op(&server.url("/f"), &[("http.authheadersecret", "no")]);
    let failure = bench.key(&missing, None).await.unwrap_err();
    assert!(
        failure
            .message
            .starts_with("failed to retrieve HTTP auth secret no"),
        "{failure}"
    );
    // T-A2
    let state = bench.folder.path();
    let found = std::process::Command::new("grep")
        .args(["-rlai", "canary"])
        .arg(state)
        .output()
        .unwrap();
    assert!(found.stdout.is_empty(), "{:?}", found.stdout);
}

#[tokio::test]
async fn redirects_end_and_lead_to_web_addresses_only() {
    let (server, bench) = (Server::start().await, Bench::plain());
    for location in ["/f", "ftp://127.0.0.1/f", "file:///etc/passwd"] {
        server.put(
            "/f",
            Route {
                status: 301,
                headers: vec![("Location", location.into())],
                ..Route::default()
            },
        );
        let f = op(&server.url("/f"), &[]);
        let failure = bench.key(&f, None).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidInput, "{failure}");
        assert!(server.requests().len() <= 10);
    }
}

// T-C23
#[tokio::test]
async fn a_file_beyond_the_limit_is_refused_also_when_it_grows_on_unpacking() {
    let limits = Limits {
        download_bytes: 1 << 20,
        ..Limits::default()
    };
    let (server, bench) = (
        Server::start().await,
        Bench::new(Client::default(), &limits),
    );
    let zeros = vec![0; (1 << 20) + 1];
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    zipped.write_all(&zeros).unwrap();
    let bomb = Route {
        headers: vec![("Content-Encoding", "gzip".into())],
        body: zipped.finish().unwrap(),
        ..Route::default()
    };
    for route in [file(&zeros, ""), bomb] {
        server.put("/f", route);
        let f = op(&server.url("/f"), &[]);
        let failure = bench.key(&f, None).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidInput, "{failure}");
    }
    assert!(bench.snapshots.meta().results().unwrap().is_empty());
}

#[tokio::test]
async fn a_download_that_breaks_off_is_not_kept() {
    let (server, bench) = (Server::start().await, Bench::plain());
    server.put(
        "/f",
        Route {
            headers: vec![("Content-Length", "100".into())],
            body: b"short".to_vec(),
            ..Route::default()
        },
    );
    let failure = bench
        .key(&op(&server.url("/f"), &[]), None)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Infrastructure, "{failure}");
    assert!(bench.snapshots.meta().results().unwrap().is_empty());
}
