use std::{fs, path::Path};

use cooper_core::model::ResultId;

use super::{Durability, SnapshotError, Snapshots};
use crate::{
    limits::Limits,
    meta::{LayerId, Meta},
    state::StateDir,
};

struct Fixture {
    dir: tempfile::TempDir,
    snapshots: Snapshots,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = open(dir.path());
        Self { dir, snapshots }
    }

    fn reopen(self) -> Self {
        let Self { dir, snapshots } = self;
        drop(snapshots);
        let snapshots = open(dir.path());
        Self { dir, snapshots }
    }

    /// A result that adds one file to another.
    fn with_file(&self, parent: &ResultId, name: &str, content: &str) -> ResultId {
        let writer = self.snapshots.writer(parent).unwrap();
        put(&writer.root().unwrap(), name, content);
        writer.commit(name).unwrap()
    }

    fn read(&self, result: &ResultId, name: &str) -> Option<String> {
        let root = self.snapshots.view(result).unwrap().root().unwrap();
        let bytes = root.read_small(Path::new(name), 1000).ok()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    fn names(&self, folder: &str) -> usize {
        fs::read_dir(self.dir.path().join(folder)).unwrap().count()
    }
}

fn open(path: &Path) -> Snapshots {
    open_with(path, &Limits::default())
}

fn open_with(path: &Path, limits: &Limits) -> Snapshots {
    let state = StateDir::open(path).unwrap();
    let meta = Meta::open(&state.meta()).unwrap();
    Snapshots::open(&state, meta, limits, Durability::ProcessDeath).unwrap()
}

fn put(root: &crate::confine::Root, name: &str, content: &str) {
    use std::io::Write;
    let mut file = root.create_file(Path::new(name), 0o644).unwrap();
    file.write_all(content.as_bytes()).unwrap();
}

fn scratch() -> ResultId {
    ResultId::scratch()
}

#[test]
fn a_committed_state_shows_its_changes_on_top_of_its_parent() {
    let fixture = Fixture::new();
    let below = fixture.with_file(&scratch(), "a", "1");
    let above = fixture.with_file(&below, "b", "2");
    assert_eq!(fixture.read(&above, "a").as_deref(), Some("1"));
    assert_eq!(fixture.read(&above, "b").as_deref(), Some("2"));
    assert_eq!(fixture.read(&below, "b"), None);
    let layers = fixture.snapshots.meta().result(&above).unwrap().layers;
    assert_eq!(layers.len(), 2);
    assert_eq!(fixture.names("work"), 0);
}

#[test]
fn a_deleted_file_is_gone_above_and_stays_below() {
    let fixture = Fixture::new();
    let below = fixture.with_file(&scratch(), "a", "1");
    let writer = fixture.snapshots.writer(&below).unwrap();
    writer.root().unwrap().remove_file(Path::new("a")).unwrap();
    let above = writer.commit("rm").unwrap();
    assert_eq!(fixture.read(&above, "a"), None);
    assert_eq!(fixture.read(&below, "a").as_deref(), Some("1"));
}

#[test]
fn an_abandoned_or_dropped_writer_leaves_nothing() {
    let fixture = Fixture::new();
    let below = fixture.with_file(&scratch(), "a", "1");
    let writer = fixture.snapshots.writer(&below).unwrap();
    put(&writer.root().unwrap(), "b", "2");
    writer.abandon().unwrap();
    drop(fixture.snapshots.writer(&below).unwrap());
    assert_eq!(fixture.names("work"), 0);
    assert_eq!(fixture.names("layers"), 1);
    assert_eq!(fixture.snapshots.meta().pins().count(&below), 1);
}

#[test]
fn nothing_appears_in_the_table_of_mounts() {
    let fixture = Fixture::new();
    let state = fixture.dir.path().to_str().unwrap();
    let a = fixture.with_file(&scratch(), "a", "1");
    let b = fixture.with_file(&a, "b", "2");
    let writer = fixture.snapshots.writer(&b).unwrap();
    let view = fixture.snapshots.view(&b).unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(state), "{table}");
    drop((writer, view));
}

#[test]
fn views_of_one_state_share_a_mount_and_pin_the_state_until_the_last_is_gone() {
    let fixture = Fixture::new();
    let a = fixture.with_file(&scratch(), "a", "1");
    let pins = fixture.snapshots.meta().pins().clone();
    pins.unpin(&a);
    let first = fixture.snapshots.view(&a).unwrap();
    let second = fixture.snapshots.view(&a).unwrap();
    assert_eq!(pins.count(&a), 1);
    drop(first);
    assert_eq!(
        fixture
            .snapshots
            .meta()
            .remove_results(vec![a.clone()])
            .unwrap(),
        []
    );
    drop(second);
    assert_eq!(pins.count(&a), 0);
}

