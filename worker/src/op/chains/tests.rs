use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use cooper_core::model::ResultId;
use cooper_proto::pb;

use super::{ChainError, diff, merge};
use crate::confine::{Kind, Last, Root, Visit};
use crate::fileop::Stop;
use crate::limits::Limits;
use crate::meta::Meta;
use crate::snapshot::{Durability, Snapshots};
use crate::state::StateDir;

struct Fixture {
    dir: tempfile::TempDir,
    snapshots: Snapshots,
}

/// Path to what is there: its kind, mode, and content or target.
type Tree = BTreeMap<String, (Kind, u32, String)>;

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let meta = Meta::open(&state.meta()).unwrap();
        let limits = Limits::default();
        let snapshots = Snapshots::open(&state, meta, &limits, Durability::ProcessDeath).unwrap();
        Self { dir, snapshots }
    }

    /// A state that was made by doing something to another.
    fn step(&self, parent: &ResultId, change: impl FnOnce(&Root)) -> ResultId {
        let writer = self.snapshots.writer(parent).unwrap();
        change(&writer.root().unwrap());
        writer.commit("step").unwrap()
    }

    fn file(&self, parent: &ResultId, path: &str, content: &str) -> ResultId {
        self.step(parent, |root| put(root, path, content))
    }

    fn merge(&self, states: &[&ResultId]) -> ResultId {
        let inputs: Vec<_> = states.iter().map(|it| (*it).clone()).collect();
        let op = pb::MergeOp {
            inputs: (0..)
                .zip(&inputs)
                .map(|(input, _)| pb::MergeInput { input })
                .collect(),
        };
        merge(&self.snapshots, &op, &inputs, "merge", &Stop::default()).unwrap()
    }

    fn diff(&self, lower: &ResultId, upper: &ResultId) -> ResultId {
        let op = pb::DiffOp {
            lower: Some(pb::LowerDiffInput { input: 0 }),
            upper: Some(pb::UpperDiffInput { input: 1 }),
        };
        let inputs = [lower.clone(), upper.clone()];
        diff(&self.snapshots, &op, &inputs, "diff", &Stop::default()).unwrap()
    }

    fn tree(&self, state: &ResultId) -> Tree {
        let mut tree = Tree::new();
        if state.is_scratch() {
            return tree;
        }
        let root = self.snapshots.view(state).unwrap().root().unwrap();
        root.walk(Path::new("/"), |path, node, metadata| {
            let content = match metadata.kind {
                Kind::File => String::from_utf8(root.read_small(path, 1000)?).unwrap(),
                Kind::Symlink => node.read_link()?.to_string_lossy().into_owned(),
                _ => String::new(),
            };
            let entry = (metadata.kind, metadata.mode, content);
            tree.insert(path.to_string_lossy().into_owned(), entry);
            Ok::<_, crate::confine::ConfineError>(Visit::Enter)
        })
        .unwrap();
        tree
    }

    fn names(&self, state: &ResultId) -> Vec<String> {
        self.tree(state).into_keys().collect()
    }

    fn layers(&self, state: &ResultId) -> usize {
        self.snapshots.meta().result(state).unwrap().layers.len()
    }
}

fn put(root: &Root, path: &str, content: &str) {
    let path = Path::new(path);
    if let Some(parent) = path.parent() {
        root.mkdir_all(parent, 0o755, None).unwrap();
    }
    let _ = root.remove_all(path);
    let mut file = root.create_file(path, 0o644).unwrap();
    file.write_all(content.as_bytes()).unwrap();
}

fn scratch() -> ResultId {
    ResultId::scratch()
}

#[test]
fn merging_puts_later_states_on_top_as_wholes() {
    let fixture = Fixture::new();
    let base = fixture.file(&scratch(), "base", "0");
    let a = fixture.step(&base, |root| {
        put(root, "a", "1");
        root.remove_file(Path::new("base")).unwrap();
    });
    let b = fixture.file(&base, "b", "2");
    let both = fixture.merge(&[&a, &b]);
    assert_eq!(fixture.names(&both), ["a", "b", "base"]);
    let c = fixture.file(&scratch(), "base", "3");
    let merged = fixture.merge(&[&a, &b, &c]);
    assert_eq!(fixture.tree(&merged)["base"].2, "3");
    assert!(fixture.merge(&[&scratch(), &scratch()]).is_scratch());
    assert_eq!(fixture.merge(&[&scratch(), &a]), a);
}

