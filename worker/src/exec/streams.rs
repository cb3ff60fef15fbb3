//! Our ends of what a program reads and writes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::BytesMut;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::sys::watched;

/// Largest piece that is read at once, in bytes: what a pipe holds.
pub(super) const CHUNK: usize = 64 << 10;

/// Our side of a program's terminal. Clones are the same.
#[derive(Debug, Clone)]
pub struct Terminal(Arc<AsyncFd<OwnedFd>>);

/// What a program reads. Dropping a pipe is the end of its input.
#[derive(Debug)]
pub enum Input {
    /// A pipe.
    Pipe(Sender),
    /// A terminal.
    Terminal(Terminal),
}

/// What a program writes.
#[derive(Debug)]
pub enum Output {
    /// A pipe.
    Pipe(Receiver),
    /// A terminal.
    Terminal(Terminal),
}

impl Terminal {
    pub(super) fn new(terminal: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&terminal, true)?;
        Ok(Self(Arc::new(watched(terminal)?)))
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Input {
    /// Writes all of it, waiting while the program is behind.
    ///
    /// # Errors
    /// Where the program reads no more.
    pub async fn write(&mut self, mut data: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(data).await,
            Self::Terminal(terminal) => {
                while !data.is_empty() {
                    let write = |fd: &OwnedFd| rustix::io::write(fd, data).map_err(io::Error::from);
                    let written = terminal.0.async_io(Interest::WRITABLE, write).await?;
                    data = &data[written..];
                }
                Ok(())
            }
        }
    }
}

impl Output {
    /// Reads what there is, waiting for it; 0 is the end.
    ///
    /// # Errors
    /// Where it cannot be read.
    ///
    /// # Cancel
    /// Dropping the future loses nothing.
    pub async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        buffer.reserve(CHUNK);
        match self {
            Self::Pipe(pipe) => pipe.read_buf(buffer).await,
            Self::Terminal(terminal) => {
                let read = |fd: &OwnedFd| read_terminal(fd, buffer);
                terminal.0.async_io(Interest::READABLE, read).await
            }
        }
    }

    /// Reads what there is now; 0 where there is nothing or the end.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read_now(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        buffer.reserve(CHUNK);
        let read = match self {
            Self::Pipe(pipe) => read_fd(pipe.as_fd(), buffer),
            Self::Terminal(terminal) => read_terminal(terminal.as_fd(), buffer),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            read => read,
        }
    }
}

/// Once nobody has the terminal open, its other side says that input or output failed: that is the end.
fn read_terminal(fd: impl AsFd, buffer: &mut BytesMut) -> io::Result<usize> {
    match read_fd(fd, buffer) {
        Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(0),
        read => read,
    }
}

fn read_fd(fd: impl AsFd, buffer: &mut BytesMut) -> io::Result<usize> {
    let mut chunk = [0; 4096];
    let read = rustix::io::read(fd, &mut chunk)?;
    buffer.extend_from_slice(&chunk[..read]);
    Ok(read)
}
