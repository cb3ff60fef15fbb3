//! Our line parser beside the crate parse-dockerfile, made independently: both see the same instructions at the same lines.

mod support;

use cooper_frontend::dockerfile::parse;
use parse_dockerfile::Instruction;
use support::case::all;

/// Cases that the other parser refuses, or reads in its own way, though Docker takes them.
const ONLY_OURS: &[&str] = &[
    // `FROM` with words after the image is our fault to tell, not the parser's.
    "comments",
    // Empty arrays.
    "config-json-forms",
    // Heredocs with a file descriptor, and in arrays where they mean nothing.
    "heredoc-run",
    // Two heredocs on one line.
    "run-heredoc-shebang",
];

fn keyword(instruction: &Instruction<'_>) -> &'static str {
    match instruction {
        Instruction::Add(_) => "ADD",
        Instruction::Arg(_) => "ARG",
        Instruction::Cmd(_) => "CMD",
        Instruction::Copy(_) => "COPY",
        Instruction::Entrypoint(_) => "ENTRYPOINT",
        Instruction::Env(_) => "ENV",
        Instruction::Expose(_) => "EXPOSE",
        Instruction::From(_) => "FROM",
        Instruction::Healthcheck(_) => "HEALTHCHECK",
        Instruction::Label(_) => "LABEL",
        Instruction::Maintainer(_) => "MAINTAINER",
        Instruction::Onbuild(_) => "ONBUILD",
        Instruction::Run(_) => "RUN",
        Instruction::Shell(_) => "SHELL",
        Instruction::Stopsignal(_) => "STOPSIGNAL",
        Instruction::User(_) => "USER",
        Instruction::Volume(_) => "VOLUME",
        Instruction::Workdir(_) => "WORKDIR",
        _ => "",
    }
}

#[test]
fn both_parsers_see_the_same_instructions() {
    let mut compared = 0;
    let mut differ = Vec::new();
    let cases = all();
    for case in cases.iter().filter(|case| !case.name.starts_with("error-")) {
        let dockerfile = case
            .files
            .iter()
            .find(|(place, _)| place.ends_with("ockerfile"));
        let Some((_, text)) = dockerfile else {
            continue;
        };
        let tree = parse(text.as_bytes());
        let ours: Vec<String> = tree
            .nodes
            .iter()
            .map(|node| node.keyword.to_uppercase())
            .collect();
        let same = parse_dockerfile::parse(text).is_ok_and(|theirs| {
            let theirs: Vec<&str> = theirs.instructions.iter().map(keyword).collect();
            ours == theirs
        });
        if same {
            compared += 1;
        } else {
            differ.push(case.name.as_str());
        }
    }
    assert_eq!(differ, ONLY_OURS);
    assert!(compared >= 40, "only {compared} cases were compared");
}
