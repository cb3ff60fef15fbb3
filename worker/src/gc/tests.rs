use std::io::Write;
use std::path::Path;

use cooper_core::model::{PruneRule, ResultId, UsageRecord};
use cooper_core::ports::{CacheStore, KeyQuery, Storage};
use cooper_proto::Digest;

use super::{
    CacheMountRoom, Collector, GcPolicy, Ledger, ResultRoom, ResultUses, Room, allocated_bytes,
};
use crate::cachestore::PersistentCache;
use crate::confine::Root;
use crate::images::tests::Fixture;
use crate::layer::Wanted;
use crate::mount::{CacheMounts, Sharing};

struct Bench {
    fixture: Fixture,
    uses: ResultUses,
    mounts: CacheMounts,
    collector: Collector,
}

impl Bench {
    fn new() -> Self {
        let fixture = Fixture::new();
        let uses = ResultUses::default();
        let folder = fixture._dir.path().to_owned();
        let ledger = Ledger::new(fixture.images.meta(), "cache-mount-1");
        let mounts = CacheMounts::new(&folder.join("cachemounts")).with_ledger(ledger.clone());
        let rooms: Vec<Box<dyn Room>> = vec![
            Box::new(ResultRoom::new(&fixture.layers, &fixture.images, &uses)),
            Box::new(CacheMountRoom::new(&mounts, &ledger)),
        ];
        let collector = Collector::new(
            rooms,
            &fixture.layers,
            &fixture.images,
            folder,
            &GcPolicy::Unneeded,
        );
        Self {
            collector: collector.unwrap(),
            fixture,
            uses,
            mounts,
        }
    }

    /// A result with one more file, which nobody pins.
    fn result(&self, parent: &ResultId, name: &str) -> ResultId {
        let snapshots = self.fixture.layers.snapshots();
        let writer = snapshots.writer(parent).unwrap();
        let root = writer.root().unwrap();
        let mut file = root.create_file(Path::new(name), 0o644).unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        drop((file, root));
        let result = writer.commit(name).unwrap();
        snapshots.meta().pins().unpin(&result);
        result
    }

    async fn usage(&self) -> Vec<UsageRecord> {
        self.collector.usage().await.unwrap()
    }

    async fn record(&self, result: &ResultId) -> UsageRecord {
        let usage = self.usage().await;
        usage.into_iter().find(|it| it.id == result.0).unwrap()
    }

    async fn prune_all(&self) -> Vec<String> {
        let all = PruneRule {
            all: true,
            ..PruneRule::default()
        };
        let removed = self.collector.prune(all).await.unwrap();
        removed.into_iter().map(|record| record.id).collect()
    }
}

#[tokio::test]
async fn a_chain_of_results_counts_each_layer_once() {
    let bench = Bench::new();
    let base = bench.result(&ResultId::scratch(), "a");
    let top = bench.result(&base, "b");
    let (base, top) = (bench.record(&base).await, bench.record(&top).await);
    assert!(base.parents.is_empty());
    assert_eq!(top.parents, std::slice::from_ref(&base.id));
    assert!(base.size >= 10_000 && top.size >= 10_000);
    assert!(
        top.size < 20_000,
        "what its parent has is not counted again"
    );
    assert_eq!(
        (top.record_type.as_str(), top.description.as_str()),
        ("regular", "b")
    );
}

#[tokio::test]
async fn what_is_pinned_stays_with_all_that_it_stands_on() {
    let bench = Bench::new();
    let base = bench.result(&ResultId::scratch(), "a");
    let middle = bench.result(&base, "b");
    let top = bench.result(&middle, "c");
    let pins = bench.fixture.layers.snapshots().meta().pins().clone();
    let held = pins.hold(&middle);
    assert!(bench.record(&middle).await.in_use);
    assert_eq!(bench.prune_all().await, [top.0]);
    drop(held);
    assert_eq!(bench.prune_all().await, [middle.0, base.0]);
    assert_eq!(bench.usage().await, []);
}

