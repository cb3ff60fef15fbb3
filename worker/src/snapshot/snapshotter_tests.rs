use std::{io::Write, path::Path};

use cooper_core::model::ResultId;

use super::{Durability, Snapshots, Snapshotter};
use crate::{
    confine::{ConfineError, Last, Root, Time, Visit},
    limits::Limits,
    meta::Meta,
    state::StateDir,
};

const PAST: Time = Time {
    seconds: 1_000_000_000,
    nanos: 5,
};

fn open(path: &Path, snapshotter: Snapshotter) -> Snapshots {
    let state = StateDir::open(path).unwrap();
    let meta = Meta::open(&state.meta()).unwrap();
    let limits = Limits::default();
    Snapshots::open_with(&state, meta, &limits, Durability::ProcessDeath, snapshotter).unwrap()
}

fn put(root: &Root, name: &str) {
    let mut file = root.create_file(Path::new(name), 0o644).unwrap();
    file.write_all(name.as_bytes()).unwrap();
}

fn paths(root: &Root) -> Vec<String> {
    let mut found = Vec::new();
    root.walk(Path::new("/"), |path, _, metadata| {
        let links = if metadata.is_dir() { 0 } else { metadata.links };
        found.push(format!("{} {links}", path.display()));
        Ok::<_, ConfineError>(Visit::Enter)
    })
    .unwrap();
    found
}

#[test]
fn states_are_the_same_however_layers_are_put_together() {
    for snapshotter in [
        Snapshotter::Overlayfs,
        Snapshotter::FuseOverlayfs,
        Snapshotter::Native,
    ] {
        let name = snapshotter.name();
        let dir = tempfile::tempdir().unwrap();
        let snapshots = open(dir.path(), snapshotter);
        let writer = snapshots.writer(&ResultId::scratch()).unwrap();
        let root = writer.root().unwrap();
        for folder in ["d", "replaced", "empty"] {
            root.mkdir(Path::new(folder), 0o755).unwrap();
        }
        for file in ["a", "b", "d/kept", "d/gone", "replaced/old"] {
            put(&root, file);
        }
        root.hardlink(Path::new("a"), Path::new("d/a")).unwrap();
        drop(root);
        let below = writer.commit("below").unwrap();
        let writer = snapshots.writer(&below).unwrap();
        let root = writer.root().unwrap();
        root.remove_file(Path::new("b")).unwrap();
        root.remove_file(Path::new("d/gone")).unwrap();
        root.remove_all(Path::new("replaced")).unwrap();
        root.mkdir(Path::new("replaced"), 0o700).unwrap();
        put(&root, "replaced/new");
        root.remove_dir(Path::new("empty")).unwrap();
        put(&root, "empty");
        drop(root);
        let above = writer.commit("above").unwrap();
        let expected = ["d", "d/kept", "empty", "replaced", "replaced/new"];
        let view = snapshots.view(&above).unwrap();
        let seen = paths(&view.root().unwrap());
        let names: Vec<_> = seen
            .iter()
            .map(|line| line.split(' ').next().unwrap())
            .filter(|name| !["a", "d/a"].contains(name))
            .collect();
        assert_eq!(names, expected, "{name}");
        let in_container = view.mount().unwrap().root().unwrap();
        assert_eq!(paths(&in_container), seen, "{name}");
        let layers = snapshots.meta().result(&above).unwrap().layers;
        let layer = Root::open(&snapshots.layer_dir(&layers[1])).unwrap();
        let kept = layer.metadata(Path::new("d/kept"), Last::NoFollow);
        assert!(kept.is_err(), "{name}: what did not change is no change");
        let gone = layer.metadata(Path::new("b"), Last::NoFollow).unwrap();
        assert!(gone.is_whiteout(), "{name}");
        for folder in ["", "d", "replaced"] {
            for entry in layer.read_dir(Path::new(folder)).unwrap() {
                let is_marker = entry.name.to_string_lossy().starts_with(".wh.");
                assert!(!is_marker, "{name}: {:?}", entry.name);
            }
        }
    }
}

#[test]
fn copied_state_keeps_links_and_leaves_the_layer_below_alone() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path(), Snapshotter::Native);
    let writer = snapshots.writer(&ResultId::scratch()).unwrap();
    let root = writer.root().unwrap();
    put(&root, "a");
    root.hardlink(Path::new("a"), Path::new("b")).unwrap();
    drop(root);
    let below = writer.commit("below").unwrap();
    let writer = snapshots.writer(&below).unwrap();
    let root = writer.root().unwrap();
    let node = root.resolve(Path::new("a"), Last::NoFollow).unwrap();
    let mut file = node.open_write().unwrap();
    file.write_all(b"B").unwrap();
    assert_eq!(root.read_small(Path::new("b"), 9).unwrap(), b"B");
    drop((root, file, writer));
    let view = snapshots.view(&below).unwrap().root().unwrap();
    assert_eq!(view.read_small(Path::new("b"), 9).unwrap(), b"a");
}

#[test]
fn directory_that_loses_an_unchanged_copy_keeps_its_times() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path(), Snapshotter::Overlayfs);
    let writer = snapshots.writer(&ResultId::scratch()).unwrap();
    let root = writer.root().unwrap();
    root.mkdir(Path::new("d"), 0o755).unwrap();
    put(&root, "d/f");
    let at = |root: &Root, path: &str| root.resolve(Path::new(path), Last::NoFollow).unwrap();
    at(&root, "d").set_times(PAST, PAST).unwrap();
    drop(root);
    let below = writer.commit("below").unwrap();
    let writer = snapshots.writer(&below).unwrap();
    let root = writer.root().unwrap();
    // Copies the file up, and changes nothing about it.
    at(&root, "d/f").set_mode(0o644).unwrap();
    at(&root, "d").set_mode(0o711).unwrap();
    drop(root);
    let above = writer.commit("above").unwrap();
    let layers = snapshots.meta().result(&above).unwrap().layers;
    let layer = Root::open(&snapshots.layer_dir(&layers[1])).unwrap();
    let directory = layer.metadata(Path::new("d"), Last::NoFollow).unwrap();
    assert_eq!(directory.mtime, PAST);
    assert!(layer.metadata(Path::new("d/f"), Last::NoFollow).is_err());
}

#[test]
fn what_works_here_is_found_out_by_trying() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Snapshotter::choose(dir.path()), Snapshotter::Overlayfs);
    // The kernel has no overlays over files of its own.
    let error = Snapshotter::Overlayfs.try_in(Path::new("/proc/self"));
    assert!(error.is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(Snapshotter::named("native"), Some(Snapshotter::Native));
    assert_eq!(Snapshotter::named("stargz"), None);
}
