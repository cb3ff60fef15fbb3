use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use cooper_core::model::ResultId;
use cooper_proto::Digest;

use super::{
    Compression, Existing, FetchLayer, LayerError, Layers, Wanted,
    apply_tests::{archive, dir, file},
    compress,
};
use crate::{
    content::{ContentStore, VerifiedBlob},
    limits::Limits,
    meta::{LayerBlob, LayerOrigin, Meta},
    snapshot::{Durability, Snapshots},
    state::StateDir,
};

struct Store {
    dir: tempfile::TempDir,
    layers: Layers,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let limits = Limits::default();
        let content = ContentStore::open(state.root(), &limits).unwrap();
        let meta = Meta::open(&state.meta()).unwrap();
        let snapshots = Snapshots::open(&state, meta, &limits, Durability::ProcessDeath).unwrap();
        let layers = Layers::new(content, snapshots, limits);
        Self { dir, layers }
    }

    fn state(&self, parent: &ResultId, name: &str, content: &str) -> ResultId {
        let writer = self.layers.snapshots().writer(parent).unwrap();
        let root = writer.root().unwrap();
        let mut file = root.create_file(Path::new(name), 0o644).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        drop((file, root));
        writer.commit(name).unwrap()
    }

    fn read(&self, result: &ResultId, name: &str) -> String {
        let view = self.layers.snapshots().view(result).unwrap();
        let bytes = view.root().unwrap().read_small(Path::new(name), 100);
        String::from_utf8(bytes.unwrap()).unwrap()
    }

    fn half_made(&self) -> usize {
        let count = |name| {
            std::fs::read_dir(self.dir.path().join(name))
                .unwrap()
                .count()
        };
        count("work") + count("ingest")
    }
}

fn gzip() -> Wanted {
    Wanted::default()
}

fn wanted(compression: Compression) -> Wanted {
    Wanted {
        compression,
        level: None,
        existing: Existing::Convert,
    }
}

/// A layer with one file, as a registry would have it, and its diff id.
fn blob(content: &str, compression: Compression) -> (Vec<u8>, LayerBlob, Digest) {
    let plain = archive(&[(dir("d"), ""), (file("d/f"), content)]);
    let bytes = compress(Vec::new(), compression, None, |output| {
        output.write_all(&plain)
    })
    .unwrap();
    let blob = LayerBlob {
        media_type: compression.docker_media_type().to_owned(),
        digest: Digest::sha256_of(&bytes),
        size: bytes.len() as u64,
    };
    (bytes, blob, Digest::sha256_of(plain))
}

fn origin(blob: &LayerBlob) -> LayerOrigin {
    LayerOrigin {
        blob: blob.clone(),
        source: String::from("registry.example/x"),
        annotations: BTreeMap::new(),
        urls: Vec::new(),
    }
}

struct Registry {
    layers: Layers,
    bytes: Vec<u8>,
    fetched: AtomicU32,
}

#[async_trait]
impl FetchLayer for Registry {
    async fn fetch(
        &self,
        _origin: &LayerOrigin,
    ) -> Result<VerifiedBlob, Box<dyn std::error::Error + Send + Sync>> {
        self.fetched.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        Ok(self.layers.content().put(&self.bytes)?)
    }
}

#[test]
fn a_layer_is_stored_once_and_found_again() {
    let store = Store::new();
    let a = store.state(&ResultId::scratch(), "a", "1");
    let b = store.state(&a, "b", "2");
    let first = store.layers.archives(&b, gzip()).unwrap();
    assert_eq!(first.len(), 2);
    let blobs = store.layers.content().list().unwrap();
    assert_eq!(blobs.len(), 2);
    assert_eq!(store.layers.archives(&b, gzip()).unwrap(), first);
    assert_eq!(store.layers.content().list().unwrap(), blobs);
    for it in &first {
        assert_eq!(
            it.blob.media_type,
            "application/vnd.oci.image.layer.v1.tar+gzip"
        );
        assert_eq!(
            store.layers.content().size(&it.blob.digest).unwrap(),
            Some(it.blob.size)
        );
    }
    let known = store.layers.known_diff_ids(&b).unwrap();
    let made: Vec<_> = first.iter().map(|it| Some(it.diff_id.clone())).collect();
    assert_eq!(known, made);
}

