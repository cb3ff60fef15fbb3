use anyhow::Result;
use bytes::Bytes;
use cooper_proto::{control, secrets};
use prost::Message;

use crate::bench::{AT_ONCE, BUILD_ID, Bench, Case, Counts, PATIENCE, bodies, nothing_wrong};
use crate::caller::{Answer, Call, framed};
use crate::plan;

const INFO: &str = "/moby.buildkit.v1.Control/Info";

/// Headers that say nothing sensible.
const HEADERS: &[(&str, &[u8])] = &[
    ("grpc-timeout", b"soon"),
    ("grpc-timeout", b"99999999999999H"),
    ("grpc-timeout", b"-1S"),
    ("grpc-encoding", b"none-that-there-is"),
    ("grpc-accept-encoding", b",,,\xff"),
    ("content-type", b"text/html"),
    ("content-type", b"application/grpc+json"),
    ("x-binary-bin", b"%%% no Base64 %%%"),
    ("user-agent", b"\xff\xfe\xfd"),
    ("authorization", b"Bearer \x80"),
    (BUILD_ID, b""),
    (BUILD_ID, b"../../etc"),
    (BUILD_ID, b"\xff\xff"),
    ("x-docker-expose-session-uuid", b"\xff"),
    ("x-docker-expose-session-uuid", b"a/../b"),
    ("x-docker-expose-session-name", b"\x80\x80"),
    ("x-docker-expose-session-sharedkey", b"\xff"),
    ("x-docker-expose-session-grpc-method", b"/no such method"),
    ("x-buildkit-session-health-custom-timeout", b"-5"),
    (
        "x-buildkit-session-health-custom-timeout",
        b"18446744073709551615",
    ),
    ("x-buildkit-session-health-custom-timeout", b"0"),
];

/// Bodies that are no message of gRPC.
fn odd_bodies() -> Vec<(&'static str, Vec<Bytes>)> {
    let cut_off = |length: u32| {
        let head = [&[0], length.to_be_bytes().as_slice()].concat();
        vec![Bytes::from(head), Bytes::from_static(b"ab")]
    };
    let compressed = [&[1, 0, 0, 0, 4][..], b"\x1f\x8b\x08\x00"].concat();
    vec![
        ("no message", Vec::new()),
        (
            "half of a message's head",
            vec![Bytes::from_static(&[0, 0])],
        ),
        ("a message that is cut off", cut_off(100)),
        ("a message of four gigabytes", cut_off(u32::MAX)),
        (
            "a message above the limit",
            vec![framed(&vec![0; 17 << 20])],
        ),
        ("a compressed message", vec![compressed.into()]),
        (
            "an unknown kind of compression",
            vec![Bytes::from_static(&[9, 0, 0, 0, 0])],
        ),
        ("two messages", bodies(&[Vec::new(), vec![0x0a, 0x00]])),
        ("many messages", bodies(&vec![Vec::new(); 1000])),
        ("noise", vec![Bytes::from(vec![0xa7; 5000])]),
    ]
}

fn methods() -> Result<Vec<String>> {
    let services = plan::description()?;
    let services = services.services();
    let served = services.filter(|service| plan::SERVED.contains(&service.full_name()));
    let methods = served.flat_map(|service| service.methods().collect::<Vec<_>>());
    Ok(methods.map(|method| plan::path(&method)).collect())
}

// T-A3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_malformed_call_gets_a_status() -> Result<()> {
    let mut bench = Bench::new().await?;
    let mut cases = Vec::new();
    for path in methods()? {
        for (what, body) in odd_bodies() {
            let mut call = Call::new(&path, &[]);
            call.body = body;
            cases.push(Case {
                what: what.into(),
                call,
            });
        }
        for (name, value) in HEADERS {
            let what = format!("{name}: {}", value.escape_ascii());
            let call = Call::new(&path, &[]).with(name, value)?;
            cases.push(Case { what, call });
        }
    }
    let mut counts = Counts::default();
    let wrong = bench.try_all(cases, &mut counts).await;
    bench.still_serves().await?;
    eprintln!("{counts}");
    nothing_wrong(&wrong)
}