#[test]
fn a_view_cannot_be_written() {
    let fixture = Fixture::new();
    let a = fixture.with_file(&scratch(), "a", "1");
    let b = fixture.with_file(&a, "b", "2");
    for result in [scratch(), a, b] {
        let view = fixture.snapshots.view(&result).unwrap();
        for root in [view.root().unwrap(), view.mount().unwrap().root().unwrap()] {
            assert!(root.create_file(Path::new("x"), 0o644).is_err());
        }
    }
}

#[test]
fn a_restart_keeps_what_was_committed_and_removes_what_was_not() {
    let fixture = Fixture::new();
    let a = fixture.with_file(&scratch(), "a", "1");
    let b = fixture.with_file(&a, "b", "2");
    let state = fixture.dir.path().to_owned();
    fs::create_dir_all(state.join("work/half/changes/dir")).unwrap();
    fs::create_dir_all(
        state
            .join("layers")
            .join(LayerId::random().as_str())
            .join("x"),
    )
    .unwrap();
    let fixture = fixture.reopen();
    assert_eq!(fixture.names("work"), 0);
    assert_eq!(fixture.names("layers"), 2);
    assert_eq!(fixture.read(&b, "a").as_deref(), Some("1"));
    assert_eq!(fixture.read(&b, "b").as_deref(), Some("2"));
}

#[test]
fn a_state_whose_layer_directory_is_gone_is_forgotten_and_the_others_stay() {
    let fixture = Fixture::new();
    let a = fixture.with_file(&scratch(), "a", "1");
    let b = fixture.with_file(&a, "b", "2");
    let top = fixture.snapshots.meta().result(&b).unwrap().layers[1].clone();
    fs::remove_dir_all(fixture.snapshots.layer_dir(&top)).unwrap();
    let fixture = fixture.reopen();
    assert_eq!(fixture.read(&a, "a").as_deref(), Some("1"));
    let error = fixture.snapshots.view(&b).unwrap_err();
    assert!(matches!(error, SnapshotError::Meta(_)), "{error}");
}

#[test]
fn a_layer_directory_that_goes_while_the_store_is_open_is_noticed() {
    let fixture = Fixture::new();
    let below = fixture.with_file(&scratch(), "a", "1");
    let above = fixture.with_file(&below, "b", "2");
    let (snapshots, meta) = (&fixture.snapshots, fixture.snapshots.meta());
    assert_eq!(snapshots.lost_layers(&above).unwrap(), Some(vec![]));
    let layer = meta.result(&below).unwrap().layers[0].clone();
    fs::remove_dir_all(snapshots.layer_dir(&layer)).unwrap();
    let lost = snapshots.lost_layers(&above).unwrap().unwrap();
    assert_eq!(lost, [layer]);
    for result in [&below, &above] {
        meta.pins().unpin(result);
    }
    snapshots.forget_lost(lost).unwrap();
    for result in [&below, &above] {
        assert_eq!(snapshots.lost_layers(result).unwrap(), None);
    }
}

#[test]
fn layers_that_no_result_has_are_removed_with_their_directories() {
    let fixture = Fixture::new();
    let a = fixture.with_file(&scratch(), "a", "1");
    let b = fixture.with_file(&a, "b", "2");
    let meta = fixture.snapshots.meta();
    meta.pins().unpin(&b);
    assert_eq!(meta.remove_results(vec![b.clone()]).unwrap(), [b]);
    assert_eq!(fixture.snapshots.remove_unreferenced().unwrap().len(), 1);
    assert_eq!(fixture.names("layers"), 1);
    assert_eq!(fixture.read(&a, "a").as_deref(), Some("1"));
}

#[test]
fn chains_are_composed_and_cut_without_copying() {
    let fixture = Fixture::new();
    let a = fixture.with_file(&scratch(), "a", "1");
    let b = fixture.with_file(&scratch(), "b", "2");
    let meta = fixture.snapshots.meta();
    let mut chain = meta.result(&a).unwrap().layers;
    chain.extend(meta.result(&b).unwrap().layers);
    let both = fixture.snapshots.compose(chain.clone(), "merge").unwrap();
    assert_eq!(fixture.read(&both, "a").as_deref(), Some("1"));
    assert_eq!(fixture.read(&both, "b").as_deref(), Some("2"));
    assert_eq!(fixture.names("layers"), 2);
    assert_eq!(fixture.snapshots.compose(chain, "again").unwrap(), both);
}

#[test]
fn the_root_directory_keeps_its_owner_and_mode_from_layer_to_layer() {
    use crate::confine::{Last, Owner};
    let fixture = Fixture::new();
    let writer = fixture.snapshots.writer(&scratch()).unwrap();
    let root = writer.root().unwrap();
    let node = root.resolve(Path::new("/"), Last::Follow).unwrap();
    node.set_owner(Owner { uid: 5, gid: 6 }).unwrap();
    node.set_mode(0o711).unwrap();
    drop((root, node));
    let a = writer.commit("chown").unwrap();
    let b = fixture.with_file(&a, "b", "2");
    let root = fixture.snapshots.view(&b).unwrap().root().unwrap();
    let metadata = root.metadata(Path::new("/"), Last::Follow).unwrap();
    assert_eq!((metadata.owner.uid, metadata.owner.gid), (5, 6));
    assert_eq!(metadata.mode, 0o711);
}

