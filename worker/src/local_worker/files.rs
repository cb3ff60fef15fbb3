use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, ResultId, SessionId};
use cooper_core::ports::{
    Events, FileStat, ImageQuery, ReadFileRequest, ResolvedImage, ResultFiles, SourceMeta,
    SourceQuery,
};

use super::LocalWorker;
use super::run::{Scheme, blocking, unheard};
use crate::confine::Root;
use crate::look;
use crate::snapshot::View;

#[async_trait]
impl ResultFiles for LocalWorker {
    async fn read_file(&self, request: ReadFileRequest) -> Result<Bytes, Failure> {
        let path = request.path.clone();
        self.look(&request.result, &request.sessions, move |root| {
            look::read_file(root, &path, request.range)
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
            look::read_dir(root, &path, &pattern)
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
        self.look(result, sessions, move |root| look::stat_file(root, &path))
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
            Scheme::Git => {
                let meta = self.git_source.meta(query, sessions, &events).await?;
                Ok(SourceMeta::Git(meta))
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
