use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use cooper_proto::control::{BytesMessage, SolveRequest};
use prost::Message;

use crate::bench::{Bench, Case, Counts, PATIENCE, nothing_wrong};
use crate::caller::{Answer, Call};
use crate::crowd::{frame, noise};
use crate::plan;

const SESSION: &str = "/moby.buildkit.v1.Control/Session";

/// What a session's client may say in place of an HTTP/2 server's words.
fn words() -> Vec<(&'static str, Vec<u8>)> {
    let settings = frame(4, 0, 0, &[]);
    let after = |frames: &[Vec<u8>]| [settings.clone(), frames.concat()].concat();
    let setting = |number: u8, value: u32| {
        let payload = [&[0, number], value.to_be_bytes().as_slice()].concat();
        frame(4, 0, 0, &payload)
    };
    let endless = std::iter::once(frame(1, 0, 1, &noise(3, 16_000)));
    let endless = endless.chain(std::iter::repeat_n(frame(9, 0, 1, &noise(5, 16_000)), 64));
    // The first question of the daemon is whether the client is healthy; `:status: 200` is 0x88.
    let answered = |data: &[u8]| after(&[frame(1, 4, 1, &[0x88]), frame(0, 1, 1, data)]);
    vec![
        ("silence", Vec::new()),
        ("no bytes of HTTP/2", noise(7, 4096)),
        (
            "a client's words",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        ),
        ("HTTP/1", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("settings alone", settings.clone()),
        (
            "a frame of no kind",
            after(&[frame(0xee, 0xff, 9, &noise(9, 512))]),
        ),
        (
            "frames of no size",
            [setting(5, 0), settings.clone()].concat(),
        ),
        (
            "a window that is too large",
            [setting(4, u32::MAX), settings.clone()].concat(),
        ),
        ("no streams", [setting(3, 0), settings.clone()].concat()),
        ("goodbye", after(&[frame(7, 0, 0, &[0; 8])])),
        (
            "data of nobody",
            after(&[
                frame(0, 0, 0, &noise(11, 64)),
                frame(0, 0, 99, &noise(11, 64)),
            ]),
        ),
        ("an answer to nothing", after(&[frame(1, 5, 77, &[0x88])])),
        ("a promise", after(&[frame(5, 4, 1, &[0, 0, 0, 2, 0x82])])),
        ("headers without end", after(&endless.collect::<Vec<_>>())),
        (
            "headers that are none",
            after(&[frame(1, 4, 1, &noise(13, 300))]),
        ),
        (
            "room that overflows",
            after(&vec![frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]); 3]),
        ),
        (
            "an answer of four gigabytes",
            answered(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2]),
        ),
        (
            "an answer that is none",
            answered(&[0, 0, 0, 0, 3, 0xff, 0xff, 0xff]),
        ),
        ("no status", answered(&[])),
        ("resets", after(&vec![frame(3, 0, 1, &[0, 0, 0, 2]); 2000])),
        ("pings", after(&vec![frame(6, 0, 0, &[0; 8]); 5000])),
    ]
}

fn session(name: &str, words: &[u8]) -> Result<Call> {
    let mut call = Call::new(SESSION, &[]).with("x-docker-expose-session-uuid", name.as_bytes())?;
    call = call.with(
        "x-docker-expose-session-grpc-method",
        b"/moby.filesync.v1.FileSync/DiffCopy",
    )?;
    call.body = words
        .chunks(30_000)
        .map(|piece| {
            let data = Bytes::copy_from_slice(piece);
            crate::caller::framed(&BytesMessage { data }.encode_to_vec())
        })
        .collect();
    Ok(call)
}

// T-A3: inside a session the daemon is the client, and the client is what it must not trust.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_talk_nonsense_are_over_or_cut_and_nothing_else() -> Result<()> {
    let mut bench = Bench::new().await?;
    let mut cases = Vec::new();
    for (what, words) in words() {
        for stays in [false, true] {
            let mut call = session(&plan::new_name(), &words)?;
            call.stays = stays;
            cases.push(Case {
                what: what.into(),
                call,
            });
        }
    }
    let mut counts = Counts::default();
    let wrong = bench.try_all(cases, &mut counts).await;
    bench.still_serves().await?;
    eprintln!("{counts}");
    nothing_wrong(&wrong)
}

// A build waits for what its client does not say, and ends when its session does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_whose_session_talks_nonsense_fails() -> Result<()> {
    let mut bench = Bench::new().await?;
    let mut builds = Vec::new();
    for (what, words) in words() {
        let name = plan::new_name();
        let mut attach = session(&name, &words)?;
        attach.stays = true;
        let source = cooper_proto::pb::SourceOp {
            identifier: "local://context".into(),
            attrs: [("local.session".to_owned(), name.clone())].into(),
        };
        let op = cooper_proto::pb::Op {
            op: Some(cooper_proto::pb::op::Op::Source(source)),
            ..cooper_proto::pb::Op::default()
        };
        let solve = SolveRequest {
            r#ref: plan::new_name(),
            session: name,
            definition: Some(plan::ending_in(&op.encode_to_vec(), Vec::new())),
            ..SolveRequest::default()
        };
        let solve = Call::new("/moby.buildkit.v1.Control/Solve", &solve.encode_to_vec());
        builds.push((what, attach, solve));
    }
    let bench_ref = &bench;
    let ends = builds.iter().map(|(what, attach, solve)| async move {
        let session = bench_ref.caller.call(attach, Duration::from_secs(3));
        let build = bench_ref.caller.call(solve, PATIENCE);
        let (_ended, built) = tokio::join!(session, build);
        (*what, built)
    });
    for (what, built) in futures::future::join_all(ends).await {
        let Answer::Status { code, .. } = &built else {
            anyhow::bail!("{what}: {built:?}");
        };
        assert!(!matches!(code, 0 | 13), "{what}: {built:?}");
    }
    bench.still_serves().await
}
