use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, ResultId, SessionId};
use cooper_core::ports::{
    Events, FileStat, ImageQuery, ReadFileRequest, ResolvedImage, ResultFiles,
};
use cooper_proto::Digest;
use parking_lot::Mutex;

/// Results that hold `/name` and what a test puts into all of them, and a registry that has every image.
#[derive(Default)]
pub(crate) struct FakeFiles {
    resolved: AtomicUsize,
    put: Mutex<BTreeMap<String, Bytes>>,
}

impl FakeFiles {
    /// Puts a file into every result.
    pub(crate) fn put(&self, path: &str, content: impl Into<Bytes>) {
        self.put.lock().insert(path.to_owned(), content.into());
    }

    /// How often an image was asked for.
    pub(crate) fn resolved(&self) -> usize {
        self.resolved.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl ResultFiles for FakeFiles {
    async fn read_file(&self, request: ReadFileRequest) -> Result<Bytes, Failure> {
        if request.path == "/name" {
            return Ok(Bytes::from(request.result.0));
        }
        if let Some(content) = self.put.lock().get(&request.path) {
            return Ok(content.clone());
        }
        let words = format!("{} not found", request.path);
        Err(Failure::new(FailureKind::NotFound, words))
    }

    async fn read_dir(
        &self,
        _result: &ResultId,
        _path: &str,
        _include_pattern: &str,
        _sessions: &[SessionId],
    ) -> Result<Vec<FileStat>, Failure> {
        Ok(vec![FileStat {
            path: "name".into(),
            ..FileStat::default()
        }])
    }

    async fn stat_file(
        &self,
        _result: &ResultId,
        path: &str,
        _sessions: &[SessionId],
    ) -> Result<FileStat, Failure> {
        Ok(FileStat {
            path: path.trim_start_matches('/').into(),
            ..FileStat::default()
        })
    }

    async fn resolve_image(
        &self,
        query: &ImageQuery,
        _sessions: &[SessionId],
        _events: Events,
    ) -> Result<ResolvedImage, Failure> {
        self.resolved.fetch_add(1, Ordering::SeqCst);
        // Long enough for the others to come and wait.
        tokio::task::yield_now().await;
        Ok(ResolvedImage {
            reference: query.reference.clone(),
            digest: Digest::sha256_of(&query.reference),
            config: Bytes::from_static(b"{}"),
        })
    }
}
