//! Who may import whom, and what pure code may not name. Fails with the file and line of each breach.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The packages of ours that each package may depend on, outside its tests.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("engine/core", &["cooper-proto"]),
    ("frontend", &["cooper-core", "cooper-proto"]),
    ("engine", &["cooper-core", "cooper-proto"]),
    ("worker", &["cooper-core", "cooper-proto"]),
    (
        "cli",
        &[
            "cooper-core",
            "cooper-engine",
            "cooper-frontend",
            "cooper-proto",
            "cooper-worker",
        ],
    ),
];

/// Everything that the pure core may be built from: no runtime, no I/O, no clock, no randomness.
const CORE_MAY_USE: &[&str] = &[
    "async-trait",
    "base64",
    "bytes",
    "cooper-proto",
    "hex",
    "indexmap",
    "petgraph",
    "prost",
    "regex",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
];

/// Words that pure code may not say, with the reason.
const IMPURE: &[(&str, &str)] = &[
    ("std::fs", "pure code has no file system"),
    ("std::net::Tcp", "pure code has no network"),
    ("std::net::Udp", "pure code has no network"),
    ("ToSocketAddrs", "pure code has no network"),
    ("std::process", "pure code starts nothing"),
    ("std::thread", "pure code has no threads"),
    ("std::env", "the environment is an argument"),
    ("SystemTime", "time is an argument"),
    ("Instant::now", "time is an argument"),
    ("Mutex", "pure code has no locks"),
    ("RwLock", "pure code has no locks"),
    ("tokio::", "pure code has no runtime"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package has a parent")
        .to_path_buf()
}

/// Every `.rs` file below a folder, sorted.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The lines of a file that are code: comments and everything from its test module on are left out.
fn code_lines(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a readable source file");
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line.to_owned()))
        .collect()
}

fn dependencies(package: &str, section: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = text.parse().expect("a manifest is TOML");
    manifest
        .get(section)
        .and_then(toml::Value::as_table)
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default()
}

/// Files in which some line of code contains one of the words, as `file:line: reason`.
fn breaches(folder: &str, words: &[(&str, &str)], allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let root = root();
    let mut found = Vec::new();
    for path in sources(&root.join(folder)) {
        let name = path
            .strip_prefix(&root)
            .expect("below the root")
            .to_string_lossy()
            .into_owned();
        if allowed(&name) {
            continue;
        }
        for (number, line) in code_lines(&path) {
            for (word, reason) in words.iter().filter(|(word, _)| line.contains(word)) {
                found.push(format!("{name}:{number}: `{word}`: {reason}"));
            }
        }
    }
    found
}

/// Test-only files and the test support of a package.
fn is_test_support(name: &str) -> bool {
    name.contains("/tests/")
        || name.ends_with("/tests.rs")
        || name.contains("/testing")
        || name.contains("/conformance")
}

#[test]
fn packages_import_only_what_stands_below_them() {
    for (package, allowed) in MAY_IMPORT {
        let ours: Vec<String> = dependencies(package, "dependencies")
            .into_iter()
            .filter(|name| name.starts_with("cooper"))
            .filter(|name| !allowed.contains(&name.as_str()))
            .collect();
        assert!(
            ours.is_empty(),
            "{package}/Cargo.toml depends on {ours:?}; allowed are {allowed:?}"
        );
    }
}

#[test]
fn core_has_no_runtime_and_no_io_among_its_dependencies() {
    let foreign: Vec<String> = dependencies("engine/core", "dependencies")
        .into_iter()
        .filter(|name| !CORE_MAY_USE.contains(&name.as_str()))
        .collect();
    assert!(
        foreign.is_empty(),
        "engine/core/Cargo.toml gained {foreign:?}, which is not on the list of pure crates"
    );
}

#[test]
fn core_names_nothing_impure() {
    let found = breaches("engine/core/src", IMPURE, is_test_support);
    assert!(
        found.is_empty(),
        "engine/core must stay pure:\n{}",
        found.join("\n")
    );
}

#[test]
fn frontend_is_pure_but_for_its_gateway() {
    let found = breaches("frontend/src", IMPURE, |name| {
        is_test_support(name) || name.starts_with("frontend/src/gateway")
    });
    assert!(
        found.is_empty(),
        "the frontend must stay pure:\n{}",
        found.join("\n")
    );
    let found = breaches(
        "frontend/src",
        &[
            ("async ", "only the gateway waits"),
            (".await", "only the gateway waits"),
        ],
        |name| is_test_support(name) || name.starts_with("frontend/src/gateway"),
    );
    assert!(
        found.is_empty(),
        "only the frontend's gateway may be async:\n{}",
        found.join("\n")
    );
}

#[test]
fn engine_spawns_in_one_place() {
    let words = [
        (
            "tokio::spawn",
            "tasks are spawned by driver::tasks, which joins them",
        ),
        (
            "task::spawn",
            "tasks are spawned by driver::tasks, which joins them",
        ),
        (
            "thread::spawn",
            "tasks are spawned by driver::tasks, which joins them",
        ),
        (
            "TaskTracker::new",
            "tasks are spawned by driver::tasks, which joins them",
        ),
        (
            "JoinSet::new",
            "tasks are spawned by driver::tasks, which joins them",
        ),
    ];
    let found = breaches("engine/src", &words, |name| {
        is_test_support(name) || name.starts_with("engine/src/driver/tasks")
    });
    assert!(
        found.is_empty(),
        "the engine spawns only in driver::tasks:\n{}",
        found.join("\n")
    );
}

#[test]
fn unsafe_code_stands_only_behind_the_workers_system_calls() {
    for package in ["proto", "engine", "frontend", "worker/src", "cli"] {
        let words = [
            ("unsafe {", "unsafe code belongs into worker/src/sys"),
            ("unsafe fn", "unsafe code belongs into worker/src/sys"),
        ];
        let found = breaches(package, &words, |name| name.starts_with("worker/src/sys"));
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

// T-A16: what a client or an image names is opened inside its folder first and mounted by that descriptor, so that no link
// or junction that is swapped in meanwhile is followed.
#[test]
fn nothing_that_others_name_is_mounted_by_its_path() {
    let own_paths = [
        "worker/src/mount/",
        "worker/src/snapshot/stack.rs",
        "worker/src/exec/container.rs",
        "worker/src/cdi/edits.rs",
    ];
    let words = [
        (
            "DetachedMount::bind_path",
            "mount what a descriptor refers to: DetachedMount::bind",
        ),
        ("mount_bind(", "mount what a descriptor refers to"),
        ("MountFlags::BIND", "mount what a descriptor refers to"),
    ];
    // The bundle of another runtime has its own descriptors mounted.
    let own = |name: &str| {
        own_paths.iter().any(|own| name.starts_with(own))
            || name == "worker/src/exec/runner/other/bundle.rs"
    };
    let found = breaches("worker/src", &words, own);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn one_file_of_the_command_line_names_the_concrete_parts_together() {
    let root = root();
    let mut found = Vec::new();
    for path in sources(&root.join("cli/src")) {
        let name = path
            .strip_prefix(&root)
            .expect("below the root")
            .to_string_lossy()
            .into_owned();
        let text: String = code_lines(&path)
            .into_iter()
            .map(|(_, line)| line + "\n")
            .collect();
        let all = ["cooper_engine", "cooper_frontend", "cooper_worker"]
            .iter()
            .all(|part| text.contains(part));
        if all && !name.ends_with("daemon/wire.rs") {
            found.push(name);
        }
    }
    assert!(
        found.is_empty(),
        "engine, frontend and worker are wired together in cli/src/daemon/wire.rs, not in {found:?}"
    );
}
