//! Connections on which nobody begins to speak. What clients say that makes no sense is sent to a whole daemon, in
//! `integration-tests/tests/requests`.

use std::time::Duration;

use cooper_engine::Limits;
use cooper_proto::control::InfoRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fake::{Bench, PATIENCE, Served, Setup};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// T-E2
#[tokio::test]
async fn connections_on_which_nobody_begins_are_closed_and_no_others() {
    let limits = Limits {
        greeting_wait: Duration::from_millis(200),
        ..Limits::default()
    };
    let bench = Bench::new(Setup {
        limits,
        ..Setup::default()
    });
    let served = Served::new(&bench.engine);
    let mut client = served.client().await;
    for said in [&PREFACE[..0], &PREFACE[..1], &PREFACE[..23]] {
        let mut raw = served.raw().await;
        raw.write_all(said).await.expect("there is room");
        let mut heard = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, raw.read_to_end(&mut heard)).await;
        // An end or a reset: either way the descriptor is free.
        let _how = ended.expect("the connection is closed");
    }
    let answer = client.control.info(InfoRequest {}).await;
    answer.expect("who began in time is still served");
    drop(client);
    served.stop().await;
    bench.engine.shutdown().await;
}
