use super::mount::from_of;
use super::{Kind, Stages, stages};
use crate::diagnostic::Fault;
use crate::dockerfile::parse;
use crate::lint::Linter;

fn read(text: &str) -> Result<Stages, Fault> {
    stages(&parse(text.as_bytes()), &mut Linter::default())
}

/// The only instruction after FROM.
fn kind(text: &str) -> Kind {
    let all = read(&format!("FROM x\n{text}\n")).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    all.stages[0].instructions[0].kind.clone()
}

fn fault(text: &str) -> String {
    let fault = read(&format!("FROM x\n{text}\n")).expect_err(text);
    assert_eq!(
        fault.lines.first().map(|lines| lines.start),
        Some(2),
        "{text}"
    );
    fault.to_string()
}

#[test]
fn misspelt_words_have_suggestions() {
    for (text, suggestion) in [
        ("RUM a", "RUN"),
        ("coppy a b", "copy"),
        ("COPY --form=x a b", "from"),
        ("RUN --mont=x a", "mount"),
        ("RUN --network=hots a", "host"),
        ("RUN --security=insecur a", "insecure"),
        ("HEALTHCHECK --retry=1 CMD x", "retries"),
    ] {
        let told = fault(text);
        if suggestion == "retries" {
            // Three edits away: too far to be sure.
            assert!(!told.contains("did you mean"), "{told}");
        } else {
            assert!(
                told.contains(&format!("(did you mean {suggestion}?)")),
                "{told}"
            );
        }
    }
}

#[test]
fn counts_and_forms_of_arguments_are_checked() {
    for (text, message) in [
        ("COPY a", "at least two arguments"),
        ("ADD", "at least two arguments"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("USER", "USER requires exactly one argument"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV =x", "ENV names can not be blank"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =x", "ARG names can not be blank"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME [\"\"]", "can not be an empty string"),
        (
            "SHELL sh -c",
            "SHELL requires the arguments to be in JSON form, such as SHELL [\"sh\",\"-c\"]",
        ),
        ("SHELL []", "SHELL requires at least one argument"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command"),
        ("HEALTHCHECK CMDD x", "Unknown type \"CMDD\""),
        ("HEALTHCHECK --retries=-1 CMD x", "cannot be negative"),
        (
            "HEALTHCHECK --interval=1us CMD x",
            "cannot be less than 1ms",
        ),
        ("HEALTHCHECK --interval=1 CMD x", "missing unit"),
        ("COPY --link=maybe a b", "expecting boolean value"),
        ("COPY --chown a b", "missing a value on flag: --chown"),
        (
            "COPY --chown=a --chown=b c d",
            "duplicate flag specified: --chown",
        ),
        (
            "COPY a <<EOF\nEOF",
            "cannot accept a heredoc as a destination",
        ),
        ("WORKDIR --x /a", "unknown flag: --x"),
    ] {
        let told = fault(text);
        assert!(told.contains(message), "{text}: {told}");
        assert!(
            told.starts_with("dockerfile parse error on line 2: "),
            "{told}"
        );
    }
}

#[test]
fn stages_have_names_and_globals_come_before_them() {
    let all = read("ARG A=1\nFROM x AS One\nRUN a\nFROM --platform=p y\n").unwrap();
    assert_eq!(all.globals[0].arguments[0].key, "A");
    assert_eq!(
        (all.stages[0].name.as_str(), all.stages[0].base.as_str()),
        ("one", "x")
    );
    assert_eq!(
        (all.stages[1].name.as_str(), all.stages[1].platform.as_str()),
        ("", "p")
    );
    for text in [
        "RUN x\nFROM y",
        "FROM x AS 1",
        "FROM x y z",
        "FROM",
        "FROM x AS",
        "FROM x AS a/b",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(read("ARG A\n").unwrap_err().message.contains("no stages"));
}

#[test]
fn heredocs_become_sources_and_scripts() {
    let Kind::Copy(copy) = kind("COPY a <<E <<-'F' /d/\n$x\nE\n\tf\n\tF") else {
        panic!("no COPY");
    };
    assert_eq!(copy.paths.sources, ["a"]);
    let inline: Vec<_> = copy
        .paths
        .inline
        .iter()
        .map(|inline| {
            (
                inline.name.as_str(),
                inline.content.as_str(),
                inline.expands,
            )
        })
        .collect();
    assert_eq!(inline, [("E", "$x\n", true), ("F", "f\n", false)]);
    let Kind::Onbuild(text) = kind("ONBUILD   RUN <<E\nbody\nE") else {
        panic!("no ONBUILD");
    };
    assert_eq!(text, "RUN <<E\nbody\nE");
}

#[test]
fn ports_are_sorted_and_health_is_described() {
    assert_eq!(
        kind("EXPOSE 9 80 10"),
        Kind::Expose(vec!["10".into(), "80".into(), "9".into()])
    );
    let Kind::Healthcheck(check) = kind("HEALTHCHECK --interval=1m30s --retries=2 CMD a b") else {
        panic!("no HEALTHCHECK");
    };
    let want = "{Test:[CMD-SHELL a b] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}";
    assert_eq!(check.describe(), want);
}

#[test]
fn a_mount_s_source_is_known_before_expansion() {
    let Kind::Run(run) = kind("RUN --mount=from=a,target=$X --mount=type=cache,target=/y z") else {
        panic!("no RUN");
    };
    assert_eq!(run.mounts_from, ["a", ""]);
    assert!(
        fault("RUN --mount=from=$A,target=/x y").contains("doesn't support variable expansion")
    );
    assert!(from_of("\"").is_err());
}

#[test]
fn extensions_are_off_unless_the_file_asks_for_them() {
    for flag in ["--timeout=5m", "--retries=3"] {
        let told = fault(&format!("RUN {flag} make"));
        assert!(told.contains("unknown flag"), "{told}");
        assert!(told.contains("# extensions=cooper"), "{told}");
    }
}

#[test]
fn run_has_patience_where_the_file_asks_for_extensions() {
    let text = "# extensions=cooper\nFROM x\nRUN --timeout=1m30s --retries=3 make\n";
    let all = read(text).unwrap();
    let Kind::Run(run) = &all.stages[0].instructions[0].kind else {
        panic!("RUN is a RUN");
    };
    assert_eq!((run.timeout, run.retries), (Some(90_000_000_000), Some(3)));
}

#[test]
fn extensions_that_make_no_sense_are_refused_with_their_line() {
    for (text, line, message) in [
        ("# extensions=coper\nFROM x", 1, "(did you mean cooper?)"),
        (
            "# extensions=cooper\nFROM x\nRUN --timeout=5 a",
            3,
            "missing unit",
        ),
        (
            "# extensions=cooper\nFROM x\nRUN --timeout=-1s a",
            3,
            "less than 1ms",
        ),
        (
            "# extensions=cooper\nFROM x\nRUN --retries=-1 a",
            3,
            "from 0 to 100",
        ),
        (
            "# extensions=cooper\nFROM x\nRUN --retries=101 a",
            3,
            "from 0 to 100",
        ),
        (
            "# extensions=cooper\nFROM x\nRUN --retry=1 a",
            3,
            "unknown flag: --retry",
        ),
    ] {
        let fault = read(text).expect_err(text);
        assert_eq!(
            fault.lines.first().map(|lines| lines.start),
            Some(line),
            "{text}"
        );
        assert!(fault.to_string().contains(message), "{text}: {fault}");
    }
}