#[test]
fn each_compression_has_the_same_diff_id_and_unpacks_to_the_same_files() {
    let store = Store::new();
    let a = store.state(&ResultId::scratch(), "a", "1");
    let mut diff_ids = Vec::new();
    for compression in [
        Compression::Gzip,
        Compression::Zstd,
        Compression::Uncompressed,
    ] {
        let made = store.layers.archives(&a, wanted(compression)).unwrap();
        diff_ids.push(made[0].diff_id.clone());
        let other = Store::new();
        let bytes = store.layers.content().read(&made[0].blob.digest, 1 << 20);
        other.layers.content().put(&bytes.unwrap()).unwrap();
        let layer = other
            .layers
            .unpack(&made[0].blob, &made[0].diff_id)
            .unwrap();
        let result = other.layers.snapshots().compose(vec![layer], "x").unwrap();
        assert_eq!(other.read(&result, "a"), "1");
    }
    diff_ids.dedup();
    assert_eq!(diff_ids.len(), 1);
    assert_eq!(store.layers.content().list().unwrap().len(), 3);
}

#[test]
fn a_conversion_has_what_was_stored_and_not_what_became_of_the_directory() {
    let store = Store::new();
    let a = store.state(&ResultId::scratch(), "a", "1");
    let first = store.layers.archives(&a, gzip()).unwrap();
    let layer = store.layers.snapshots().layer_dir(&first[0].layer);
    std::fs::write(layer.join("a"), "damaged").unwrap();
    let zstd = wanted(Compression::Zstd);
    let converted = store.layers.archives(&a, zstd).unwrap();
    assert_eq!(converted[0].diff_id, first[0].diff_id);
    std::fs::remove_dir_all(&layer).unwrap();
    let plain = wanted(Compression::Uncompressed);
    let converted = store.layers.archives(&a, plain).unwrap();
    let tar = store
        .layers
        .content()
        .read(&converted[0].blob.digest, 1 << 20);
    assert_eq!(Digest::sha256_of(tar.unwrap()), first[0].diff_id);
}

#[test]
fn a_lost_blob_is_made_again_with_the_same_diff_id() {
    let store = Store::new();
    let a = store.state(&ResultId::scratch(), "a", "1");
    let first = store.layers.archives(&a, gzip()).unwrap();
    let digest = &first[0].blob.digest;
    store.layers.content().remove(digest).unwrap();
    assert_eq!(store.layers.archives(&a, gzip()).unwrap(), first);
    assert!(store.layers.content().contains(digest));
}

#[test]
fn a_layer_says_what_it_changed_where_it_was_made_wherever_it_lies() {
    let store = Store::new();
    let base = store.state(&ResultId::scratch(), "base", "1");
    let alone = store.state(&ResultId::scratch(), "base", "1");
    let meta = store.layers.snapshots().meta();
    let mut chain = meta.result(&base).unwrap().layers;
    chain.extend(meta.result(&alone).unwrap().layers);
    let merged = store.layers.snapshots().compose(chain, "merge").unwrap();
    let archives = store.layers.archives(&merged, gzip()).unwrap();
    let lone = store.layers.archives(&alone, gzip()).unwrap();
    assert_eq!(archives[1], lone[0]);
}

#[test]
fn a_base_image_keeps_its_blobs_unless_conversion_is_wanted() {
    let store = Store::new();
    let (bytes, blob, diff_id) = blob("1", Compression::Zstd);
    store.layers.content().put(&bytes).unwrap();
    let layer = store.layers.declare(origin(&blob), &diff_id).unwrap();
    let result = store.layers.snapshots().compose(vec![layer], "").unwrap();
    let kept = store.layers.archives(&result, gzip()).unwrap();
    assert_eq!(kept[0].blob, blob);
    let converted = store
        .layers
        .archives(&result, wanted(Compression::Gzip))
        .unwrap();
    assert_ne!(converted[0].blob, blob);
    assert_eq!(converted[0].diff_id, diff_id);
}

