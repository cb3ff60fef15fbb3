//! A process that keeps blobs, states and records is killed at random moments; whatever it had
//! acknowledged is there afterwards, and nothing else is left.
//!
//! `COOPER_CRASH_ROUNDS` sets how many times (default 40). The program runs itself as the
//! process to be killed, so it has no test harness.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use cooper_core::{
    model::ResultId,
    ports::{CacheStore, KeyQuery},
};
use cooper_proto::Digest;
use cooper_worker::{
    cachestore::PersistentCache,
    content::ContentStore,
    layer::{Layers, Wanted},
    limits::Limits,
    meta::Meta,
    snapshot::{Durability, Snapshots},
    state::StateDir,
};
use rand::Rng;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [mode, state, seed, durability] if mode == "child" => {
            let durability = match durability.as_str() {
                "power" => Durability::PowerLoss,
                _ => Durability::ProcessDeath,
            };
            work(Path::new(state), seed.parse().unwrap_or(0), durability)
        }
        // Somebody asked for another test by its name.
        [filter, ..] if !filter.starts_with('-') && !"crash".contains(filter.as_str()) => {
            ExitCode::SUCCESS
        }
        _ => {
            let rounds = rounds();
            crash_often(rounds);
            let mut out = std::io::stdout().lock();
            writeln!(out, "killed {rounds} times; nothing acknowledged was lost").unwrap();
            ExitCode::SUCCESS
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own setting, read at its one entry"
)]
fn rounds() -> u32 {
    std::env::var("COOPER_CRASH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(40)
}

struct Store {
    content: ContentStore,
    snapshots: Snapshots,
    layers: Layers,
    meta: Meta,
}

impl Store {
    fn open(path: &Path, durability: Durability) -> Self {
        let limits = Limits::default();
        let state = StateDir::open(path).unwrap();
        let meta = Meta::open(&state.meta()).unwrap();
        let content = ContentStore::open(state.root(), &limits).unwrap();
        let snapshots = Snapshots::open(&state, meta.clone(), &limits, durability).unwrap();
        let layers = Layers::new(content.clone(), snapshots.clone(), limits);
        Self {
            content,
            snapshots,
            layers,
            meta,
        }
    }
}

/// Works without end, and says what is done once it is acknowledged.
fn work(path: &Path, seed: u64, durability: Durability) -> ! {
    let store = Store::open(path, durability);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| keep_blobs(&store, seed));
        scope.spawn(|| keep_states(&store, seed));
        runtime.block_on(keep_records(&store, seed))
    })
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // One write a line, so that a kill cuts between lines or inside the last.
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn keep_blobs(store: &Store, seed: u64) {
    for number in 0_u64.. {
        let length = rand::rng().random_range(1..200_000);
        let mut bytes = format!("{seed} {number} ").into_bytes();
        bytes.resize(length, (number % 251) as u8);
        let blob = store.content.put(&bytes).unwrap();
        say(&format!("blob {}", blob.digest()));
    }
}

fn keep_states(store: &Store, seed: u64) {
    let mut parent = ResultId::scratch();
    for number in 0_u64.. {
        let writer = store.snapshots.writer(&parent).unwrap();
        let root = writer.root().unwrap();
        let name = format!("f{number}");
        root.mkdir_all(Path::new("d/e"), 0o755, None).unwrap();
        let mut file = root.create_file(Path::new(&name), 0o644).unwrap();
        file.write_all(format!("{seed}").as_bytes()).unwrap();
        if number % 3 == 2 {
            let gone = format!("f{}", number - 1);
            root.remove_file(Path::new(&gone)).unwrap();
        }
        drop((file, root));
        let result = writer.commit(&name).unwrap();
        say(&format!("state {result} {name} {seed}"));
        if number % 4 == 3 {
            let archives = store.layers.archives(&result, Wanted::default()).unwrap();
            let top = archives.last().unwrap();
            say(&format!("layer {} {}", top.blob.digest, top.diff_id));
        }
        parent = if number % 12 == 11 {
            ResultId::scratch()
        } else {
            result
        };
    }
}

async fn keep_records(store: &Store, seed: u64) -> ! {
    let cache = PersistentCache::new(store.meta.clone());
    let mut number = 0_u64;
    loop {
        let op = Digest::sha256_of(format!("{seed} {number}"));
        let query = query(&op);
        let result = ResultId(format!("r{number}"));
        cache.save(&query, Some(&result)).await.unwrap();
        say(&format!("record {op} {result}"));
        number += 1;
    }
}

