//! Clients that say nothing sensible.

use std::time::Duration;

use cooper_proto::control::InfoRequest;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::fake::{Bench, Served, Setup};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// The headers of a call, by their numbers in HPACK's table: POST, http, /.
const CALL: &[u8] = &[0x83, 0x86, 0x84];

/// One frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Bytes that follow from a number and look like nothing.
fn noise(seed: u32, length: usize) -> Vec<u8> {
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

/// Says something that is no call, and whatever more the other side still takes.
async fn misbehave(mut stream: UnixStream, number: u32) -> UnixStream {
    let words = match number % 8 {
        0 => noise(number, 4096),
        // Half a handshake.
        1 => PREFACE[..usize::try_from(number % 24).expect("small")].to_vec(),
        // Headers that never end: no END_HEADERS, then further parts.
        2 => {
            let mut words = [PREFACE, SETTINGS].concat();
            words.extend(frame(1, 0, 1, &noise(number, 8192)));
            for _ in 0..64 {
                words.extend(frame(9, 0, 1, &noise(number, 16_384)));
            }
            words
        }
        // A handshake, and then frames of no kind.
        3 => {
            let mut words = [PREFACE, SETTINGS].concat();
            words.extend(frame(
                u8::try_from(number).unwrap_or(255),
                255,
                number,
                &noise(number, 512),
            ));
            words
        }
        // Calls that are taken back as soon as they are made.
        4 => {
            let mut words = [PREFACE, SETTINGS].concat();
            for stream in (1..4000).step_by(2) {
                words.extend(frame(1, 4, stream, CALL));
                words.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
            }
            words
        }
        // Questions whether anybody is there, again and again.
        5 => {
            let mut words = [PREFACE, SETTINGS].concat();
            for _ in 0..4000 {
                words.extend(frame(6, 0, 0, &[0; 8]));
            }
            words
        }
        // Calls that begin and never go on.
        6 => {
            let mut words = [PREFACE, SETTINGS].concat();
            for stream in (1..4000).step_by(2) {
                words.extend(frame(1, 4, stream, CALL));
            }
            words
        }
        // Silence.
        _ => Vec::new(),
    };
    // Being cut off is what such a client should expect, and that nobody reads on when it does not read answers.
    let sent = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&words));
    let _cut_off = sent.await;
    stream
}

// T-E2
#[tokio::test]
async fn clients_that_say_nothing_sensible_leave_the_engine_serving() {
    let bench = Bench::new(Setup::default());
    let served = Served::new(&bench.engine);
    let mut client = served.client().await;
    let mut connections = Vec::new();
    for number in 0..200 {
        connections.push(misbehave(served.raw().await, number).await);
        if number % 20 == 0 {
            client
                .control
                .info(InfoRequest {})
                .await
                .expect("it still answers");
        }
    }
    let mut late = served.client().await;
    late.control
        .info(InfoRequest {})
        .await
        .expect("it answers who comes late");
    drop((connections, client, late));
    served.stop().await;
    bench.engine.shutdown().await;
}
