//! How `cooper image` reaches the images of a state folder that a build or a daemon has: one line of JSON each way on
//! a socket in the folder, which belongs to the user alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};
use cooper_worker::images::ImageStore;
use cooper_worker::layer::Layers;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::command::image::{ImageRequest, answer};

/// Longest request.
///
/// # Units
/// Bytes.
const MAX_REQUEST: u64 = 1 << 20;

/// How long no question is taken after one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// The answer as it travels.
#[derive(Serialize, Deserialize)]
enum Answer {
    Text(String),
    Failed {
        message: String,
        hint: Option<String>,
        not_found: bool,
    },
}

/// The socket for images in a state folder.
pub(crate) fn image_socket(folder: &Path) -> PathBuf {
    folder.join("images.sock")
}

/// Answers for the images until `stop`, then lets who asked have the answer.
pub(crate) async fn serve_images(
    listener: UnixListener,
    images: ImageStore,
    layers: Layers,
    stop: CancellationToken,
) {
    let calls = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // What a process lacks then (descriptors, memory) it lacks for a while.
            Err(error) => {
                tracing::warn!(%error, "a question about images could not be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (images, layers) = (images.clone(), layers.clone());
        calls.spawn(async move {
            if let Err(error) = serve_one(stream, &images, &layers).await {
                tracing::debug!(%error, "a question about images broke off");
            }
        });
    }
    calls.close();
    calls.wait().await;
}

async fn serve_one(
    stream: UnixStream,
    images: &ImageStore,
    layers: &Layers,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(MAX_REQUEST))
        .read_line(&mut line)
        .await?;
    let request: ImageRequest = serde_json::from_str(&line)?;
    let answer = match answer(request, images, layers).await {
        Ok(text) => Answer::Text(text),
        Err(failure) => Answer::Failed {
            not_found: failure.kind == FailureKind::NotFound,
            message: failure.message,
            hint: failure.hint,
        },
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    writer.shutdown().await
}

/// Asks the process that has the folder; `None` when nobody answers.
pub(crate) async fn ask_for_images(
    folder: &Path,
    request: &ImageRequest,
) -> Option<Result<String, Failure>> {
    let stream = UnixStream::connect(image_socket(folder)).await.ok()?;
    let (mut reader, mut writer) = stream.into_split();
    let mut line = serde_json::to_vec(request).ok()?;
    line.push(b'\n');
    writer.write_all(&line).await.ok()?;
    let mut text = Vec::new();
    reader.read_to_end(&mut text).await.ok()?;
    let answer: Answer = serde_json::from_slice(&text).ok()?;
    Some(match answer {
        Answer::Text(text) => Ok(text),
        Answer::Failed {
            message,
            hint,
            not_found,
        } => {
            let kind = if not_found {
                FailureKind::NotFound
            } else {
                FailureKind::InvalidInput
            };
            let mut failure = Failure::new(kind, message);
            failure.hint = hint;
            Err(failure)
        }
    })
}
