use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, ResultId, SessionId};
use cooper_core::ports::{
    Events, FileStat, ImageQuery, ReadFileRequest, ResolvedImage, ResultFiles, SourceMeta,
    SourceQuery, StatementChain, StatementQuery,
};

use cooper_proto::oci::Descriptor;

use super::LocalWorker;
use super::run::{Scheme, blocking, unheard};
use crate::confine::Root;
use crate::images::meta_failure;
use crate::layer::Compression;
use crate::look;
use crate::meta::{LayerBlob, LayerId, Meta, MetaError};
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

    async fn layer_blobs(&self, result: &ResultId) -> Result<Option<Vec<Descriptor>>, Failure> {
        let (layers, result) = (self.layers.clone(), result.clone());
        blocking(move || {
            let meta = layers.snapshots().meta();
            let chain = meta.result(&result).map_err(|error| meta_failure(&error))?;
            let mut blobs = Vec::with_capacity(chain.layers.len());
            for id in &chain.layers {
                let Some(blob) = known_blob(meta, id).map_err(|error| meta_failure(&error))? else {
                    return Ok(None);
                };
                blobs.push(Descriptor::new(blob.media_type, blob.digest, blob.size));
            }
            Ok(Some(blobs))
        })
        .await
    }

    async fn resolve_statements(
        &self,
        query: &StatementQuery,
        sessions: &[SessionId],
    ) -> Result<Option<StatementChain>, Failure> {
        self.image_source.statements(query, sessions).await
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
            Scheme::Image | Scheme::Local | Scheme::Blob => Err(Failure::new(
                FailureKind::InvalidInput,
                format!(
                    "{} is neither a file by URL nor a repository",
                    query.source.identifier
                ),
            )),
        }
    }
}

/// The archive that a layer is known as, of those that there are the most usual.
fn known_blob(meta: &Meta, id: &LayerId) -> Result<Option<LayerBlob>, MetaError> {
    let layer = meta.layer(id)?;
    if let Some(origin) = layer.origin {
        return Ok(Some(origin.blob));
    }
    let Some(diff_id) = layer.diff_id else {
        return Ok(None);
    };
    for compression in [
        Compression::Gzip,
        Compression::Zstd,
        Compression::Uncompressed,
    ] {
        if let Some(blob) = meta.layer_blob(&diff_id, compression.name())? {
            return Ok(Some(blob));
        }
    }
    Ok(None)
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
