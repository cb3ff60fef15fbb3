//! Clients that say nothing sensible.

use cooper_proto::control::InfoRequest;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::fake::{Bench, Served, Setup};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

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
    let words = match number % 5 {
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
        // Silence.
        _ => Vec::new(),
    };
    // Being cut off is what such a client should expect.
    let _cut_off = stream.write_all(&words).await;
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