#[tokio::test]
async fn a_path_that_nobody_serves_is_unimplemented() -> Result<()> {
    let mut bench = Bench::new().await?;
    let long = format!("/{}/Info", "a".repeat(10_000));
    for path in [
        "/",
        "//",
        "/moby.buildkit.v1.Control",
        "/moby.buildkit.v1.Control/",
        "/x/Info",
        &long,
    ] {
        let answer = bench.caller.call(&Call::new(path, &[]), PATIENCE).await;
        assert!(
            matches!(answer, Answer::Status { code: 12, .. }),
            "{path}: {answer:?}"
        );
    }
    // What clients serve is nothing that a daemon serves.
    let secret = secrets::GetSecretRequest {
        id: "a".into(),
        ..secrets::GetSecretRequest::default()
    };
    let path = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
    let answer = bench
        .caller
        .call(&Call::new(path, &secret.encode_to_vec()), PATIENCE)
        .await;
    assert!(
        matches!(answer, Answer::Status { code: 12, .. }),
        "{answer:?}"
    );
    bench.still_serves().await
}

// A client that is sent more headers than it takes ends the whole connection: errors are bounded, whatever they quote.
#[tokio::test]
async fn errors_that_quote_much_of_a_request_are_bounded() -> Result<()> {
    let mut bench = Bench::new().await?;
    let long = "\u{e4}".repeat(1 << 20);
    let requests = [
        (
            "/moby.buildkit.v1.Control/ListWorkers",
            control::ListWorkersRequest {
                filter: vec![long.clone()],
            }
            .encode_to_vec(),
        ),
        (
            "/moby.buildkit.v1.Control/UpdateBuildHistory",
            control::UpdateBuildHistoryRequest {
                r#ref: long.clone(),
                ..control::UpdateBuildHistoryRequest::default()
            }
            .encode_to_vec(),
        ),
        (
            "/containerd.services.content.v1.Content/Status",
            cooper_proto::content::StatusRequest {
                r#ref: long.clone(),
            }
            .encode_to_vec(),
        ),
        (
            "/containerd.services.content.v1.Content/Info",
            cooper_proto::content::InfoRequest {
                digest: long.clone(),
            }
            .encode_to_vec(),
        ),
        (
            "/cooper.v1.Cooper/Explain",
            cooper_proto::cooper::ExplainRequest {
                build: long,
                ..cooper_proto::cooper::ExplainRequest::default()
            }
            .encode_to_vec(),
        ),
    ];
    for (path, message) in requests {
        let answer = bench
            .caller
            .call(&Call::new(path, &message), PATIENCE)
            .await;
        let Answer::Status { code, message, .. } = answer else {
            anyhow::bail!("{path}: {answer:?}");
        };
        assert!(code != 0 && code != 11, "{path}: {code}");
        let bytes = message.len();
        assert!(bytes <= 17 << 10, "{path}: {bytes} bytes");
    }
    bench.still_serves().await
}

// The answer to a call stands for that call alone.
#[tokio::test]
async fn a_call_that_is_never_finished_holds_up_no_other() -> Result<()> {
    let mut bench = Bench::new().await?;
    let mut open = Call::new(INFO, &[]);
    open.stays = true;
    open.body = vec![Bytes::from_static(&[0, 0, 0, 0, 9])];
    let calls = futures::future::join_all((0..AT_ONCE).map(|_| bench.caller.call(&open, PATIENCE)));
    let other = Call::new(INFO, &[]);
    tokio::select! {
        ended = calls => anyhow::bail!("they are not finished: {ended:?}"),
        answered = bench.caller.call(&other, PATIENCE) => assert!(answered.is_ok(), "{answered:?}"),
    }
    bench.still_serves().await
}
