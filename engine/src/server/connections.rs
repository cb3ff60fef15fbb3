use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixListener;
use tonic::transport::server::Connected;

use super::authority::AcceptableAuthority;
use super::watched::Watched;

/// How long no connection is taken after one could not be: what a process lacks then (descriptors, memory) it lacks
/// for a while.
const PAUSE: Duration = Duration::from_millis(100);

/// Clients' connections as they come.
pub type Connections = BoxStream<'static, io::Result<Connection>>;

/// A client's connection, whatever it goes over.
pub struct Connection(Pin<Box<dyn Link>>);

/// Bytes both ways.
trait Link: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Link for T {}

impl Connection {
    /// A connection over this.
    pub fn new(link: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self(Box::pin(link))
    }
}

/// The connections to a socket. One that cannot be taken does not end them.
#[must_use]
pub fn unix_connections(listener: UnixListener) -> Connections {
    connections(listener, |listener| {
        Box::pin(async move {
            let accepted = listener.accept().await;
            let connection = accepted.map(|(stream, _)| {
                Connection::new(Watched::new(stream, AcceptableAuthority::default()))
            });
            (connection, listener)
        })
    })
}

/// The connections that asking a listener again and again gives.
pub fn connections<L, A>(listener: L, accept: A) -> Connections
where
    L: Send + 'static,
    A: FnMut(L) -> futures::future::BoxFuture<'static, (io::Result<Connection>, L)>
        + Send
        + 'static,
{
    futures::stream::unfold(
        (listener, accept),
        |(mut listener, mut accept)| async move {
            loop {
                let (accepted, after) = accept(listener).await;
                listener = after;
                match accepted {
                    Ok(connection) => return Some((Ok(connection), (listener, accept))),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be taken");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        },
    )
    .boxed()
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
