use std::io;
use std::path::PathBuf;

use bytes::BytesMut;
use cooper_core::model::{Failure, FailureKind};
use cooper_proto::control::StatusResponse;
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::watch;

use super::frame;
use super::log::Extent;

/// News of a build, in order; ends when the build's log does.
///
/// # Errors
/// An item is an error when the log cannot be read; nothing follows it.
pub type StatusStream = BoxStream<'static, Result<StatusResponse, Failure>>;

/// Frames are put together into messages of about this many bytes.
const MESSAGE: usize = 512 << 10;

/// All that a finished build's log holds.
///
/// # Errors
/// `NotFound` when there is no log at the path.
pub async fn replay(path: PathBuf) -> Result<StatusStream, Failure> {
    let length = tokio::fs::metadata(&path)
        .await
        .map_err(|error| unreadable(&path, &error))?
        .len();
    let (_, extent) = watch::channel(Extent {
        bytes: length,
        finished: true,
    });
    Ok(follow(path, extent))
}

/// A log from its start to its end, wherever that will be.
pub(super) fn follow(path: PathBuf, extent: watch::Receiver<Extent>) -> StatusStream {
    let reader = Reader {
        path,
        extent,
        file: None,
        position: 0,
        buffer: BytesMut::new(),
    };
    futures::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.message().await {
            Ok(Some(status)) => Some((Ok(status), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(unreadable(&reader.path, &error)), None)),
        }
    })
    .boxed()
}

struct Reader {
    path: PathBuf,
    extent: watch::Receiver<Extent>,
    file: Option<File>,
    /// How much of the file was read.
    position: u64,
    /// What was read and not yet given out.
    buffer: BytesMut,
}

impl Reader {
    /// The next message, made of as many frames as are there, within reason.
    async fn message(&mut self) -> io::Result<Option<StatusResponse>> {
        let mut message = StatusResponse::default();
        let mut size = 0;
        loop {
            while size < MESSAGE
                && let Some(status) = frame::decode(&mut self.buffer)?
            {
                size += status.encoded_len();
                message.vertexes.extend(status.vertexes);
                message.statuses.extend(status.statuses);
                message.logs.extend(status.logs);
                message.warnings.extend(status.warnings);
            }
            if size > 0 {
                return Ok(Some(message));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for more of the file and reads it; `false` at the end of the log.
    async fn fill(&mut self) -> io::Result<bool> {
        let extent = *self.extent.borrow_and_update();
        if self.position < extent.bytes {
            self.read(extent.bytes).await?;
            return Ok(true);
        }
        if extent.finished {
            return Ok(false);
        }
        // A log whose writer is gone has ended.
        Ok(self.extent.changed().await.is_ok())
    }

    async fn read(&mut self, end: u64) -> io::Result<()> {
        if self.file.is_none() {
            let mut file = File::open(&self.path).await?;
            let mut header = vec![0; frame::HEADER.len()];
            file.read_exact(&mut header).await?;
            if header != frame::HEADER {
                return Err(frame::invalid("written by another version"));
            }
            self.position = header.len() as u64;
            file.seek(io::SeekFrom::Start(self.position)).await?;
            self.file = Some(file);
        }
        let file = self.file.as_mut().expect("opened above");
        let want = usize::try_from(end.saturating_sub(self.position))
            .unwrap_or(usize::MAX)
            .min(64 << 10);
        if want == 0 {
            return Ok(());
        }
        let old = self.buffer.len();
        self.buffer.resize(old + want, 0);
        let read = file.read(&mut self.buffer[old..]).await?;
        self.buffer.truncate(old + read);
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += read as u64;
        Ok(())
    }
}

fn unreadable(path: &std::path::Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => FailureKind::NotFound,
        _ => FailureKind::Infrastructure,
    };
    Failure::new(
        kind,
        format!("cannot read the progress log {}: {error}", path.display()),
    )
}