// T-A21
#[test]
fn a_foreign_diff_id_is_refused_and_leaves_nothing() {
    let store = Store::new();
    let (bytes, blob, diff_id) = blob("evil", Compression::Gzip);
    store.layers.content().put(&bytes).unwrap();
    let claimed = Digest::sha256_of("some other layer");
    let error = store.layers.unpack(&blob, &claimed).unwrap_err();
    assert!(matches!(error, LayerError::DiffId { .. }), "{error}");
    assert_eq!(store.half_made(), 0);
    // Exporting it unseen tells as well.
    let layer = store.layers.declare(origin(&blob), &claimed).unwrap();
    let result = store.layers.snapshots().compose(vec![layer], "").unwrap();
    assert!(store.layers.archives(&result, gzip()).is_err());
    // And the honest image is not served by what the liar left.
    assert!(store.layers.unpack(&blob, &diff_id).is_ok());
}

// T-A21
#[test]
fn a_lie_about_a_diff_id_does_not_stand_in_the_way_of_the_truth() {
    let store = Store::new();
    let (bytes, honest, diff_id) = blob("honest", Compression::Gzip);
    let (evil_bytes, evil, _) = blob("evil", Compression::Gzip);
    store.layers.content().put(&bytes).unwrap();
    store.layers.content().put(&evil_bytes).unwrap();
    assert!(store.layers.unpack(&evil, &diff_id).is_err());
    let layer = store.layers.unpack(&honest, &diff_id).unwrap();
    let result = store
        .layers
        .snapshots()
        .compose(vec![layer.clone()], "")
        .unwrap();
    assert_eq!(store.read(&result, "d/f"), "honest");
    assert_eq!(store.layers.unpack(&evil, &diff_id).unwrap(), layer);
}

#[test]
fn many_that_need_a_layer_at_once_unpack_it_once() {
    let store = Store::new();
    let (bytes, blob, diff_id) = blob("1", Compression::Gzip);
    store.layers.content().put(&bytes).unwrap();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| store.layers.unpack(&blob, &diff_id).unwrap()))
            .collect();
        running.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(store.half_made(), 0);
}

#[tokio::test]
async fn a_lazy_layer_is_fetched_when_it_is_needed_and_once() {
    let store = Store::new();
    let (bytes, blob, diff_id) = blob("lazy", Compression::Gzip);
    let registry = Registry {
        layers: store.layers.clone(),
        bytes,
        fetched: AtomicU32::new(0),
    };
    let layer = store.layers.declare(origin(&blob), &diff_id).unwrap();
    let result = store.layers.snapshots().compose(vec![layer], "").unwrap();
    assert!(store.layers.snapshots().view(&result).is_err());
    let all = (0..4).map(|_| store.layers.ensure(&result, &registry));
    futures::future::try_join_all(all).await.unwrap();
    assert_eq!(registry.fetched.load(Ordering::SeqCst), 1);
    assert_eq!(store.read(&result, "d/f"), "lazy");
}

// RT-17: a blob that went bad on disk failed every build that needed its layer.
#[tokio::test]
async fn a_layer_whose_blob_went_bad_here_is_fetched_again() {
    let store = Store::new();
    let (bytes, blob, diff_id) = blob("whole", Compression::Gzip);
    let content = store.layers.content();
    content.put(&bytes).unwrap();
    let mut bad = bytes.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(content.blob_path(&blob.digest), bad).unwrap();
    let registry = Registry {
        layers: store.layers.clone(),
        bytes,
        fetched: AtomicU32::new(0),
    };
    let layer = store.layers.declare(origin(&blob), &diff_id).unwrap();
    let result = store.layers.snapshots().compose(vec![layer], "").unwrap();
    store.layers.ensure(&result, &registry).await.unwrap();
    assert_eq!(registry.fetched.load(Ordering::SeqCst), 1);
    assert_eq!(store.read(&result, "d/f"), "whole");
    store.layers.content().verify(&blob.digest).unwrap();
}

