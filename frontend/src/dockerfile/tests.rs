use super::tree::{Arguments, Node, Tree};
use super::{directive, parse};
use crate::diagnostic::Lines;
use crate::lint::Rule;

fn tree(text: &str) -> Tree {
    parse(text.as_bytes())
}

fn only(text: &str) -> Node {
    let tree = tree(text);
    assert_eq!(tree.faults, [], "{text}");
    assert_eq!(tree.nodes.len(), 1, "{text}");
    tree.nodes.into_iter().next().unwrap()
}

fn words(text: &str) -> Vec<String> {
    only(text).arguments.list().to_vec()
}

fn fault(text: &str) -> (String, Lines) {
    let tree = tree(text);
    let fault = tree
        .faults
        .first()
        .unwrap_or_else(|| panic!("{text} has no fault"));
    (
        fault.message.clone(),
        fault.lines.first().copied().unwrap_or_default(),
    )
}

#[test]
fn continuations_join_lines_and_comments_within_vanish() {
    let node = only("RUN a \\\n  # comment\n  b \\ \t\n\\\n c\n");
    assert_eq!(node.text, "RUN a   b  c");
    assert_eq!(node.lines, Lines::new(1, 5));
    // An escaped escape ends a line.
    assert_eq!(only("RUN a \\\\\n").text, "RUN a \\\\");
    assert_eq!(only("# escape=`\nRUN a `\nb \\\n").text, "RUN a b \\");
}

#[test]
fn blank_lines_within_an_instruction_warn() {
    let tree = tree("RUN a \\\n\n b\nRUN c\n");
    assert_eq!(tree.nodes[0].text, "RUN a  b");
    assert_eq!(
        (tree.warnings[0].rule, tree.warnings[0].lines),
        (Rule::NoEmptyContinuation, Lines::one(3))
    );
}

#[test]
fn comments_stay_with_the_instruction_below_until_an_empty_one() {
    let tree = tree("# syntax=x\n# old\n#\n# one\n\n# two\nFROM a\nRUN b\n");
    assert_eq!(tree.nodes[0].comments, ["one", "two"]);
    assert!(tree.nodes[1].comments.is_empty());
}

#[test]
fn flags_come_first_and_lose_their_quotes() {
    for (text, flags, rest) in [
        (
            "COPY --a --b=\"c d\" e f",
            vec!["--a", "--b=c d"],
            vec!["e", "f"],
        ),
        ("COPY --a -- --b c", vec!["--a"], vec!["--b", "c"]),
        ("COPY -a b", vec![], vec!["-a", "b"]),
        ("COPY a --b", vec![], vec!["a", "--b"]),
        ("COPY --a=\\\"b\\ c d", vec!["--a=\"b c"], vec!["d"]),
    ] {
        let node = only(text);
        assert_eq!(node.flags, flags, "{text}");
        assert_eq!(node.arguments.list(), rest, "{text}");
    }
}

#[test]
fn arrays_of_strings_are_json_and_other_brackets_are_text() {
    assert_eq!(
        only("CMD [\"a\", \"b\\n\"]").arguments,
        Arguments::Json(vec!["a".into(), "b\n".into()])
    );
    assert_eq!(only("CMD []").arguments, Arguments::Json(vec![]));
    assert_eq!(words("RUN [ -f x ]"), ["[ -f x ]"]);
    assert_eq!(words("COPY [a, b]"), ["[a,", "b]"]);
    assert_eq!(words("HEALTHCHECK CMD [\"x\"]"), ["CMD", "x"]);
    assert!(fault("CMD [1]").0.contains("strings only"));
}

#[test]
fn arguments_split_as_each_instruction_wants() {
    assert_eq!(words("RUN  a   'b  c' "), ["a   'b  c'"]);
    assert_eq!(words("EXPOSE 80\t 81"), ["80", "81"]);
    assert_eq!(words("ARG A=\"x y\" B C='z'"), ["A=\"x y\"", "B", "C='z'"]);
    assert_eq!(words("HEALTHCHECK --interval=1s  CMD  a b"), ["CMD", "a b"]);
    assert_eq!(only("RUN").arguments, Arguments::None);
    assert_eq!(only("nonsense a b").arguments, Arguments::None);
}