#[tokio::test]
async fn pruning_all_leaves_neither_layers_nor_blobs_nor_cache_links() {
    let bench = Bench::new();
    let layers = &bench.fixture.layers;
    let result = bench.result(&ResultId::scratch(), "a");
    let cache = PersistentCache::new(layers.snapshots().meta().clone());
    let query = KeyQuery {
        op: Digest::sha256_of("op"),
        output: 0,
        inputs: Vec::new(),
    };
    cache.save(&query, Some(&result)).await.unwrap();
    layers.archives(&result, Wanted::default()).unwrap();
    layers
        .content()
        .put(b"a manifest that nothing names")
        .unwrap();
    assert_eq!(bench.prune_all().await, [result.0]);
    assert_eq!(layers.content().list().unwrap(), []);
    assert_eq!(layers.snapshots().meta().layers().unwrap(), []);
    assert!(!cache.lookup(&query).await.unwrap().op_known);
    let folder = bench.fixture._dir.path().join("layers");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}

#[tokio::test]
async fn an_image_with_a_name_keeps_its_blobs_and_makes_its_state_shared() {
    let bench = Bench::new();
    let imported = bench.fixture.import_hello("example.org/a:1", "hello");
    let blobs = bench.fixture.images.content().list().unwrap();
    assert!(blobs.len() >= 3, "{imported:?}");
    bench.prune_all().await;
    assert_eq!(bench.fixture.images.content().list().unwrap(), blobs);
}

#[tokio::test]
async fn what_is_being_put_down_is_left_to_the_next_call() {
    let bench = Bench::new();
    let blob = bench
        .fixture
        .layers
        .content()
        .put(b"half of an export")
        .unwrap();
    let hold = bench.fixture.images.gate().hold().await;
    bench.prune_all().await;
    assert!(bench.fixture.layers.content().contains(blob.digest()));
    drop(hold);
    // Nobody asked: what is young stays.
    bench.collector.collect().await.unwrap();
    assert!(bench.fixture.layers.content().contains(blob.digest()));
    bench.prune_all().await;
    assert!(!bench.fixture.layers.content().contains(blob.digest()));
}

#[tokio::test]
async fn uses_are_counted_before_and_after_they_are_written_down() {
    let bench = Bench::new();
    let result = bench.result(&ResultId::scratch(), "a");
    let before = bench.record(&result).await;
    bench.uses.taken(&result);
    bench.uses.given_back(&result);
    let noted = bench.record(&result).await;
    assert_eq!(noted.usage_count, 1);
    assert!(noted.last_used_ns > before.last_used_ns);
    bench.collector.collect().await.unwrap();
    assert_eq!(bench.record(&result).await, noted);
}

#[tokio::test]
async fn a_cache_mount_goes_only_when_no_step_has_it() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.mounts.root()).unwrap();
    let lease = bench.mounts.lease("/root/.cache", Sharing::Shared).await;
    lease
        .open(None)
        .unwrap()
        .create_file(Path::new("f"), 0o600)
        .unwrap();
    let usage = bench.usage().await;
    assert_eq!(usage.len(), 1);
    assert_eq!(usage[0].description, "cached mount /root/.cache");
    assert_eq!(usage[0].record_type, "exec.cachemount");
    assert!(usage[0].mutable && usage[0].in_use && usage[0].usage_count == 1);
    assert!(bench.prune_all().await.is_empty());
    drop(lease);
    assert_eq!(bench.prune_all().await.len(), 1);
    assert_eq!(bench.usage().await, []);
}

#[test]
fn a_file_with_two_names_takes_its_space_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), [1; 100_000]).unwrap();
    let alone = allocated_bytes(&Root::open(dir.path()).unwrap(), |_| true).unwrap();
    std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
    let root = Root::open(dir.path()).unwrap();
    assert_eq!(allocated_bytes(&root, |_| true).unwrap(), alone);
    assert!(allocated_bytes(&root, |it| it.links == 1).unwrap() < 50_000);
}
