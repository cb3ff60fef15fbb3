use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use cooper_core::model::{ResultId, UsageRecord};
use cooper_proto::Digest;
use cooper_proto::oci::{Descriptor, ImageConfig, media_type};
use parking_lot::Mutex;

use super::room::{Room, allocated_bytes};
use super::{GcError, sweep};
use crate::clock::now_ns;
use crate::confine::Root;
use crate::images::ImageStore;
use crate::layer::Layers;
use crate::meta::{LayerId, LayerInfo, Meta, ResultInfo, ResultUse};

/// Record type of snapshots of clients' directories, whose files are also the mirror's.
const LINKED: &str = "source.local";

/// When results were used since it was last written down. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct ResultUses {
    unwritten: Arc<Mutex<BTreeMap<ResultId, ResultUse>>>,
}

impl ResultUses {
    /// A build takes a result that was made before.
    pub fn taken(&self, result: &ResultId) {
        let mut unwritten = self.unwritten.lock();
        let news = unwritten.entry(result.clone()).or_default();
        news.last_ns = now_ns();
        news.times += 1;
    }

    /// A build gives a result back.
    pub fn given_back(&self, result: &ResultId) {
        self.unwritten
            .lock()
            .entry(result.clone())
            .or_default()
            .last_ns = now_ns();
    }

    fn of(&self, result: &ResultId) -> ResultUse {
        self.unwritten
            .lock()
            .get(result)
            .copied()
            .unwrap_or_default()
    }
}

/// File-system states.
///
/// # Shape
/// One record a result. A layer that several results have counts for the one that had it first; a result's parents are
/// those that have the rest of its layers.
pub struct ResultRoom {
    layers: Layers,
    images: ImageStore,
    uses: ResultUses,
}

impl ResultRoom {
    /// The results of these stores.
    #[must_use]
    pub fn new(layers: &Layers, images: &ImageStore, uses: &ResultUses) -> Self {
        Self {
            layers: layers.clone(),
            images: images.clone(),
            uses: uses.clone(),
        }
    }

    fn meta(&self) -> &Meta {
        self.layers.snapshots().meta()
    }

    fn record(
        &self,
        result: &ResultInfo,
        owners: &Owners,
        sizes: &mut Sizes,
    ) -> Result<UsageRecord, GcError> {
        let news = self.uses.of(&result.id);
        let own = result
            .layers
            .iter()
            .filter(|it| owners.owner(it) == Some(&result.id));
        let mut size = 0;
        for layer in own.collect::<HashSet<_>>() {
            size += sizes.of(layer, result)?;
        }
        Ok(UsageRecord {
            id: result.id.0.clone(),
            record_type: result.record_type.clone(),
            mutable: false,
            in_use: self.meta().pins().is_pinned(&result.id),
            shared: result.layers.iter().all(|it| sizes.is_shared(it)),
            size,
            parents: owners.parents(result),
            created_ns: result.created_ns,
            last_used_ns: Some(result.last_used_ns.max(news.last_ns)),
            usage_count: result.usage_count + news.times,
            description: result.description.clone(),
        })
    }
}

impl Room for ResultRoom {
    fn records(&self) -> Result<Vec<UsageRecord>, GcError> {
        let mut results = self.meta().results()?;
        // Who comes first owns: a shorter chain stands below a longer one.
        results.sort_by(|a, b| {
            let key = |it: &ResultInfo| (it.layers.len(), it.created_ns);
            key(a).cmp(&key(b)).then_with(|| a.id.cmp(&b.id))
        });
        let owners = Owners::new(&results);
        let mut sizes = Sizes::load(&self.layers, &self.images)?;
        results
            .iter()
            .map(|result| self.record(result, &owners, &mut sizes))
            .collect()
    }

    fn remove(&self, ids: &[String]) -> Result<Vec<String>, GcError> {
        let ids = ids.iter().cloned().map(ResultId).collect();
        let removed = self.meta().remove_results(ids)?;
        crate::cachestore::forget_results(self.meta(), removed.clone())?;
        let mut unwritten = self.uses.unwritten.lock();
        for result in &removed {
            unwritten.remove(result);
        }
        Ok(removed.into_iter().map(|result| result.0).collect())
    }

    fn flush(&self) -> Result<(), GcError> {
        let unwritten = std::mem::take(&mut *self.uses.unwritten.lock());
        Ok(self.meta().touch_results(unwritten)?)
    }
}

