use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use super::watched::Watch;

/// What a client sends before its first frame (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;

/// Fails a connection whose client does not begin in time; after that HTTP/2's pings tell whether it is still there.
///
/// The HTTP/2 library waits for the preface for as long as the client likes, and with it waits a descriptor.
#[derive(Debug)]
pub(super) struct Greeting {
    /// Set until the preface is there.
    awaited: Option<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    limit: Pin<Box<Sleep>>,
    /// Bytes of the preface that are not there yet.
    missing: usize,
}

impl Greeting {
    /// Fails a connection when the preface is not there after `wait`.
    pub(super) fn within(wait: Duration) -> Self {
        Self {
            awaited: Some(Awaited {
                limit: Box::pin(tokio::time::sleep(wait)),
                missing: PREFACE_BYTES,
            }),
        }
    }
}

impl Watch for Greeting {
    fn came(
        &mut self,
        bytes: &mut [u8],
        read: Poll<io::Result<()>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(awaited) = &mut self.awaited else {
            return read;
        };
        awaited.missing = awaited.missing.saturating_sub(bytes.len());
        if awaited.missing == 0 {
            self.awaited = None;
            return read;
        }
        // A client that sends byte by byte is given no longer. What came is handed on first: nobody reads bytes and fails.
        match awaited.limit.as_mut().poll(context) {
            Poll::Ready(()) if bytes.is_empty() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Ready(()) | Poll::Pending => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::server::watched::Watched;

    const WAIT: Duration = Duration::from_secs(20);
    const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn pair() -> (
        tokio::io::DuplexStream,
        Watched<tokio::io::DuplexStream, Greeting>,
    ) {
        let (client, server) = tokio::io::duplex(64);
        (client, Watched::new(server, Greeting::within(WAIT)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_waited_for_no_longer_than_the_limit() {
        let (_client, mut server) = pair();
        let begun = tokio::time::Instant::now();
        let ended = server.read_u8().await.expect_err("it says nothing");
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), WAIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_preface_that_comes_byte_by_byte_is_given_no_longer() {
        let (mut client, mut server) = pair();
        let begun = tokio::time::Instant::now();
        let slowly = async {
            for byte in PREFACE {
                tokio::time::sleep(Duration::from_secs(1)).await;
                client.write_u8(*byte).await.expect("there is room");
            }
            std::future::pending::<()>().await
        };
        let mut heard = Vec::new();
        tokio::select! {
            () = slowly => unreachable!("it goes on for ever"),
            ended = server.read_to_end(&mut heard) => {
                assert_eq!(ended.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
            }
        }
        assert_eq!(begun.elapsed().as_secs(), WAIT.as_secs());
        assert!(PREFACE.starts_with(&heard) && heard.len() < PREFACE.len());
    }

    #[tokio::test(start_paused = true)]
    async fn who_began_in_time_may_be_silent() {
        let (mut client, mut server) = pair();
        client.write_all(PREFACE).await.expect("there is room");
        let mut heard = [0; PREFACE_BYTES];
        server.read_exact(&mut heard).await.expect("all of it");
        let later = tokio::time::timeout(WAIT * 100, server.read_u8());
        later.await.expect_err("the connection is still open");
    }
}
