//! More than 300 patterns against what moby/patternmatcher and Go's path/filepath made of them (T-E6).

use serde::Deserialize;

use super::{ParentMatches, PatternError, PatternList, Wildcard, clean_path, parse_ignore_file};

/// Positions are of `paths`; a path in none of a row's lists did not match.
#[derive(Deserialize)]
struct Table {
    paths: Vec<String>,
    ignore: Vec<Row>,
    wildcard: Vec<Row>,
    clean: Vec<(String, String)>,
    files: Vec<File>,
}

#[derive(Deserialize)]
struct Row {
    p: Vec<String>,
    #[serde(default)]
    invalid: bool,
    #[serde(default)]
    yes: Vec<usize>,
    #[serde(default)]
    err: Vec<usize>,
    #[serde(default)]
    walk: Vec<usize>,
    #[serde(default)]
    walk_err: Vec<usize>,
}

#[derive(Deserialize)]
struct File {
    text: String,
    patterns: Vec<String>,
}

fn table() -> Table {
    serde_json::from_str(include_str!("data/peer.json")).expect("the table is JSON")
}

fn expected(row: &Row, yes: &[usize], err: &[usize], index: usize) -> Result<bool, ()> {
    assert!(!row.invalid);
    if err.contains(&index) {
        Err(())
    } else {
        Ok(yes.contains(&index))
    }
}

fn matches_step_by_step(list: &PatternList, path: &str) -> Result<bool, PatternError> {
    let mut parent = ParentMatches::default();
    let mut matched = false;
    let ends = path.match_indices('/').map(|(end, _)| end);
    for end in ends.chain([path.len()]) {
        (matched, parent) = list.matches_below(&path[..end], &parent)?;
    }
    Ok(matched)
}

#[test]
fn t_e6_ignore_patterns_match_as_in_the_peer() {
    let table = table();
    assert!(table.ignore.len() >= 300);
    let mut wrong = Vec::new();
    for row in &table.ignore {
        let list = PatternList::new(&row.p);
        assert_eq!(list.is_err(), row.invalid, "{:?}", row.p);
        let Ok(list) = list else { continue };
        for (index, path) in table.paths.iter().enumerate() {
            let whole = list.matches(path).map_err(|_| ());
            if whole != expected(row, &row.yes, &row.err, index) {
                wrong.push(format!("{:?} on {path:?}: {whole:?}", row.p));
            }
            let steps = matches_step_by_step(&list, path).map_err(|_| ());
            if steps != expected(row, &row.walk, &row.walk_err, index) {
                wrong.push(format!("{:?} on {path:?} step by step: {steps:?}", row.p));
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

#[test]
fn wildcards_match_as_in_go() {
    let table = table();
    let mut wrong = Vec::new();
    for row in &table.wildcard {
        let pattern = &row.p[0];
        let wildcard = Wildcard::new(pattern);
        assert_eq!(wildcard.is_err(), row.invalid, "{pattern:?}");
        let Ok(wildcard) = wildcard else { continue };
        for (index, path) in table.paths.iter().enumerate() {
            if wildcard.matches(path) != row.yes.contains(&index) {
                wrong.push(format!("{pattern:?} on {path:?}"));
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

#[test]
fn paths_are_cleaned_as_in_go() {
    for (path, cleaned) in table().clean {
        assert_eq!(clean_path(&path), cleaned, "{path:?}");
    }
}

#[test]
fn ignore_files_are_read_as_in_the_peer() {
    for file in table().files {
        assert_eq!(
            parse_ignore_file(&file.text),
            file.patterns,
            "{:?}",
            file.text
        );
    }
}

#[test]
fn a_directory_is_left_out_only_when_nothing_below_can_change_its_fate() {
    let table = table();
    for row in &table.ignore {
        let Ok(list) = PatternList::new(&row.p) else {
            continue;
        };
        for path in &table.paths {
            for (end, _) in path.match_indices('/') {
                let directory = &path[..end];
                let (Ok(above), Ok(below)) = (
                    matches_step_by_step(&list, directory),
                    matches_step_by_step(&list, path),
                ) else {
                    continue;
                };
                if !above && below {
                    assert!(list.may_include_below(directory), "{:?} {path:?}", row.p);
                }
                if above && !below {
                    assert!(list.may_spare_below(directory), "{:?} {path:?}", row.p);
                }
            }
        }
    }
}