#[test]
fn the_difference_of_a_state_and_what_it_was_made_on_is_its_own_layers() {
    let fixture = Fixture::new();
    let base = fixture.file(&scratch(), "base", "0");
    let a = fixture.file(&base, "a", "1");
    let only_a = fixture.diff(&base, &a);
    assert_eq!(fixture.names(&only_a), ["a"]);
    let layers = |state| fixture.snapshots.meta().result(state).unwrap().layers;
    assert_eq!(layers(&only_a), layers(&a)[1..]);
    assert!(fixture.diff(&a, &a).is_scratch());
    assert_eq!(fixture.diff(&scratch(), &a), a);
}

// Overlayfs marks every new directory as opaque.
#[test]
fn a_new_directory_hides_nothing_of_a_state_that_it_is_merged_onto() {
    let fixture = Fixture::new();
    let base = fixture.file(&scratch(), "base", "0");
    let mine = fixture.file(&base, "app/mine", "mine");
    let theirs = fixture.file(&scratch(), "app/theirs", "theirs");
    let change = fixture.diff(&base, &mine);
    let merged = fixture.merge(&[&theirs, &change]);
    assert_eq!(fixture.names(&merged), ["app", "app/mine", "app/theirs"]);
}

#[test]
fn a_replaced_directory_deletes_elsewhere_only_what_it_replaced() {
    let fixture = Fixture::new();
    let base = fixture.step(&scratch(), |root| {
        put(root, "d/old", "1");
        put(root, "d/sub/old", "1");
        put(root, "d/link/old", "1");
    });
    let upper = fixture.step(&base, |root| {
        root.remove_all(Path::new("d")).unwrap();
        put(root, "d/new", "2");
        put(root, "d/sub/new", "2");
        root.symlink(Path::new("sub"), Path::new("d/link")).unwrap();
    });
    let other = fixture.step(&scratch(), |root| {
        for name in ["d/old", "d/other", "d/sub/old", "d/sub/other"] {
            put(root, name, "3");
        }
    });
    for change in [fixture.diff(&base, &upper), upper.clone()] {
        let merged = fixture.merge(&[&other, &change]);
        let names = [
            "d",
            "d/link",
            "d/new",
            "d/other",
            "d/sub",
            "d/sub/new",
            "d/sub/other",
        ];
        assert_eq!(fixture.names(&merged), names);
    }
    // In its place it is the layer that it was.
    assert_eq!(fixture.merge(&[&upper, &scratch()]), upper);
    assert_eq!(
        fixture.tree(&fixture.merge(&[&base, &fixture.diff(&base, &upper)])),
        fixture.tree(&upper)
    );
}

#[test]
fn the_difference_to_nothing_deletes_what_there_was_and_nothing_else() {
    let fixture = Fixture::new();
    let a = fixture.step(&scratch(), |root| {
        put(root, "x", "1");
        put(root, "d/y", "1");
    });
    let b = fixture.file(&scratch(), "z", "2");
    let gone = fixture.diff(&a, &scratch());
    assert_eq!(fixture.names(&fixture.merge(&[&a, &b, &gone])), ["z"]);
}

#[test]
fn what_a_difference_deletes_is_not_there_when_it_is_looked_at_alone() {
    let fixture = Fixture::new();
    let a = fixture.step(&scratch(), |root| {
        put(root, "d/gone", "1");
        put(root, "d/kept", "1");
    });
    let b = fixture.step(&a, |root| {
        root.remove_file(Path::new("d/gone")).unwrap();
        put(root, "new", "2");
    });
    assert_eq!(fixture.names(&fixture.diff(&a, &b)), ["d", "new"]);
    let c = fixture.file(&scratch(), "other", "3");
    assert_eq!(fixture.names(&fixture.diff(&a, &c)), ["other"]);
}

#[test]
fn a_compared_state_shares_its_files_with_the_layers_that_it_comes_from() {
    use std::os::unix::fs::MetadataExt;
    let fixture = Fixture::new();
    let a = fixture.file(&scratch(), "same", "1");
    let b = fixture.step(&scratch(), |root| {
        put(root, "f", "content");
        root.hardlink(Path::new("f"), Path::new("g")).unwrap();
        root.mknod(Path::new("pipe"), Kind::Fifo, 0o644, 0).unwrap();
    });
    let difference = fixture.diff(&a, &b);
    let inode = |state: &ResultId, name: &str| {
        let layer = fixture.snapshots.meta().result(state).unwrap().layers[0].clone();
        let path = fixture.snapshots.layer_dir(&layer).join(name);
        std::fs::symlink_metadata(path).unwrap().ino()
    };
    assert_eq!(inode(&difference, "f"), inode(&b, "f"));
    assert_eq!(inode(&difference, "f"), inode(&difference, "g"));
    assert_ne!(inode(&difference, "pipe"), inode(&b, "pipe"));
    assert_eq!(fixture.layers(&difference), 1);
    let above = fixture.step(&difference, |root| put(root, "f", "other"));
    assert_eq!(fixture.tree(&above)["f"].2, "other");
    assert_eq!(fixture.tree(&b)["f"].2, "content");
}

