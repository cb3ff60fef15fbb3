//! Whatever text comes in, parser, expander and conversion answer.

mod support;

use cooper_frontend::dockerfile::parse;
use cooper_frontend::environment::Environment;
use cooper_frontend::expand::Expander;
use proptest::prelude::*;
use support::case::Case;
use support::run;

/// Pieces of Dockerfiles; put together at random they reach far into the code.
const PIECES: &[&str] = &[
    "FROM ",
    "FROM scratch\n",
    "FROM busybox AS a\n",
    "FROM a\n",
    "FROM onbuild\n",
    "FROM --platform=",
    "linux/arm64 ",
    "$TARGETPLATFORM ",
    "RUN ",
    "RUN --mount=",
    "type=cache,",
    "type=bind,",
    "type=secret,id=x,",
    "type=ssh",
    "target=/x ",
    "from=a,",
    "from=0,",
    "source=../..,",
    "uid=1,",
    "COPY ",
    "COPY --from=a ",
    "COPY --from=0 ",
    "--link ",
    "--parents ",
    "--chmod=7 ",
    "--chmod=u+x ",
    "--chown=a:b ",
    "--exclude=** ",
    "ADD ",
    "https://h/p.git#r:s ",
    "https://h/f ",
    "git@h:p ",
    "ENV ",
    "ARG ",
    "ARG A\n",
    "LABEL ",
    "A=1 ",
    "B=${A:-",
    "${",
    "}",
    "$A",
    "${A/x/",
    "${A##*/}",
    "\\",
    "`",
    "\"",
    "'",
    "<<EOF ",
    "<<-'E' ",
    "EOF\n",
    "E\n",
    "\tE\n",
    "\n",
    "\r\n",
    " ",
    "\t",
    "#",
    "# escape=`\n",
    "# check=skip=all\n",
    "# syntax=x\n",
    "[\"a\", ",
    "\"b\"]",
    "CMD ",
    "ENTRYPOINT ",
    "SHELL [\"x\"]\n",
    "WORKDIR ",
    "USER ",
    "EXPOSE ",
    "80-90/tcp ",
    "VOLUME ",
    "STOPSIGNAL ",
    "HEALTHCHECK ",
    "--interval=1h ",
    "NONE\n",
    "CMD x\n",
    "ONBUILD ",
    "MAINTAINER ",
    "/abs/./path ",
    "../up ",
    "*.txt ",
    "é",
    "\u{feff}",
    "\u{0}",
    "--",
    "--flag=",
    "=",
    ":",
    "@",
    "a/b:c@sha256:0 ",
];

fn pieces() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

/// A Dockerfile that gets as far as instructions.
fn with_stage() -> impl Strategy<Value = String> {
    pieces().prop_map(|text| format!("ARG A=1\nFROM busybox AS a\nRUN x\nFROM a\n{text}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bytes_parse(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let tree = parse(&bytes);
        prop_assert!(!tree.nodes.is_empty() || !tree.faults.is_empty());
    }

    #[test]
    fn pieces_convert(text in pieces()) {
        drop(run(&Case::of(&text)));
    }

    #[test]
    fn pieces_in_a_stage_convert(text in with_stage()) {
        drop(run(&Case::of(&text)));
    }

    #[test]
    fn lines_of_a_tree_are_in_the_file(text in pieces()) {
        let tree = parse(text.as_bytes());
        let lines = u32::try_from(text.split('\n').count()).unwrap();
        for node in &tree.nodes {
            prop_assert!(node.lines.start >= 1 && node.lines.end <= lines, "{:?}", node.lines);
        }
    }

    #[test]
    fn words_expand(word in "[$a-c{}:+?#%/*\\\\'\"<0 -]{0,24}", value in ".{0,8}") {
        let mut environment = Environment::default();
        environment.set("a", value);
        environment.set("b", "");
        for expander in [
            Expander::new('\\'),
            Expander::new('`').keeping_quotes(),
            Expander::new('\\').keeping_unset().keeping_escapes(),
            Expander::new('\\').ignoring_quotes(),
        ] {
            drop(expander.expand(&word, &environment));
        }
    }

    #[test]
    fn options_are_read(key in prop::sample::select(vec![
        "platform", "add-hosts", "ulimit", "memory", "context", "build-arg:SOURCE_DATE_EPOCH", "no-cache", "cpusetcpus",
        "context:busybox", "build-arg:BUILDKIT_DOCKERFILE_CHECK", "multi-platform", "target", "frontend.caps",
    ]), value in "[a-z0-9=:,./@+()#-]{0,20}") {
        drop(run(&Case::of("FROM busybox\nCOPY a b\n").with(key, &value)));
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let braces = format!(
        "FROM busybox\nENV A={}x{}\n",
        "${B:-".repeat(5000),
        "}".repeat(5000)
    );
    assert!(run(&Case::of(&braces)).is_err());
    let triggers = format!("FROM busybox\n{} RUN x\n", "ONBUILD ".repeat(5000));
    assert!(run(&Case::of(&triggers)).is_err());
    let arrays = format!("FROM busybox\nCMD {}\n", "[".repeat(5000));
    assert!(run(&Case::of(&arrays)).is_ok());
}

#[test]
fn long_chains_of_stages_and_steps_are_written_down() {
    let mut text = String::from("FROM scratch AS s0\nCOPY a /a\n");
    for at in 1..1500 {
        text.push_str(&format!(
            "FROM s{} AS s{at}\nCOPY --from=s{} /a /b{at}\n",
            at - 1,
            at - 1
        ));
    }
    let outcome = run(&Case::of(&text)).unwrap();
    assert_eq!(outcome.parts[0].definition.def.len(), 1502);
}
