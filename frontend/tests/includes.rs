//! `INCLUDE`: files beside the Dockerfile, in its place.

use std::collections::BTreeMap;

use cooper_frontend::convert::{Input, Step, convert};
use cooper_frontend::facts::{Fact, Facts, Need};
use cooper_frontend::platform;

/// Converts files, the first of which is the Dockerfile.
fn run(files: &[(&str, &str)]) -> Step {
    let input = Input {
        options: BTreeMap::new(),
        inputs: BTreeMap::new(),
        session: "session".to_owned(),
        host: platform::named("linux", "amd64"),
    };
    let mut facts = Facts::default();
    for _ in 0..50 {
        let needs = match convert(&input, &facts) {
            Step::Need(needs) => needs,
            done => return done,
        };
        for need in needs {
            let Need::File { path, .. } = &need else {
                panic!("only files are asked for");
            };
            let found = files.iter().find(|(name, _)| name == path);
            let content = found.map(|(_, text)| text.as_bytes().to_vec().into());
            facts.insert(&need, Fact::File(content));
        }
    }
    panic!("the conversion goes on asking");
}

/// The ops of files that are converted.
fn ops(files: &[(&str, &str)]) -> Vec<Vec<u8>> {
    match run(files) {
        Step::Done(outcome) => outcome.parts[0].definition.def.clone(),
        Step::Failed(failed) => panic!("{}", failed.fault),
        other => panic!("{other:?}"),
    }
}

/// What is wrong, and the line of the Dockerfile where.
fn fault(files: &[(&str, &str)]) -> (String, Option<u32>) {
    match run(files) {
        Step::Failed(failed) => {
            let line = failed.fault.lines.first().map(|lines| lines.start);
            (failed.fault.to_string(), line)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_included_stands_where_it_is_named() {
    let included = ops(&[
        (
            "Dockerfile",
            "# extensions=cooper\nFROM scratch AS a\nINCLUDE parts/copy.dockerfile\nWORKDIR /w\n",
        ),
        ("parts/copy.dockerfile", "COPY x /\ninclude deeper/more"),
        ("parts/deeper/more", "WORKDIR /d\n"),
    ]);
    let written = ops(&[(
        "Dockerfile",
        "FROM scratch AS a\nCOPY x /\nWORKDIR /d\nWORKDIR /w\n",
    )]);
    assert_eq!(included, written);
}

#[test]
fn the_word_in_a_heredoc_or_a_comment_is_no_instruction() {
    let text = "# extensions=cooper\nFROM scratch\n# INCLUDE nothing\nCOPY <<EOF /x\nINCLUDE nothing\nEOF\n";
    assert!(!ops(&[("Dockerfile", text)]).is_empty());
}

#[test]
fn a_file_that_asks_for_no_extensions_includes_nothing() {
    let (told, line) = fault(&[
        ("Dockerfile", "FROM scratch\nINCLUDE a\n"),
        ("a", "WORKDIR /\n"),
    ]);
    assert!(told.contains("unknown instruction: INCLUDE"), "{told}");
    assert!(told.contains("# extensions=cooper"), "{told}");
    assert_eq!(line, Some(2));
}

#[test]
fn what_cannot_be_included_is_refused_with_its_place() {
    for (instruction, message) in [
        ("INCLUDE", "exactly one argument"),
        ("INCLUDE a b", "exactly one argument"),
        ("INCLUDE ../a", "in the Dockerfile's folder"),
        ("INCLUDE /etc/passwd", "in the Dockerfile's folder"),
        ("INCLUDE $FILE", "before variables have values"),
        ("INCLUDE missing", "no such file"),
        (
            "INCLUDE round",
            "round includes itself: Dockerfile -> round -> round",
        ),
        ("INCLUDE torn", "torn:1: unterminated heredoc"),
        ("INCLUDE leads", "leads:2: INCLUDE missing: no such file"),
    ] {
        let text = format!("# extensions=cooper\nFROM scratch\n{instruction}\n");
        let (told, line) = fault(&[
            ("Dockerfile", &text),
            ("round", "WORKDIR /\nINCLUDE round\n"),
            ("torn", "COPY <<EOF /x\n"),
            ("leads", "WORKDIR /\nINCLUDE missing\n"),
        ]);
        assert!(told.contains(message), "{instruction}: {told}");
        assert_eq!(line, Some(3), "{instruction}");
    }
}

#[test]
fn errors_after_an_include_show_the_whole_text() {
    let step = run(&[
        (
            "Dockerfile",
            "# extensions=cooper\nFROM scratch\nINCLUDE a\nWORKDIR\n",
        ),
        ("a", "WORKDIR /a\n"),
    ]);
    let Step::Failed(failed) = step else {
        panic!("WORKDIR wants an argument: {step:?}");
    };
    let file = failed.file.expect("it was read");
    assert_eq!(file.name, "Dockerfile with what it includes");
    let text = String::from_utf8(file.data).expect("text");
    let line = failed.fault.lines[0].start as usize;
    assert_eq!(text.lines().nth(line - 1), Some("WORKDIR"), "{text}");
    assert!(
        text.contains("# INCLUDE a\n#\nWORKDIR /a\n# end of a\n"),
        "{text}"
    );
}
