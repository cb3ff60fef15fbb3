use std::sync::Arc;

use cooper_core::cachekey::source_cache_map;
use cooper_core::model::{CacheKeyId, Failure, JobId, SessionId};
use cooper_core::ports::SourceKeyRequest;
use cooper_core::remotecache::{Origin, Origins};
use cooper_core::scheduler::EdgeRecord;
use cooper_proto::{Digest, pb};

use super::{Driver, Imports};
use crate::progress::Audience;

/// Keys that are followed for one export; what lies beyond is left out.
const KEYS: usize = 100_000;

/// Sources that can tell a key late.
const IMAGES: [&str; 2] = ["docker-image://", "oci-layout://"];

impl Driver {
    /// How the keys of outputs are made, and the keys of their inputs, as far back as anybody remembers. What was kept
    /// here on the word of imported caches is not followed: those caches say it themselves.
    ///
    /// # Errors
    /// When the cache's store cannot be read.
    pub(crate) async fn origins(
        &self,
        records: &[EdgeRecord],
        imports: &[Imports],
    ) -> Result<Origins, Failure> {
        let mut origins = Origins::default();
        let own = records.iter().flat_map(|record| &record.keys);
        let mut open: Vec<(CacheKeyId, bool)> = own.map(|key| (key.clone(), true)).collect();
        while let Some((key, is_of_output)) = open.pop() {
            if origins.knows(&key) || origins.len() >= KEYS {
                continue;
            }
            let made = self.world.cache.origins(&key).await?;
            let mut made: Vec<Origin> = made.into_iter().map(Origin::of_query).collect();
            if made.is_empty() && !is_of_output {
                made.push(Origin::of_content(&key));
            }
            let keys = made.iter().flat_map(Origin::keys);
            open.extend(keys.map(|key| (key.clone(), false)));
            origins.add(key, made);
        }
        for imports in imports {
            imported_origins(&mut origins, records, imports).await;
        }
        Ok(origins)
    }

    /// The cache digest of a source that it could not tell when it was resolved: an image is known by its layers only
    /// once they were unpacked and found to be what the image says.
    pub(crate) async fn late_digest(
        &self,
        job: &JobId,
        sessions: &[SessionId],
        record: &EdgeRecord,
    ) -> Option<Digest> {
        let source = record.source.as_ref()?;
        let Some(pb::op::Op::Source(op)) = &source.op.op else {
            return None;
        };
        let is_image = IMAGES
            .iter()
            .any(|scheme| op.identifier.starts_with(scheme));
        if record.ops.len() != 1 || !is_image {
            return None;
        }
        let request = |index| SourceKeyRequest {
            vertex: source.vertex.clone(),
            op: Arc::clone(&source.op),
            index,
            pin: source.pin.clone(),
            build: Some(job.clone()),
            sessions: sessions.to_vec(),
        };
        // It was resolved already: there is nothing to tell of it any more.
        let unheard = || Audience::new(None, Vec::new());
        let worker = &self.world.worker;
        // A cache without this key is matched by less, and that is all.
        let first = worker.source_key(request(0), unheard()).await.ok()?;
        if !first.more {
            return None;
        }
        let second = worker.source_key(request(1), unheard()).await.ok()?;
        let map = source_cache_map(&second.key, second.pin, false);
        (!record.ops.contains(&map.digest)).then_some(map.digest)
    }
}

/// The same by what one set of imported caches says of the outputs that it served.
async fn imported_origins(origins: &mut Origins, records: &[EdgeRecord], imports: &Imports) {
    let of_scope = |record: &&EdgeRecord| record.scope.as_ref() == Some(&imports.scope);
    let imported = records.iter().filter(of_scope);
    let mut open: Vec<CacheKeyId> = imported.flat_map(|it| it.imported.clone()).collect();
    while let Some(key) = open.pop() {
        if origins.knows(&key) || origins.len() >= KEYS {
            continue;
        }
        let origin = imports.origin(&key).await;
        open.extend(origin.iter().flat_map(Origin::keys).cloned());
        origins.add(key, origin);
    }
}