#[test]
fn a_link_in_the_lower_state_is_not_followed() {
    let fixture = Fixture::new();
    let a = fixture.step(&scratch(), |root| {
        put(root, "real/f", "1");
        root.symlink(Path::new("real"), Path::new("d")).unwrap();
    });
    let b = fixture.step(&scratch(), |root| {
        put(root, "real/f", "1");
        put(root, "d/f", "1");
    });
    let merged = fixture.merge(&[&a, &fixture.diff(&a, &b)]);
    assert_eq!(fixture.tree(&merged), fixture.tree(&b));
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Does something to one of few paths, so that things are often in each other's way.
fn disturb(root: &Root, numbers: &mut Numbers) {
    let mut path = format!("{}", numbers.below(3));
    for _ in 0..numbers.below(3) {
        path = format!("{path}/{}", numbers.below(3));
    }
    let path = Path::new(&path);
    // What is refused (a link or a file on the way) does not happen.
    let _ = match numbers.below(6) {
        0 | 1 => root.remove_all(path).and_then(|()| root.mkdir(path, 0o755)),
        2 => root.mkdir_all(path, 0o755, None).map(drop),
        3 => root.symlink(Path::new("0"), path),
        _ => root.create_file(path, 0o644).map(|mut file| {
            write!(file, "{}", numbers.below(3)).unwrap();
        }),
    };
    if numbers.below(4) == 0
        && let Ok(node) = root.resolve(path, Last::NoFollow)
    {
        let _ = node.set_mode(0o700);
    }
}

#[test]
fn a_difference_on_top_of_its_lower_state_is_its_upper_state() {
    let fixture = Fixture::new();
    let mut numbers = Numbers(7);
    let mut changed = |parent: &ResultId| {
        fixture.step(parent, |root| {
            (0..12).for_each(|_| disturb(root, &mut numbers));
        })
    };
    for _ in 0..25 {
        let (a, b) = (changed(&scratch()), changed(&scratch()));
        let between = changed(&a);
        let c = changed(&between);
        for (lower, upper) in [(&a, &b), (&a, &c), (&c, &a), (&c, &b)] {
            let merged = fixture.merge(&[lower, &fixture.diff(lower, upper)]);
            assert_eq!(fixture.tree(&merged), fixture.tree(upper));
        }
    }
}

#[test]
fn a_stopped_comparison_leaves_nothing() {
    let fixture = Fixture::new();
    let (a, b) = (
        fixture.file(&scratch(), "a", "1"),
        fixture.file(&scratch(), "b", "2"),
    );
    let stop = Stop::default();
    stop.ask();
    let op = pb::DiffOp {
        lower: Some(pb::LowerDiffInput { input: 0 }),
        upper: Some(pb::UpperDiffInput { input: 1 }),
    };
    let stopped = diff(&fixture.snapshots, &op, &[a, b], "", &stop);
    assert!(matches!(stopped, Err(ChainError::Cancelled)));
    assert_eq!(
        std::fs::read_dir(fixture.dir.path().join("work"))
            .unwrap()
            .count(),
        0
    );
}

// T-A13
#[test]
fn an_input_that_is_not_there_is_an_error() {
    let fixture = Fixture::new();
    let a = [fixture.file(&scratch(), "a", "1")];
    for input in [-2, 1, 2, i64::MIN, i64::MAX] {
        let op = pb::MergeOp {
            inputs: vec![pb::MergeInput { input }],
        };
        let merged = merge(&fixture.snapshots, &op, &a, "", &Stop::default());
        assert!(matches!(merged, Err(ChainError::NoInput { .. })), "{input}");
        for (lower, upper) in [(0, input), (input, 0)] {
            let op = pb::DiffOp {
                lower: Some(pb::LowerDiffInput { input: lower }),
                upper: Some(pb::UpperDiffInput { input: upper }),
            };
            let cut = diff(&fixture.snapshots, &op, &a, "", &Stop::default());
            assert!(matches!(cut, Err(ChainError::NoInput { .. })), "{input}");
        }
    }
    let nothing = pb::DiffOp::default();
    assert!(
        diff(&fixture.snapshots, &nothing, &a, "", &Stop::default())
            .unwrap()
            .is_scratch()
    );
}
