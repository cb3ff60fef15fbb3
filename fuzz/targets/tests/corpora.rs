//! Gives every target the inputs that are kept for it, those that once were findings among them.

use std::fs;
use std::path::{Path, PathBuf};

use cooper_fuzz_targets::TARGETS;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it can be read").file_name())
        .map(|name| name.into_string().expect("names are text"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_target_takes_the_inputs_that_are_kept_for_it() {
    for (name, run) in TARGETS {
        let folder = corpora().join(name);
        let inputs = names(&folder);
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for input in inputs {
            let data = fs::read(folder.join(&input)).expect("it can be read");
            // Said when the test fails.
            eprintln!("{name}/{input}");
            run(&data);
        }
    }
}

#[test]
fn every_corpus_has_a_target_and_all_are_small() {
    let mut targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    targets.sort_unstable();
    assert_eq!(names(&corpora()), targets);
    let sizes = targets.iter().flat_map(|target| {
        let folder = corpora().join(target);
        let inputs = names(&folder).into_iter();
        inputs.map(move |input| fs::metadata(folder.join(input)).map_or(0, |it| it.len()))
    });
    let total: u64 = sizes.sum();
    assert!(total < 2 << 20, "the corpora have {total} bytes");
}