/// Which result a layer counts for.
struct Owners<'a> {
    by_layer: HashMap<&'a LayerId, &'a ResultInfo>,
}

impl<'a> Owners<'a> {
    fn new(results: &'a [ResultInfo]) -> Self {
        let mut by_layer = HashMap::new();
        for result in results {
            for layer in &result.layers {
                by_layer.entry(layer).or_insert(result);
            }
        }
        Self { by_layer }
    }

    fn owner(&self, layer: &LayerId) -> Option<&ResultId> {
        self.by_layer.get(layer).map(|result| &result.id)
    }

    /// The fewest results that have what a result does not own, the uppermost first.
    fn parents(&self, result: &ResultInfo) -> Vec<String> {
        let mut covered: HashSet<&LayerId> = HashSet::new();
        let mut parents = Vec::new();
        for layer in result.layers.iter().rev() {
            let Some(owner) = self.by_layer.get(layer).filter(|it| it.id != result.id) else {
                continue;
            };
            if covered.insert(layer) {
                covered.extend(&owner.layers);
                parents.push(owner.id.0.clone());
            }
        }
        parents
    }
}

/// What layers take: their directories, and their archives in the content store.
struct Sizes<'a> {
    layers: &'a Layers,
    known: HashMap<LayerId, LayerInfo>,
    archives: HashMap<LayerId, Vec<Digest>>,
    /// Blobs that nobody has been charged for.
    blobs: HashMap<Digest, u64>,
    /// What images with names need.
    shared: HashSet<Digest>,
}

impl<'a> Sizes<'a> {
    fn load(layers: &'a Layers, images: &ImageStore) -> Result<Self, GcError> {
        let meta = layers.snapshots().meta();
        let known: HashMap<_, _> = meta
            .layers()?
            .into_iter()
            .map(|it| (it.id.clone(), it))
            .collect();
        Ok(Self {
            archives: sweep::archives(meta, known.values())?,
            blobs: layers.content().list()?.into_iter().collect(),
            shared: shared_digests(images)?,
            known,
            layers,
        })
    }

    fn of(&mut self, layer: &LayerId, result: &ResultInfo) -> Result<u64, GcError> {
        let mut size = 0;
        for archive in self.archives.get(layer).into_iter().flatten() {
            size += self.blobs.remove(archive).unwrap_or(0);
        }
        let Some(info) = self.known.get(layer).filter(|info| info.unpacked) else {
            return Ok(size);
        };
        if result.record_type != LINKED {
            return Ok(size + info.size);
        }
        let dir = self.layers.snapshots().layer_dir(layer);
        match Root::open(&dir).and_then(|root| allocated_bytes(&root, |it| it.links == 1)) {
            Ok(bytes) => Ok(size + bytes),
            // It went meanwhile.
            Err(error) if error.is_not_found() => Ok(size),
            Err(error) => Err(error.into()),
        }
    }

    fn is_shared(&self, layer: &LayerId) -> bool {
        let archives = self.archives.get(layer).into_iter().flatten();
        let diff_id = self.known.get(layer).and_then(|info| info.diff_id.as_ref());
        archives
            .chain(diff_id)
            .any(|digest| self.shared.contains(digest))
    }
}

/// The blobs of images with names, and the diff ids of their layers. What cannot be read is passed over here: it only
/// says less of what is shared.
fn shared_digests(images: &ImageStore) -> Result<HashSet<Digest>, GcError> {
    let mut shared = HashSet::new();
    for entry in images.meta().images()? {
        let target = Descriptor::new(entry.media_type, entry.digest, entry.size);
        for blob in images.reachable(&target).unwrap_or_default() {
            if media_type::is_config(&blob.media_type) {
                let bytes = images
                    .content()
                    .read(&blob.digest, images.limits().manifest_bytes);
                let config = bytes.ok().and_then(|bytes| ImageConfig::parse(&bytes).ok());
                shared.extend(config.into_iter().flat_map(|it| it.rootfs.diff_ids));
            }
            shared.insert(blob.digest);
        }
    }
    Ok(shared)
}

/// Removes a directory of a store; that it is gone already is fine.
pub(super) fn remove_tree(parent: &Path, name: &str) -> Result<(), GcError> {
    match Root::open(parent)?.remove_all(Path::new(name)) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}
