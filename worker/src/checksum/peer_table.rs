//! Digests of a tree with everything in it, against those of BuildKit's `cache/contenthash`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

use cooper_core::model::ContentSelector;
use serde::Deserialize;

use super::{Checksums, Origin, Sums};
use crate::confine::{Kind, Last, Owner, Root};

#[derive(Deserialize)]
struct Table {
    tree: Vec<Entry>,
    queries: Vec<Query>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Entry {
    path: String,
    kind: String,
    mode: u32,
    uid: u32,
    gid: u32,
    data: String,
    link: String,
    xattr: BTreeMap<String, String>,
    dev: u64,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Query {
    path: String,
    wildcard: bool,
    follow: bool,
    include: Vec<String>,
    exclude: Vec<String>,
    required: Vec<String>,
    digest: String,
    /// What a client's tree has instead; `error` where it fails.
    stream: String,
    error: bool,
}

fn build(root: &Root, entry: &Entry) {
    let path = Path::new(&entry.path);
    let special = |kind| root.mknod(path, kind, 0o600, entry.dev);
    let made = match entry.kind.as_str() {
        "dir" if entry.path == "." => Ok(()),
        "dir" => root.mkdir(path, 0o755),
        "file" => root.create_file(path, 0o644).map(|mut file| {
            file.write_all(entry.data.as_bytes())
                .expect("there is room");
        }),
        "symlink" => root.symlink(Path::new(&entry.link), path),
        "hard" => root.hardlink(Path::new(&entry.link), path),
        "char" => special(Kind::CharDevice),
        "block" => special(Kind::BlockDevice),
        "fifo" => special(Kind::Fifo),
        "socket" => special(Kind::Socket),
        other => panic!("kind {other}"),
    };
    made.expect("the tree can be made");
    if entry.kind == "hard" {
        return;
    }
    let node = root.resolve(path, Last::NoFollow).expect("there");
    let (uid, gid) = (entry.uid, entry.gid);
    node.set_owner(Owner { uid, gid }).expect("changed");
    if entry.kind != "symlink" {
        node.set_mode(entry.mode).expect("changed");
    }
    for (name, value) in &entry.xattr {
        node.set_xattr(OsStr::new(name), value.as_bytes())
            .expect("set");
    }
}

impl Query {
    fn selector(&self) -> ContentSelector {
        ContentSelector {
            path: self.path.clone(),
            wildcard: self.wildcard,
            follow_links: self.follow,
            include_patterns: self.include.clone(),
            exclude_patterns: self.exclude.clone(),
            required_paths: self.required.clone(),
        }
    }

    /// The expected digest without its algorithm, or nothing for an error.
    fn expected(&self, origin: Origin) -> Option<&str> {
        match (origin, self.stream.as_str()) {
            (Origin::Client, "error") => None,
            (Origin::Client, digest) if !digest.is_empty() => Some(digest),
            _ if self.error => None,
            _ => Some(&self.digest),
        }
    }
}

#[test]
fn digests_are_the_peers_for_every_way_to_select() {
    let table: Table = serde_json::from_str(include_str!("data/peer.json")).expect("JSON");
    let directory = tempfile::tempdir().expect("a directory");
    let root = Root::open(directory.path()).expect("it exists");
    for entry in &table.tree {
        build(&root, entry);
    }
    let mut wrong = Vec::new();
    for origin in [Origin::Disk, Origin::Client] {
        // What earlier questions left behind must not change later answers.
        let mut shared = Sums::default();
        for query in &table.queries {
            for sums in [&mut Sums::default(), &mut shared] {
                let found = Checksums::new(&root, origin, sums).selector(&query.selector());
                let text = found.as_ref().ok().map(|digest| digest.hex().to_owned());
                if text.as_deref() != query.expected(origin) {
                    wrong.push(format!("{origin:?} {query:?}: {found:?}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
