//! Copies, against what BuildKit's file backend made of the same trees.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use cooper_proto::pb;
use serde::Deserialize;

use super::{FileOpError, Stop, copy};
use crate::confine::{Kind, Last, Metadata, Node, Owner, Root, Time};
use crate::limits::Limits;
use crate::userns::Identity;

#[derive(Deserialize)]
struct Table {
    source: Vec<Entry>,
    target: Vec<Entry>,
    cases: Vec<Case>,
}

/// Path, kind, mode, owner, content or link, time.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    p: String,
    k: String,
    m: u32,
    u: u32,
    d: String,
    t: i64,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default, rename_all = "camelCase")]
struct Case {
    src: String,
    dest: String,
    mode: Option<i32>,
    mode_str: String,
    follow: bool,
    contents: bool,
    create: bool,
    wildcard: bool,
    empty_wildcard: bool,
    replace: bool,
    time: Option<i64>,
    include: Vec<String>,
    exclude: Vec<String>,
    owner: Option<[u32; 2]>,
    /// Lines of the listing that are new or other (`+`), and paths that are gone (`-`).
    changed: Vec<String>,
    error: String,
}

impl Case {
    fn action(&self) -> pb::FileActionCopy {
        pb::FileActionCopy {
            src: self.src.clone(),
            dest: self.dest.clone(),
            mode: self.mode.unwrap_or(-1),
            mode_str: self.mode_str.clone(),
            follow_symlink: self.follow,
            dir_copy_contents: self.contents,
            create_dest_path: self.create,
            allow_wildcard: self.wildcard,
            allow_empty_wildcard: self.empty_wildcard,
            always_replace_existing_dest_paths: self.replace,
            timestamp: self.time.unwrap_or(-1),
            include_patterns: self.include.clone(),
            exclude_patterns: self.exclude.clone(),
            ..pb::FileActionCopy::default()
        }
    }
}

const EPOCH: i64 = 1_000_000_000;

/// One makes no devices: pipes stand in their places then.
fn is_plain_user() -> bool {
    Identity::of_this_process().is_mapped()
}

/// A line of a listing, with a pipe in the place of a device.
fn with_a_pipe(line: &str) -> String {
    let mut fields: Vec<&str> = line.split('|').collect();
    let pipe = fields.get(1).and_then(|mode| mode.strip_prefix("20"));
    let pipe = pipe
        .filter(|mode| mode.len() == 3)
        .map(|mode| format!("10{mode}"));
    if let Some(pipe) = &pipe {
        fields[1] = pipe;
    }
    fields.join("|")
}

fn build(root: &Root, entries: &[Entry]) {
    for entry in entries {
        let path = Path::new(&entry.p);
        let made = match entry.k.as_str() {
            "dir" => root.mkdir(path, 0o755),
            "file" => root.create_file(path, 0o644).map(|mut file| {
                file.write_all(entry.d.as_bytes()).expect("there is room");
            }),
            "symlink" => root.symlink(Path::new(&entry.d), path),
            "hard" => root.hardlink(Path::new(&entry.d), path),
            "fifo" => root.mknod(path, Kind::Fifo, 0o600, 0),
            "socket" => root.mknod(path, Kind::Socket, 0o600, 0),
            "char" if is_plain_user() => root.mknod(path, Kind::Fifo, 0o600, 0),
            "char" => root.mknod(path, Kind::CharDevice, 0o600, 0x103),
            other => panic!("kind {other}"),
        };
        made.expect("the tree can be made");
        if entry.k == "hard" {
            continue;
        }
        let node = root.resolve(path, Last::NoFollow).expect("there");
        let owner = Owner {
            uid: entry.u,
            gid: entry.u,
        };
        node.set_owner(owner).expect("changed");
        if entry.k != "symlink" {
            node.set_mode(entry.m).expect("changed");
        }
    }
    for entry in entries.iter().rev().filter(|entry| entry.k != "hard") {
        set_time(root, &entry.p, entry.t);
    }
    set_time(root, ".", 50);
}