// Docker gives every step without changes the same empty layer.
#[test]
fn a_chain_may_have_a_layer_several_times() {
    let fixture = Fixture::new();
    let meta = fixture.snapshots.meta();
    let layer = |result: &ResultId| meta.result(result).unwrap().layers[0].clone();
    let empty = layer(
        &fixture
            .snapshots
            .writer(&scratch())
            .unwrap()
            .commit("")
            .unwrap(),
    );
    let a = layer(&fixture.with_file(&scratch(), "a", "1"));
    let b = layer(&fixture.with_file(&scratch(), "b", "2"));
    let chain = vec![empty.clone(), a.clone(), empty.clone(), b, a, empty];
    let result = fixture.snapshots.compose(chain.clone(), "image").unwrap();
    assert_eq!(meta.result(&result).unwrap().layers, chain);
    let above = fixture.with_file(&result, "c", "3");
    for (name, content) in [("a", "1"), ("b", "2"), ("c", "3")] {
        assert_eq!(fixture.read(&above, name).as_deref(), Some(content));
    }
}

#[test]
fn a_directory_that_replaced_another_still_hides_it() {
    let fixture = Fixture::new();
    let writer = fixture.snapshots.writer(&scratch()).unwrap();
    let root = writer.root().unwrap();
    root.mkdir_all(Path::new("d"), 0o755, None).unwrap();
    put(&root, "d/old", "1");
    drop(root);
    let below = writer.commit("below").unwrap();
    let writer = fixture.snapshots.writer(&below).unwrap();
    let root = writer.root().unwrap();
    root.remove_all(Path::new("d")).unwrap();
    root.mkdir_all(Path::new("d"), 0o755, None).unwrap();
    put(&root, "d/new", "12");
    drop(root);
    let above = writer.commit("above").unwrap();
    assert_eq!(fixture.read(&above, "d/old"), None);
    assert_eq!(fixture.read(&above, "d/new").as_deref(), Some("12"));
    let meta = fixture.snapshots.meta();
    let layer = meta.result(&above).unwrap().layers.pop().unwrap();
    assert_eq!(meta.layer(&layer).unwrap().size, 2);
}

#[test]
fn what_was_only_copied_up_is_no_part_of_a_layer() {
    use crate::confine::Last;
    let fixture = Fixture::new();
    let writer = fixture.snapshots.writer(&scratch()).unwrap();
    let root = writer.root().unwrap();
    root.mkdir_all(Path::new("etc/deep"), 0o755, None).unwrap();
    put(&root, "etc/same", "1");
    put(&root, "etc/other", "1");
    drop(root);
    let below = writer.commit("below").unwrap();
    let writer = fixture.snapshots.writer(&below).unwrap();
    let root = writer.root().unwrap();
    for path in ["etc/same", "etc/deep"] {
        // Setting a mode copies the object up, also when it is the mode that it has.
        let node = root.resolve(Path::new(path), Last::NoFollow).unwrap();
        node.set_mode(node.metadata().unwrap().mode).unwrap();
    }
    let node = root
        .resolve(Path::new("etc/other"), Last::NoFollow)
        .unwrap();
    node.set_mode(0o600).unwrap();
    drop((root, node));
    let above = writer.commit("above").unwrap();
    let meta = fixture.snapshots.meta();
    let layer = meta.result(&above).unwrap().layers.pop().unwrap();
    let dir = fixture.snapshots.layer_dir(&layer).join("etc");
    let names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["other"]);
    assert_eq!(fixture.read(&above, "etc/same").as_deref(), Some("1"));
}

#[test]
fn a_chain_that_one_mount_does_not_take_is_seen_whole_through_two() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        mount_layers: 4,
        ..Limits::default()
    };
    let snapshots = open_with(dir.path(), &limits);
    let fixture = Fixture { dir, snapshots };
    let mut result = scratch();
    for number in 0..7 {
        let writer = fixture.snapshots.writer(&result).unwrap();
        let root = writer.root().unwrap();
        put(&root, &format!("f{number}"), "x");
        if number >= 2 {
            root.remove_file(Path::new(&format!("f{}", number - 2)))
                .unwrap();
        }
        drop(root);
        result = writer.commit("layer").unwrap();
    }
    for number in 0..7 {
        let found = fixture.read(&result, &format!("f{number}"));
        assert_eq!(found.is_some(), number >= 5, "f{number}");
    }
    let eighth = fixture.with_file(&result, "f8", "x");
    let error = fixture.snapshots.view(&eighth).unwrap_err();
    assert!(matches!(
        error,
        SnapshotError::TooManyLayers { layers: 8, cap: 7 }
    ));
}