fn query(op: &Digest) -> KeyQuery {
    KeyQuery {
        op: op.clone(),
        output: 0,
        inputs: Vec::new(),
    }
}

fn crash_often(rounds: u32) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut acknowledged: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for round in 0..rounds {
        let lines = run_and_kill(&path, round);
        check(&path, &lines, &mut acknowledged);
        all.extend(lines);
    }
    // Later rounds took nothing from earlier ones.
    check(&path, &all, &mut BTreeMap::new());
    for kind in ["blob", "state", "layer", "record"] {
        let count = acknowledged.get(kind).copied().unwrap_or(0);
        assert!(
            rounds < 10 || count > 0,
            "nothing of kind {kind} was acknowledged"
        );
    }
}

/// What the process had acknowledged when it was killed.
fn run_and_kill(path: &Path, round: u32) -> Vec<String> {
    let durability = if round.is_multiple_of(8) {
        "power"
    } else {
        "process"
    };
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program)
        .arg("child")
        .arg(path)
        .arg(round.to_string())
        .arg(durability)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let kill_at = Duration::from_micros(rand::rng().random_range(0..300_000));
    // Some are killed while they open the state, the others while they work.
    let killer = std::thread::spawn(move || {
        std::thread::sleep(kill_at);
        child.kill().unwrap();
        child.wait().unwrap()
    });
    let mut lines = Vec::new();
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        if line.ends_with('\n') {
            lines.push(line.trim_end().to_owned());
        }
        line.clear();
    }
    let status = killer.join().unwrap();
    assert_eq!(status.code(), None, "it ended before it was killed");
    lines
}

fn check(path: &Path, lines: &[String], acknowledged: &mut BTreeMap<&'static str, usize>) {
    let begin = Instant::now();
    let store = Store::open(path, Durability::ProcessDeath);
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "opening took {:?}",
        begin.elapsed()
    );
    for line in lines {
        let kind = check_line(&store, line);
        *acknowledged.entry(kind).or_default() += 1;
    }
    check_nothing_is_left(path, &store);
}

fn check_line(store: &Store, line: &str) -> &'static str {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["blob", digest] => {
            store.content.verify(&digest.parse().unwrap()).unwrap();
            "blob"
        }
        ["state", result, name, content] => {
            let view = store.snapshots.view(&ResultId((*result).to_owned()));
            let root = view.unwrap().root().unwrap();
            let found = root.read_small(Path::new(name), 100).unwrap();
            assert_eq!(found, content.as_bytes(), "{line}");
            "state"
        }
        ["layer", digest, diff_id] => {
            store.content.verify(&digest.parse().unwrap()).unwrap();
            let diff_id = diff_id.parse().unwrap();
            let blob = store.meta.layer_blob(&diff_id, "gzip").unwrap().unwrap();
            assert_eq!(blob.digest.as_str(), *digest);
            assert!(store.meta.layer_by_diff_id(&diff_id).unwrap().is_some());
            "layer"
        }
        ["record", op, result] => {
            let cache = PersistentCache::new(store.meta.clone());
            let query = query(&op.parse().unwrap());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                let found = cache.lookup(&query).await.unwrap();
                let kept = cache.results(&found.keys[0]).await.unwrap();
                assert!(kept.iter().any(|it| it.result.0 == *result), "{line}");
            });
            "record"
        }
        _ => panic!("the process said {line:?}"),
    }
}

fn check_nothing_is_left(path: &Path, store: &Store) {
    let names = |folder: &str| -> Vec<String> {
        fs::read_dir(path.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    for folder in ["work", "ingest", "quarantine"] {
        assert_eq!(names(folder), [""; 0], "{folder}");
    }
    for (digest, _) in store.content.list().unwrap() {
        store.content.verify(&digest).unwrap();
    }
    let layers = store.meta.layers().unwrap();
    let mut recorded: Vec<_> = layers.iter().map(|it| it.id.to_string()).collect();
    let mut present = names("layers");
    recorded.sort();
    present.sort();
    assert_eq!(recorded, present);
    for result in store.meta.results().unwrap() {
        store.snapshots.view(&result.id).unwrap();
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(path.to_str().unwrap()), "{mounts}");
}