fn set_time(root: &Root, path: &str, seconds: i64) {
    let time = Time {
        seconds: EPOCH + seconds,
        nanos: 0,
    };
    let node = root
        .resolve(Path::new(path), Last::NoFollow)
        .expect("there");
    node.set_times(time, time).expect("set");
}

/// Path, then mode, owner, time and content.
fn listing(root: &Root) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let mut lines = BTreeMap::new();
    let top = root.resolve(Path::new("."), Last::NoFollow).expect("there");
    let metadata = top.metadata().expect("readable");
    lines.insert(String::from("."), line(&top, &metadata, String::new()));
    root.walk::<FileOpError>(Path::new("."), |path, node, metadata| {
        let path = path.to_str().expect("UTF-8").to_owned();
        let content = match metadata.kind {
            Kind::File if names.contains_key(&metadata.inode) => {
                format!("={}", names[&metadata.inode])
            }
            Kind::File => {
                if metadata.links > 1 {
                    names.insert(metadata.inode, path.clone());
                }
                std::io::read_to_string(node.open_read()?).expect("text")
            }
            Kind::Symlink => node.read_link()?.to_str().expect("UTF-8").to_owned(),
            _ => String::new(),
        };
        lines.insert(path, line(node, metadata, content));
        Ok(crate::confine::Visit::Enter)
    })
    .expect("readable");
    lines
}

fn line(_: &Node, metadata: &Metadata, content: String) -> String {
    let kind = match metadata.kind {
        Kind::File => 0o100_000,
        Kind::Directory => 0o040_000,
        Kind::Symlink => 0o120_000,
        Kind::Fifo => 0o010_000,
        Kind::Socket => 0o140_000,
        Kind::CharDevice => 0o020_000,
        Kind::BlockDevice => 0o060_000,
    };
    let time = match metadata.mtime.seconds - EPOCH {
        seconds if seconds > 500_000_000 => String::from("now"),
        seconds => seconds.to_string(),
    };
    let Owner { uid, gid } = metadata.owner;
    format!("{:o}|{uid}:{gid}|{time}|{content}", kind | metadata.mode)
}

/// What the case did, in the table's form; `Err` with the error's words.
fn perform(source: &Root, target: &Root, case: &Case) -> Result<Vec<String>, String> {
    let before = listing(target);
    let owner = case.owner.map(|[uid, gid]| Owner { uid, gid });
    let (limits, stop) = (Limits::default(), Stop::default());
    copy(source, target, &case.action(), owner, &limits, &stop)
        .map_err(|error| error.to_string())?;
    let after = listing(target);
    let changed = after
        .iter()
        .filter(|(path, line)| before.get(*path) != Some(line))
        .map(|(path, line)| format!("+{path}|{line}"));
    let gone = before
        .iter()
        .filter(|(path, line)| after.get(*path) != Some(line))
        .map(|(path, _)| format!("-{path}"));
    Ok(changed.chain(gone).collect())
}

/// Where we leave the time of a directory as its source has it, though the peer's depends on when it ran.
fn is_better_time(ours: &str, peers: &str) -> bool {
    let fields = |line: &str| line.split('|').map(ToOwned::to_owned).collect::<Vec<_>>();
    let (mut ours, peers) = (fields(ours), fields(peers));
    if peers.len() < 4 || ours.len() != peers.len() || peers[3] != "now" {
        return false;
    }
    ours[3] = String::from("now");
    ours == peers
}

fn agrees(ours: &Result<Vec<String>, String>, case: &Case) -> bool {
    match ours {
        Err(error) => {
            // The peer shows where its mounts are, and names the failing call's path in parts of them.
            let essence = |text: &str| text.rsplit(": ").next().unwrap_or("").to_owned();
            let without_place = case.error.replace("DST", "").replace("SRC", "");
            // Below a file, the peer finds out one step later.
            let is_below_a_file = error.starts_with("cannot copy to non-directory: ")
                && without_place.ends_with(": not a directory");
            !case.error.is_empty()
                && (*error == without_place
                    || essence(error) == essence(&without_place)
                    || is_below_a_file)
        }
        Ok(lines) => {
            let mut peers = case.changed.clone();
            if is_plain_user() {
                peers = peers.iter().map(|line| with_a_pipe(line)).collect();
            }
            let mut lines = lines.clone();
            peers.sort();
            lines.sort();
            case.error.is_empty()
                && lines.len() == peers.len()
                && lines
                    .iter()
                    .zip(&peers)
                    .all(|(ours, peers)| ours == peers || is_better_time(ours, peers))
        }
    }
}

