use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cooper_core::model::{Failure, LogStream};
use cooper_core::ports::{
    ContainerRequest, Containers, FileStat, HeldContainer, HeldProcess, ProcessOutput,
    ProcessRequest,
};
use cooper_proto::frontend::llb_bridge_client::LlbBridgeClient;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// What a frontend in a container does: asks back, and ends with a code.
type Program =
    dyn Fn(LlbBridgeClient<Channel>, ProcessRequest) -> BoxFuture<'static, i32> + Send + Sync;

/// Containers in which a closure runs that speaks over its standard streams.
#[derive(Clone)]
pub(crate) struct FakeContainers(Arc<Program>);

impl FakeContainers {
    pub(crate) fn new<F>(
        program: impl Fn(LlbBridgeClient<Channel>, ProcessRequest) -> F + Send + Sync + 'static,
    ) -> Arc<Self>
    where
        F: Future<Output = i32> + Send + 'static,
    {
        let program = move |client, request| -> BoxFuture<'static, i32> {
            Box::pin(program(client, request))
        };
        Arc::new(Self(Arc::new(program)))
    }
}

#[async_trait]
impl Containers for FakeContainers {
    async fn create(&self, _: ContainerRequest) -> Result<Arc<dyn HeldContainer>, Failure> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl HeldContainer for FakeContainers {
    async fn start(&self, request: ProcessRequest) -> Result<Arc<dyn HeldProcess>, Failure> {
        let (inside, outside) = tokio::io::duplex(1 << 16);
        let (read, write) = tokio::io::split(outside);
        Ok(Arc::new(FakeProcess {
            program: Arc::clone(&self.0),
            start: Mutex::new(Some((inside, request))),
            read: tokio::sync::Mutex::new(read),
            write: tokio::sync::Mutex::new(write),
        }))
    }

    async fn read_file(&self, _: usize, _: &str, _: Option<Range<u64>>) -> Result<Bytes, Failure> {
        Err(Failure::unsupported("files"))
    }

    async fn read_dir(&self, _: usize, _: &str, _: &str) -> Result<Vec<FileStat>, Failure> {
        Err(Failure::unsupported("files"))
    }

    async fn stat_file(&self, _: usize, _: &str) -> Result<FileStat, Failure> {
        Err(Failure::unsupported("files"))
    }

    async fn release(&self) -> Result<(), Failure> {
        Ok(())
    }
}

struct FakeProcess {
    program: Arc<Program>,
    start: Mutex<Option<(DuplexStream, ProcessRequest)>>,
    read: tokio::sync::Mutex<ReadHalf<DuplexStream>>,
    write: tokio::sync::Mutex<WriteHalf<DuplexStream>>,
}

#[async_trait]
impl HeldProcess for FakeProcess {
    async fn run(&self, output: Arc<dyn ProcessOutput>) -> Result<i32, Failure> {
        let (inside, request) = self.start.lock().take().expect("it runs once");
        let inside = Mutex::new(Some(inside));
        let connect = service_fn(move |_| {
            let inside = inside.lock().take();
            async move {
                inside
                    .map(TokioIo::new)
                    .ok_or_else(|| std::io::Error::other("again"))
            }
        });
        let program = async {
            let engine = Endpoint::from_static("http://engine");
            let channel = engine.connect_with_connector(connect);
            let channel = channel.await.expect("the engine listens");
            (self.program)(LlbBridgeClient::new(channel), request).await
        };
        let speak = async {
            let mut read = self.read.lock().await;
            let mut buffer = BytesMut::new();
            while read.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                output
                    .take(LogStream::Stdout, buffer.split().freeze())
                    .await;
            }
            std::future::pending().await
        };
        tokio::select! {
            code = program => Ok(code),
            () = speak => unreachable!("speaking goes on for ever"),
        }
    }

    async fn write(&self, data: Bytes) {
        // A program that has ended reads no more.
        let _unread = self.write.lock().await.write_all(&data).await;
    }

    async fn close_input(&self) {}

    fn signal(&self, _: i32) -> Result<(), Failure> {
        Ok(())
    }

    fn resize(&self, _: u16, _: u16) {}

    fn kill(&self) {}
}
