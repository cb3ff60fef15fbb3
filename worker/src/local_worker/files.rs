use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, ResultId, SessionId};
use cooper_core::patterns::Wildcard;
use cooper_core::ports::{
    Events, FileStat, ImageQuery, ReadFileRequest, ResolvedImage, ResultFiles, SourceMeta,
    SourceQuery,
};

use super::LocalWorker;
use super::run::{Scheme, blocking, unheard};
use crate::confine::{ConfineError, Last, Root};
use crate::fsync::describe;
use crate::snapshot::View;

/// The largest part of a file that is read at once: it travels in one message (16 MiB).
const READ_BYTES: u64 = 15 << 20;

#[async_trait]
impl ResultFiles for LocalWorker {
    async fn read_file(&self, request: ReadFileRequest) -> Result<Bytes, Failure> {
        let path = request.path.clone();
        self.look(&request.result, &request.sessions, move |root| {
            let mut file = root.open_read(Path::new(&path)).map_err(|error| refused(&path, &error))?;
            let size = file.metadata().map_err(|error| unreadable(&path, &error))?.len();
            let range = request.range.unwrap_or(0..size);
            let length = range.end.min(size).saturating_sub(range.start);
            if length > READ_BYTES {
                return Err(Failure::new(
                    FailureKind::InvalidInput,
                    format!("{path}: {length} bytes are more than the {READ_BYTES} that can be read at once"),
                ));
            }
            file.seek(SeekFrom::Start(range.start)).map_err(|error| unreadable(&path, &error))?;
            let mut bytes = Vec::new();
            file.take(length).read_to_end(&mut bytes).map_err(|error| unreadable(&path, &error))?;
            Ok(Bytes::from(bytes))
        })
        .await
    }

    async fn read_dir(
        &self,
        result: &ResultId,
        path: &str,
        include_pattern: &str,
        sessions: &[SessionId],
    ) -> Result<Vec<FileStat>, Failure> {
        let (path, pattern) = (path.to_owned(), include_pattern.to_owned());
        self.look(result, sessions, move |root| {
            let entries = root
                .read_dir(Path::new(&path))
                .map_err(|error| refused(&path, &error))?;
            let wanted = pattern_of(&pattern)?;
            let mut found = Vec::new();
            for entry in entries {
                let name = entry.name.to_string_lossy().into_owned();
                if wanted.as_ref().is_some_and(|wanted| !wanted.matches(&name)) {
                    continue;
                }
                found.push(stat(root, &Path::new(&path).join(&entry.name), &name)?);
            }
            found.sort_by(|one, other| one.path.cmp(&other.path));
            Ok(found)
        })
        .await
    }

    async fn stat_file(
        &self,
        result: &ResultId,
        path: &str,
        sessions: &[SessionId],
    ) -> Result<FileStat, Failure> {
        let path = path.to_owned();
        self.look(result, sessions, move |root| {
            let name = Path::new(&path)
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            stat(root, Path::new(&path), &name)
        })
        .await
    }

    async fn resolve_image(
        &self,
        query: &ImageQuery,
        sessions: &[SessionId],
        _events: Events,
    ) -> Result<ResolvedImage, Failure> {
        self.image_source.resolve(query, sessions).await
    }

    async fn resolve_source(
        &self,
        query: &SourceQuery,
        sessions: &[SessionId],
        events: Events,
    ) -> Result<SourceMeta, Failure> {
        match Scheme::named(&query.source.identifier)? {
            Scheme::Http => {
                let meta = self.http_source.meta(query, sessions, &events).await?;
                Ok(SourceMeta::Http(meta))
            }
            Scheme::Image | Scheme::Local => Err(Failure::new(
                FailureKind::InvalidInput,
                format!(
                    "{} is neither a file by URL nor a repository",
                    query.source.identifier
                ),
            )),
        }
    }
}

impl LocalWorker {
    /// Opens a result, fetching what it lacks, and looks into it.
    async fn look<T: Send + 'static>(
        &self,
        result: &ResultId,
        sessions: &[SessionId],
        work: impl FnOnce(&Root) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if !result.is_scratch() {
            self.image_source
                .ensure(result, sessions, &unheard())
                .await?;
        }
        let (snapshots, result) = (self.snapshots.clone(), result.clone());
        blocking(move || {
            let infrastructure = |error: String| Failure::new(FailureKind::Infrastructure, error);
            let view: View = snapshots
                .view(&result)
                .map_err(|error| infrastructure(error.to_string()))?;
            let root = view
                .root()
                .map_err(|error| infrastructure(error.to_string()))?;
            work(&root)
        })
        .await
    }
}

/// What names must match; all do when the pattern is empty.
fn pattern_of(pattern: &str) -> Result<Option<Wildcard>, Failure> {
    if pattern.is_empty() {
        return Ok(None);
    }
    let invalid = |error| Failure::new(FailureKind::InvalidInput, format!("{pattern:?}: {error}"));
    Wildcard::new(pattern).map(Some).map_err(invalid)
}

fn stat(root: &Root, path: &Path, name: &str) -> Result<FileStat, Failure> {
    let shown = path.display().to_string();
    let node = root
        .resolve(path, Last::NoFollow)
        .map_err(|error| refused(&shown, &error))?;
    let metadata = node.metadata().map_err(|error| refused(&shown, &error))?;
    describe(name, &node, &metadata).map_err(|error| refused(&shown, &error))
}

fn refused(path: &str, error: &ConfineError) -> Failure {
    let kind = match error.is_not_found() {
        true => FailureKind::NotFound,
        false => FailureKind::InvalidInput,
    };
    // Clients look for Go's words.
    let message = match kind {
        FailureKind::NotFound => format!("open {path}: no such file or directory"),
        _ => error.to_string(),
    };
    Failure::new(kind, message)
}

fn unreadable(path: &str, error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("{path}: {error}"))
}
