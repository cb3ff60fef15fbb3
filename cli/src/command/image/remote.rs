//! Images of a daemon: archives travel over the connection, since it does not see our files.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::cooper::images_request::Part;
use cooper_proto::cooper::{
    ImageHistory, ImagesRequest, ImportImage, InspectImage, ListImages, RemoveImages, TagImage,
};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::request::ImageRequest;
use crate::client::Joined;

/// Bytes of an archive in one message.
const PIECE: usize = 1 << 20;

/// Pieces on their way before the reader has to wait.
const WAITING: usize = 4;

/// Asks a daemon.
pub(super) async fn ask(joined: &Joined, request: ImageRequest) -> Result<String, Failure> {
    let (part, archive) = part(request)?;
    let (pieces, waiting) = mpsc::channel(WAITING);
    let first = futures::stream::iter([ImagesRequest { part: Some(part) }]);
    let mut cooper = joined.cooper();
    let asking = cooper.images(first.chain(ReceiverStream::new(waiting)));
    let sending = async move {
        match archive {
            Some(archive) => send(archive, pieces).await,
            None => Ok(()),
        }
    };
    let (answer, sent) = tokio::join!(asking, sending);
    match answer {
        Ok(answer) => sent.map(|()| answer.into_inner().text),
        Err(status) => Err(joined.failure_of_ours(&status)),
    }
}

fn part(request: ImageRequest) -> Result<(Part, Option<File>), Failure> {
    let part = match request {
        ImageRequest::Import {
            path,
            name,
            change,
            message,
            platform,
        } => {
            let import = Part::Import(ImportImage {
                name: name.unwrap_or_default(),
                change,
                message,
                platform: platform.unwrap_or_default(),
            });
            return Ok((import, Some(archive(&path)?)));
        }
        ImageRequest::Ls { quiet, no_trunc } => Part::List(ListImages { quiet, no_trunc }),
        ImageRequest::Inspect { name, platform } => Part::Inspect(InspectImage {
            name,
            platform: platform.unwrap_or_default(),
        }),
        ImageRequest::History {
            name,
            no_trunc,
            platform,
        } => Part::History(ImageHistory {
            name,
            no_trunc,
            platform: platform.unwrap_or_default(),
        }),
        ImageRequest::Tag { name, new } => Part::Tag(TagImage { name, new }),
        ImageRequest::Rm { names } => Part::Remove(RemoveImages { names }),
    };
    Ok((part, None))
}

/// An archive as it is, or one of a folder.
fn archive(path: &Path) -> Result<File, Failure> {
    let cannot = |error: std::io::Error| {
        let words = format!("cannot read {}: {error}", path.display());
        Failure::new(FailureKind::InvalidInput, words)
    };
    if !std::fs::metadata(path).map_err(cannot)?.is_dir() {
        return File::open(path).map_err(cannot);
    }
    let mut builder = tar::Builder::new(tempfile::tempfile().map_err(cannot)?);
    builder.follow_symlinks(false);
    builder.append_dir_all("", path).map_err(cannot)?;
    let mut file = builder.into_inner().map_err(cannot)?;
    file.rewind().map_err(cannot)?;
    Ok(file)
}

async fn send(mut archive: File, pieces: mpsc::Sender<ImagesRequest>) -> Result<(), Failure> {
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::with_capacity(PIECE);
            let read = (&archive).take(PIECE as u64).read_to_end(&mut piece);
            read.map(|_| (piece, archive))
        });
        let cannot = |error: &dyn std::fmt::Display| {
            let words = format!("the archive cannot be read: {error}");
            Failure::new(FailureKind::Infrastructure, words)
        };
        let read = read.await.map_err(|error| cannot(&error))?;
        let (piece, file) = read.map_err(|error| cannot(&error))?;
        archive = file;
        if piece.is_empty() {
            return Ok(());
        }
        let part = Some(Part::Archive(piece.into()));
        if pieces.send(ImagesRequest { part }).await.is_err() {
            // The daemon has answered already.
            return Ok(());
        }
    }
}