#[test]
fn pairs_keep_quotes_and_know_the_old_form() {
    let pairs = |text: &str| match only(text).arguments {
        Arguments::Pairs(pairs) => pairs
            .into_iter()
            .map(|pair| (pair.key, pair.value, pair.legacy))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let pair = |key: &str, value: &str, legacy| (key.to_owned(), value.to_owned(), legacy);
    assert_eq!(
        pairs("ENV A=\"b c\" D=e\\ f"),
        [pair("A", "\"b c\"", false), pair("D", "e\\ f", false)]
    );
    assert_eq!(pairs("LABEL \"a b\"=c"), [pair("\"a b\"", "c", false)]);
    assert_eq!(pairs("ENV A  b=c  d"), [pair("A", "b=c  d", true)]);
    assert!(fault("ENV A").0.contains("two arguments"));
    assert!(fault("ENV A=b c").0.contains("can't find = in \"c\""));
}

#[test]
fn heredocs_belong_to_run_copy_add_and_onbuild_of_those() {
    let node = only("RUN cat <<A <<-\"B\" 3<<C\n a\nA\n\tb\n\tB\nc\nC\n");
    let found: Vec<_> = node
        .heredocs
        .iter()
        .map(|doc| {
            (
                doc.name.as_str(),
                doc.body.as_str(),
                doc.expands,
                doc.chomps,
                doc.descriptor,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("A", " a\n", true, false, 0),
            ("B", "\tb\n", false, true, 0),
            ("C", "c\n", true, false, 3)
        ]
    );
    assert_eq!(node.heredocs[1].content(), "b\n");
    assert_eq!(node.lines, Lines::new(1, 7));
    assert_eq!(only("ONBUILD COPY <<E /x\nb\nE\n").heredocs.len(), 1);
    assert!(only("CMD <<E\n").heredocs.is_empty());
    assert!(only("RUN [\"<<E\"]\n").heredocs.is_empty());
    assert!(only("RUN a <<< b\n").heredocs.is_empty());
    assert_eq!(
        fault("FROM a\nRUN <<E\nx\n"),
        ("unterminated heredoc".to_owned(), Lines::new(2, 3))
    );
}

#[test]
fn directives_stand_at_the_top_and_once() {
    let tree = tree("# Escape = `\n#check=skip=all\n# no directive\n# syntax=late\nFROM a\n");
    let names: Vec<&str> = tree
        .directives
        .iter()
        .map(|directive| directive.name.as_str())
        .collect();
    assert_eq!((tree.escape, names), ('`', vec!["escape", "check"]));
    assert!(
        fault("# escape=x\nFROM a")
            .0
            .contains("invalid escape token")
    );
    assert_eq!(fault("# check=a=b\n# check=c=d\nFROM a").1, Lines::one(2));
}

#[test]
fn a_frontend_is_asked_for_in_four_ways() {
    for text in [
        "# syntax = image:1 arg\nFROM x",
        "\u{feff}#syntax=image:1 arg",
        "#!/usr/bin/env x\n# syntax=image:1 arg",
        "// syntax=image:1 arg\n{}",
        "{\"syntax\": \"image:1 arg\"}",
    ] {
        let found = directive::syntax(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(
            (found.image.as_str(), found.command_line.as_str()),
            ("image:1", "image:1 arg"),
            "{text}"
        );
    }
    assert_eq!(directive::syntax("FROM x\n# syntax=y"), None);
}

#[test]
fn a_file_without_instructions_and_a_line_without_end_are_faults() {
    assert_eq!(fault("").0, "file with no instructions");
    assert_eq!(fault("# a\n\n# b\n").0, "file with no instructions");
    let long = format!("FROM a\nRUN {}\n", "x".repeat(70_000));
    let (message, lines) = fault(&long);
    assert!(message.contains("max allowed size of 65535"), "{message}");
    assert_eq!(lines, Lines::one(2));
}

#[test]
fn faults_do_not_keep_the_rest_from_being_read() {
    let tree = tree("FROM a\nENV A\nCMD [1]\nRUN b\n");
    assert_eq!(tree.faults.len(), 2);
    let keywords: Vec<&str> = tree
        .nodes
        .iter()
        .map(|node| node.keyword.as_str())
        .collect();
    assert_eq!(keywords, ["FROM", "RUN"]);
}

#[test]
fn bytes_that_are_no_text_are_faults_but_in_comments() {
    let tree = parse(b"# \xff\nFROM a\nRUN \xff\n");
    assert_eq!(tree.faults[0].lines, [Lines::one(3)]);
    assert_eq!(tree.faults.len(), 1);
}
