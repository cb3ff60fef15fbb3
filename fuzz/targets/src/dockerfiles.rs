//! What users write: Dockerfiles and ignore files.

use std::collections::BTreeMap;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::patterns::{PatternList, Wildcard, parse_ignore_file};
use cooper_core::ports::{GitMeta, ImageAnswer, ResolvedImage, SourceMeta};
use cooper_frontend::convert::{Input, Step, convert as convert_file};
use cooper_frontend::dockerfile::parse;
use cooper_frontend::environment::Environment;
use cooper_frontend::expand::Expander;
use cooper_frontend::facts::{Fact, Facts, Need};
use cooper_frontend::{platform, practice};
use cooper_proto::Digest;

/// A file to a tree.
pub(crate) fn parser(data: &[u8]) {
    let tree = parse(data);
    let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
    assert!(tree.nodes.len() <= lines, "more instructions than lines");
}

/// An instruction with heredocs.
pub(crate) fn heredoc(data: &[u8]) {
    let mut text = b"FROM scratch\nCOPY <<A <<-B ".to_vec();
    text.extend_from_slice(data);
    parser(&text);
}

/// A word with variables: the first line is the word, the second a value.
pub(crate) fn expansion(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (word, value) = text.split_once('\n').unwrap_or((&text, "x"));
    let mut environment = Environment::default();
    environment.set("a", value);
    environment.set("b", "");
    for expander in [
        Expander::new('\\'),
        Expander::new('`').keeping_quotes(),
        Expander::new('\\').keeping_unset().keeping_escapes(),
        Expander::new('\\').ignoring_quotes(),
    ] {
        let _either = expander.expand(word, &environment);
    }
}

/// An ignore file and paths: lines up to an empty one are patterns, the rest are paths.
pub(crate) fn ignore_patterns(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (patterns, paths) = text.split_once("\n\n").unwrap_or((&text, "a/b"));
    let patterns = parse_ignore_file(patterns);
    let paths = || paths.lines().take(20);
    for pattern in patterns.iter().take(4) {
        if let Ok(wildcard) = Wildcard::new(pattern) {
            let _count = paths().filter(|path| wildcard.matches(path)).count();
        }
    }
    let Ok(list) = PatternList::new(&patterns) else {
        return;
    };
    for path in paths() {
        let _either = list.matches(path);
        let _ = list.may_include_below(path) | list.may_spare_below(path);
    }
}

/// Checks of good practice, and the changes that they make.
pub(crate) fn practices(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if practice::check(&text).is_ok() {
        let repaired = practice::repair(&text);
        let (repaired, _) = repaired.expect("what was read once can be repaired");
        practice::check(&repaired).expect("a repaired file can still be read");
    }
}

/// A file all the way to ops. Lines `#!key=value` before it are options.
pub(crate) fn convert(data: &[u8]) {
    let mut options = BTreeMap::new();
    let mut text = data;
    while let Some(rest) = text.strip_prefix(b"#!") {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let end = end.unwrap_or(rest.len());
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        let (key, value) = line.split_once('=').unwrap_or((&line, ""));
        options.insert(key.to_owned(), value.to_owned());
        text = rest.get(end + 1..).unwrap_or_default();
    }
    let input = Input {
        options,
        host: platform::named("linux", "amd64"),
        ..Input::default()
    };
    answer(&input, text);
}

/// Answers what a conversion asks until it asks no more.
fn answer(input: &Input, text: &[u8]) {
    let mut facts = Facts::default();
    let mut asked = 0;
    while let Step::Need(needs) = convert_file(input, &facts) {
        assert!(!needs.is_empty(), "it waits for nothing");
        asked += needs.len();
        if asked > 200 {
            return;
        }
        for need in needs {
            assert!(facts.get(&need).is_none(), "asked again: {need:?}");
            let fact = match &need {
                Need::File { path, .. } if path == "Dockerfile" => {
                    Fact::File(Some(bytes::Bytes::copy_from_slice(text)))
                }
                Need::File { .. } => Fact::File(None),
                Need::Source(_) => Fact::Source(SourceMeta::Git(GitMeta::default())),
                Need::Image(query) => Fact::Image(image(&query.reference).map(ImageAnswer::Image)),
            };
            facts.insert(&need, fact);
        }
    }
}

/// Images with `o` in their name are there, and have triggers.
fn image(reference: &str) -> Result<ResolvedImage, Failure> {
    if !reference.contains('o') {
        let missing = format!("{reference}: not found");
        return Err(Failure::new(FailureKind::NotFound, missing));
    }
    let config = concat!(
        r#"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"OnBuild":["RUN x"]},"#,
        r#""rootfs":{"type":"layers","diff_ids":["#,
        r#""sha256:1111111111111111111111111111111111111111111111111111111111111111"]}}"#
    );
    Ok(ResolvedImage {
        reference: reference.to_owned(),
        digest: Digest::sha256_of("image"),
        config: bytes::Bytes::from_static(config.as_bytes()),
    })
}
