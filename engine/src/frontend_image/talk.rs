use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, LogStream};
use cooper_core::ports::{HeldProcess, ProcessOutput};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

/// Bytes that wait between a frontend and us.
const WAITING: usize = 1 << 20;

/// Bytes of a frontend's last words that are kept for the error.
const LAST_WORDS: usize = 4 << 10;

/// Joins a program's standard streams to a stream of ours and runs it to its end.
pub(super) struct Talk {
    ours: Mutex<Option<DuplexStream>>,
    from_us: tokio::sync::Mutex<ReadHalf<DuplexStream>>,
    sink: Arc<Sink>,
}

struct Sink {
    to_us: tokio::sync::Mutex<WriteHalf<DuplexStream>>,
    last_words: Mutex<Vec<u8>>,
}

impl Talk {
    pub(super) fn new() -> Self {
        let (ours, theirs) = tokio::io::duplex(WAITING);
        let (from_us, to_us) = tokio::io::split(theirs);
        Self {
            ours: Mutex::new(Some(ours)),
            from_us: tokio::sync::Mutex::new(from_us),
            sink: Arc::new(Sink {
                to_us: tokio::sync::Mutex::new(to_us),
                last_words: Mutex::default(),
            }),
        }
    }

    /// The stream that leads to the program; there is one.
    pub(super) fn stream(&self) -> Result<DuplexStream, Failure> {
        let stream = self.ours.lock().take();
        stream.ok_or_else(|| Failure::new(FailureKind::Internal, "the stream is taken"))
    }

    /// Follows the program.
    ///
    /// # Errors
    /// With its last words, when it ends with another code than 0.
    pub(super) async fn run(&self, process: &dyn HeldProcess) -> Result<(), Failure> {
        let feed = async {
            let mut from_us = self.from_us.lock().await;
            let mut buffer = bytes::BytesMut::with_capacity(64 << 10);
            while from_us
                .read_buf(&mut buffer)
                .await
                .is_ok_and(|read| read > 0)
            {
                process.write(buffer.split().freeze()).await;
            }
            process.close_input().await;
            std::future::pending().await
        };
        let output: Arc<dyn ProcessOutput> = Arc::<Sink>::clone(&self.sink);
        let ended = tokio::select! {
            ended = process.run(output) => ended,
            () = feed => unreachable!("feeding goes on for ever"),
        };
        // What it said is heard to its end, and then there is no more.
        let _closed = self.sink.to_us.lock().await.shutdown().await;
        match ended? {
            0 => Ok(()),
            code => {
                let words = self.sink.last_words.lock().clone();
                let words = String::from_utf8_lossy(&words).trim().to_owned();
                let said = match words.as_str() {
                    "" => String::new(),
                    words => format!(": {words}"),
                };
                Err(Failure::new(
                    FailureKind::Exit { code },
                    format!("frontend did not complete successfully: exit code: {code}{said}"),
                ))
            }
        }
    }
}

#[async_trait]
impl ProcessOutput for Sink {
    async fn take(&self, stream: LogStream, data: Bytes) {
        match stream {
            LogStream::Stdout => {
                // Nobody listens any more once the conversation is over.
                let _unheard = self.to_us.lock().await.write_all(&data).await;
            }
            LogStream::Stderr => {
                tracing::info!(words = %String::from_utf8_lossy(&data), "a frontend says");
                let mut last = self.last_words.lock();
                last.extend_from_slice(&data);
                let surplus = last.len().saturating_sub(LAST_WORDS);
                last.drain(..surplus);
            }
        }
    }
}
