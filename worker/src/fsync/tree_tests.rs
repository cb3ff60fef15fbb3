//! What a filtered walk yields, against what tonistiigi/fsutil yielded for the same tree and filters.

use std::path::Path;

use cooper_core::ports::DirFilter;
use serde::Deserialize;

use super::{SyncError, Tree};
use crate::confine::{Kind, Root};

#[derive(Deserialize)]
struct Table {
    /// Path, kind, and content or target.
    tree: Vec<(String, String, String)>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    follow: Vec<String>,
    /// `path|mode in hex|size|linkname`
    out: Vec<String>,
    #[serde(default)]
    error: bool,
}

pub(super) fn open(path: &Path) -> Root {
    Root::open(path).expect("the directory exists")
}

fn build(root: &Root, entries: &[(String, String, String)]) {
    for (path, kind, text) in entries {
        let path = Path::new(path);
        match kind.as_str() {
            "dir" => root.mkdir(path, 0o755),
            "file" => root.create_file(path, 0o644).map(|mut file| {
                std::io::Write::write_all(&mut file, text.as_bytes()).expect("there is room");
            }),
            "symlink" => root.symlink(Path::new(text), path),
            "hard" => root.hardlink(Path::new(text), path),
            "fifo" => root.mknod(path, Kind::Fifo, 0o644, 0),
            other => panic!("kind {other}"),
        }
        .expect("the tree can be made");
    }
}

pub(super) fn listing(tree: &Tree) -> Result<Vec<String>, SyncError> {
    let mut lines = Vec::new();
    tree.walk::<SyncError>(|stat, _| {
        lines.push(format!(
            "{}|{:x}|{}|{}",
            stat.path, stat.mode, stat.size, stat.linkname
        ));
        Ok(())
    })?;
    Ok(lines)
}

#[test]
fn filters_and_followed_links_select_what_the_peer_selects() {
    let table: Table = serde_json::from_str(include_str!("data/peer_walk.json")).expect("JSON");
    let directory = tempfile::tempdir().expect("a directory");
    build(&open(directory.path()), &table.tree);
    let mut wrong = Vec::new();
    for row in table.rows {
        let filter = DirFilter {
            include_patterns: row.include,
            exclude_patterns: row.exclude,
            follow_paths: row.follow,
        };
        let found = Tree::new(open(directory.path()), &filter).and_then(|tree| listing(&tree));
        match found {
            Ok(lines) if !row.error && lines == row.out => {}
            Err(_) if row.error => {}
            other => wrong.push(format!("{filter:?}\n  {other:?}\n  {:?}", row.out)),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_context_belongs_to_root_whoever_owns_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = open(directory.path());
    root.mkdir_all(
        Path::new("d"),
        0o755,
        Some(crate::confine::Owner { uid: 12, gid: 13 }),
    )
    .expect("made");
    let tree = Tree::new(root, &DirFilter::default()).expect("no patterns");
    let mut owners = Vec::new();
    tree.walk::<SyncError>(|stat, _| {
        owners.push((stat.uid, stat.gid));
        Ok(())
    })
    .expect("readable");
    assert_eq!(owners, [(12, 13)]);
    let tree = tree.owned_by_root();
    tree.walk::<SyncError>(|stat, _| {
        assert_eq!((stat.uid, stat.gid), (0, 0));
        Ok(())
    })
    .expect("readable");
}
