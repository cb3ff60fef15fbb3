use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration_tests::gate::client;
use integration_tests::sandbox::path;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::bench::{Bench, PATIENCE};

/// Connections of one crowd.
const CROWD: u32 = 200;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// The headers of a call, by their numbers in HPACK's table: POST, http, /.
const CALL: &[u8] = &[0x83, 0x86, 0x84];

/// One frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Bytes that follow from a number and look like nothing.
pub(crate) fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    })
    .take(length)
    .collect()
}

/// What the client of a number says. Its first words are said over and over by those that do not end.
fn words(number: u32) -> Vec<u8> {
    let after = |frames: &mut dyn Iterator<Item = Vec<u8>>| {
        [PREFACE, SETTINGS, &frames.collect::<Vec<_>>().concat()].concat()
    };
    let calls = || (1..1000).step_by(2);
    match number % 8 {
        0 => noise(number, 4096),
        // Half a handshake.
        1 => PREFACE[..usize::try_from(number % 24).unwrap_or(0)].to_vec(),
        // Headers that never end: no END_HEADERS, then further parts.
        2 => {
            let first = std::iter::once(frame(1, 0, 1, &noise(number, 8192)));
            let more = std::iter::repeat_n(frame(9, 0, 1, &noise(number, 16_384)), 64);
            after(&mut first.chain(more))
        }
        // A handshake, and then frames of no kind.
        3 => {
            let kind = u8::try_from(number).unwrap_or(255);
            after(&mut std::iter::once(frame(
                kind,
                255,
                number,
                &noise(number, 512),
            )))
        }
        // Calls that are taken back as soon as they are made.
        4 => after(&mut calls().flat_map(|stream| {
            [
                frame(1, 4, stream, CALL),
                frame(3, 0, stream, &[0, 0, 0, 8]),
            ]
        })),
        // Questions whether anybody is there, again and again.
        5 => after(&mut std::iter::repeat_n(frame(6, 0, 0, &[0; 8]), 1000)),
        // Calls that begin and never go on.
        6 => after(&mut calls().map(|stream| frame(1, 4, stream, CALL))),
        // Silence.
        _ => Vec::new(),
    }
}

/// Says its words when all others do, and whatever more the other side still takes; then it holds the connection.
async fn misbehave(socket: Arc<Path>, number: u32, together: Arc<Barrier>) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await?;
    together.wait().await;
    // Being cut off is what such a client should expect, and that nobody reads on when it does not read answers.
    let words = words(number);
    let sent = tokio::time::timeout(Duration::from_secs(2), stream.write_all(&words));
    let _cut_off = sent.await;
    Ok(stream)
}

fn descriptors(id: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{id}/fd"))?.count())
}

/// A build of one file, by the command line.
async fn build(bench: &Bench, name: &str) -> Result<()> {
    let context = bench.sandbox.path(name);
    fs::create_dir_all(&context)?;
    fs::write(context.join("file"), name)?;
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY file /\n")?;
    let mut command = client(
        &bench.sandbox,
        &["build", "--progress=plain", path(&context)],
    );
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let built = tokio::process::Command::from(command).output();
    let built = tokio::time::timeout(PATIENCE, built)
        .await
        .context("the build hangs")??;
    let said = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "{said}\n{}", bench.daemon.log());
    Ok(())
}

// T-E2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_that_say_nothing_sensible_at_once_leave_the_daemon_serving()
-> Result<()> {
    let mut bench = Bench::new().await?;
    build(&bench, "before").await?;
    bench.still_serves().await?;
    let id = bench.daemon.id();
    let usual = descriptors(id)?;
    let socket: Arc<Path> = bench.socket().into();
    let together = Arc::new(Barrier::new(CROWD as usize + 1));
    let mut crowd = JoinSet::new();
    for number in 0..CROWD {
        crowd.spawn(misbehave(
            Arc::clone(&socket),
            number,
            Arc::clone(&together),
        ));
    }
    together.wait().await;
    // While they talk, and while they hold on to what they opened.
    build(&bench, "during").await?;
    bench.still_serves().await?;
    let held = crowd.join_all().await;
    let held = held.into_iter().collect::<Result<Vec<_>>>()?;
    let most = descriptors(id)?;
    bench.still_serves().await?;
    build(&bench, "beside").await?;
    drop(held);
    let begun = Instant::now();
    while descriptors(id)? > usual {
        let open = descriptors(id)?;
        ensure!(
            begun.elapsed() < PATIENCE,
            "{open} descriptors of {usual}, {most} with the crowd"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    build(&bench, "after").await?;
    bench.still_serves().await?;
    Ok(())
}