#[test]
fn copies_make_what_the_peer_makes() {
    let table: Table = serde_json::from_str(include_str!("data/peer_copy.json")).expect("JSON");
    assert!(table.cases.len() > 600);
    let directory = tempfile::tempdir().expect("a directory");
    let open = |name: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir(&path).expect("made");
        Root::open(&path).expect("opened")
    };
    let source = open("source");
    build(&source, &table.source);
    let mut wrong = Vec::new();
    for (number, case) in table.cases.iter().enumerate() {
        let target = open(&format!("target{number}"));
        build(&target, &table.target);
        let ours = perform(&source, &target, case);
        if !agrees(&ours, case) {
            wrong.push(format!("{case:?}\n  ours: {ours:?}"));
        }
        target.clear_dir(Path::new(".")).expect("cleared");
    }
    let shown = wrong
        .iter()
        .take(25)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(wrong.is_empty(), "{} wrong:\n{shown}", wrong.len());
}

/// Enough files that they are copied by several threads at a time, and in more than one batch.
#[test]
fn files_of_a_wide_directory_keep_their_links_and_replace_what_is_there() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    std::fs::create_dir_all(from.join("wide")).unwrap();
    std::fs::create_dir_all(to.join("wide")).unwrap();
    std::fs::write(from.join("first"), "linked").unwrap();
    let name = |number: u32| format!("wide/f{number:04}");
    for number in 0..1200 {
        let path = from.join(name(number));
        match number % 3 {
            0 => std::fs::hard_link(from.join("first"), &path).unwrap(),
            _ => std::fs::write(&path, number.to_string()).unwrap(),
        }
        if number % 5 == 0 {
            std::fs::write(to.join(name(number)), "was there").unwrap();
        }
    }
    let action = pb::FileActionCopy {
        src: String::from("/"),
        dest: String::from("/"),
        mode: -1,
        timestamp: -1,
        dir_copy_contents: true,
        ..pb::FileActionCopy::default()
    };
    let (source, target) = (Root::open(&from).unwrap(), Root::open(&to).unwrap());
    let limits = Limits::default();
    copy(&source, &target, &action, None, &limits, &Stop::default()).unwrap();
    let inode = |path: &Path| target.metadata(path, Last::NoFollow).unwrap().inode;
    let first = inode(Path::new("first"));
    for number in 0..1200 {
        let path = name(number);
        let content = std::fs::read_to_string(to.join(&path)).unwrap();
        let is_linked = inode(Path::new(&path)) == first;
        match number % 3 {
            0 => assert!(is_linked && content == "linked", "{path}: {content}"),
            _ => assert!(!is_linked && content == number.to_string(), "{path}"),
        }
    }
}

#[test]
fn the_first_of_several_failures_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    for number in 100..200 {
        std::fs::create_dir_all(&from).unwrap();
        std::fs::write(from.join(number.to_string()), "").unwrap();
        std::fs::create_dir_all(to.join(number.to_string())).unwrap();
    }
    let action = pb::FileActionCopy {
        src: String::from("/"),
        dest: String::from("/"),
        mode: -1,
        timestamp: -1,
        dir_copy_contents: true,
        ..pb::FileActionCopy::default()
    };
    let (source, target) = (Root::open(&from).unwrap(), Root::open(&to).unwrap());
    let limits = Limits::default();
    let stop = Stop::default();
    let error = copy(&source, &target, &action, None, &limits, &stop).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot replace to directory /100 with file"),
        "{error}"
    );
}