// RT-17
#[test]
fn a_blob_that_went_bad_is_not_converted_but_made_again() {
    let store = Store::new();
    let a = store.state(&ResultId::scratch(), "a", "1");
    let first = store.layers.archives(&a, gzip()).unwrap();
    let content = store.layers.content();
    let path = content.blob_path(&first[0].blob.digest);
    let mut bytes = std::fs::read(&path).unwrap();
    // A bit alone may be one between two blocks, which says nothing.
    bytes[12..].fill(0);
    std::fs::write(path, bytes).unwrap();
    let made = store
        .layers
        .archives(&a, wanted(Compression::Zstd))
        .unwrap();
    // From the layer's files, which are ours: nobody reads the bad one.
    assert_eq!(made[0].diff_id, first[0].diff_id);
    content.verify(&made[0].blob.digest).unwrap();
}

// RT-17
#[test]
fn a_directory_that_was_altered_is_not_packed_as_the_layer_that_it_was() {
    let store = Store::new();
    let a = store.state(&ResultId::scratch(), "a", "1");
    let first = store.layers.archives(&a, gzip()).unwrap();
    let (content, snapshots) = (store.layers.content(), store.layers.snapshots());
    content.remove(&first[0].blob.digest).unwrap();
    let layer = first[0].layer.clone();
    std::fs::write(snapshots.layer_dir(&layer).join("a"), "2").unwrap();
    let error = store.layers.archives(&a, gzip()).unwrap_err();
    assert!(matches!(error, LayerError::Altered(_)), "{error}");
    assert_eq!(snapshots.lost_layers(&a).unwrap(), Some(vec![layer]));
}

#[test]
fn an_image_layer_whose_bytes_are_nowhere_says_so() {
    let store = Store::new();
    let (_, blob, diff_id) = blob("1", Compression::Gzip);
    let layer = store.layers.declare(origin(&blob), &diff_id).unwrap();
    let result = store.layers.snapshots().compose(vec![layer], "").unwrap();
    let error = store.layers.archives(&result, gzip()).unwrap_err();
    assert!(matches!(error, LayerError::Gone(_)), "{error}");
}

#[test]
fn a_directory_that_a_layer_does_not_list_is_that_of_the_layers_below() {
    let store = Store::new();
    let unpacked = |plain: &[u8]| {
        let blob = LayerBlob {
            media_type: Compression::Uncompressed.docker_media_type().to_owned(),
            digest: Digest::sha256_of(plain),
            size: plain.len() as u64,
        };
        store.layers.content().put(plain).unwrap();
        store
            .layers
            .unpack(&blob, &Digest::sha256_of(plain))
            .unwrap()
    };
    let mut tmp = dir("tmp");
    (tmp.mode, tmp.uid, tmp.mtime) = (0o1777, 7, 1000);
    let below = unpacked(&archive(&[(tmp, "")]));
    let above = unpacked(&archive(&[(file("tmp/new/x"), "1"), (file("own/y"), "2")]));
    let chain = vec![below, above];
    let result = store.layers.snapshots().compose(chain.clone(), "").unwrap();
    store.layers.settle_implied(&chain).unwrap();
    let view = store.layers.snapshots().view(&result).unwrap();
    let root = view.root().unwrap();
    let of = |path: &str| {
        let found = root
            .metadata(Path::new(path), crate::confine::Last::NoFollow)
            .unwrap();
        (found.mode, found.owner.uid, found.mtime.seconds)
    };
    assert_eq!(of("tmp"), (0o1777, 7, 1000));
    assert_eq!(of("tmp/new"), (0o755, 0, 0));
    assert_eq!(of("own"), (0o755, 0, 0));
    assert!(
        store
            .layers
            .snapshots()
            .meta()
            .layer(&chain[1])
            .unwrap()
            .implied
            .is_empty()
    );
}
