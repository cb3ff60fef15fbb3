//! `cooper explain` names the right cause: one change a scenario, each built before and after it.

#![expect(
    clippy::unwrap_used,
    reason = "a scenario's own changes of its folder work"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use integration_tests::sandbox::{Sandbox, path};
use serde_json::Value;

const DOCKERFILE: &str = "\
FROM busybox AS base
ARG VERSION=1
ENV MODE=fast
RUN echo $VERSION > /v
COPY a.txt /a/
COPY src /src
RUN cat /a/a.txt > /out
FROM base AS final
LABEL l=1
USER 1000
RUN echo done
COPY --from=base /out /copied
";

/// A folder that is built.
struct Work<'a> {
    folder: &'a Path,
    dockerfile: String,
    flags: Vec<&'static str>,
}

impl Work<'_> {
    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn replace(&mut self, from: &str, to: &str) {
        assert!(self.dockerfile.contains(from), "{from}");
        self.dockerfile = self.dockerfile.replacen(from, to, 1);
    }
}

/// What changes, and then: part of a step's name, what becomes of it, and one of its causes as JSON, or a part of its text.
struct Scenario {
    name: &'static str,
    change: fn(&mut Work<'_>),
    step: &'static str,
    verdict: &'static str,
    cause: &'static str,
}

const fn scenario(
    name: &'static str,
    change: fn(&mut Work<'_>),
    step: &'static str,
    verdict: &'static str,
    cause: &'static str,
) -> Scenario {
    Scenario {
        name,
        change,
        step,
        verdict,
        cause,
    }
}

const SCENARIOS: &[Scenario] = &[
    scenario("nothing", |_| {}, "RUN echo 1", "reused", "unchanged"),
    scenario(
        "a file is touched",
        |work| {
            let file = fs::File::options()
                .write(true)
                .open(work.folder.join("a.txt"))
                .unwrap();
            let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(2_000_000_000);
            file.set_modified(later).unwrap();
        },
        "COPY a.txt",
        "reused",
        "unchanged",
    ),
    scenario(
        "a file has other content",
        |work| work.write("a.txt", "other"),
        "COPY a.txt",
        "ran",
        r#""changed":["a.txt"]"#,
    ),
    scenario(
        "a file has another mode",
        |work| {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(work.folder.join("a.txt"), mode).unwrap();
        },
        "COPY a.txt",
        "ran",
        r#""changed":["a.txt"]"#,
    ),
    scenario(
        "a file is new",
        |work| work.write("src/new", "x"),
        "COPY src",
        "ran",
        r#""added":["src/new"]"#,
    ),
    scenario(
        "a file is gone",
        |work| fs::remove_file(work.folder.join("src/two")).unwrap(),
        "COPY src",
        "ran",
        r#""removed":["src/two"]"#,
    ),
    scenario(
        "a step below one whose files changed",
        |work| work.write("a.txt", "other"),
        "RUN cat",
        "ran",
        "input_ran",
    ),
    scenario(
        "a file that no step reads",
        |work| work.write("unread", "x"),
        "COPY src",
        "reused",
        "unchanged",
    ),
    scenario(
        "a build argument has another value",
        |work| work.flags.extend(["--build-arg", "VERSION=2"]),
        "RUN echo 2",
        "ran",
        r#"{"after":"2","before":"1","cause":"variable_changed","name":"VERSION"}"#,
    ),
    scenario(
        "an argument has another default",
        |work| work.replace("VERSION=1", "VERSION=3"),
        "RUN echo 3",
        "ran",
        r#""name":"VERSION""#,
    ),
    scenario(
        "a build argument that nobody declares",
        |work| work.flags.extend(["--build-arg", "NOBODY=2"]),
        "RUN echo 1",
        "reused",
        "unchanged",
    ),
    scenario(
        "a variable has another value",
        |work| work.replace("MODE=fast", "MODE=slow"),
        "RUN echo 1",
        "ran",
        r#"{"after":"slow","before":"fast","cause":"variable_changed","name":"MODE"}"#,
    ),
    scenario(
        "a variable is new",
        |work| work.replace("ENV MODE=fast", "ENV MODE=fast MORE=1"),
        "RUN echo 1",
        "ran",
        r#"{"after":"1","before":null,"cause":"variable_changed","name":"MORE"}"#,
    ),
    scenario(
        "a variable is gone",
        |work| work.replace("ENV MODE=fast\n", ""),
        "RUN echo 1",
        "ran",
        r#"{"after":null,"before":"fast","cause":"variable_changed","name":"MODE"}"#,
    ),
    scenario(
        "an instruction says something else",
        |work| work.replace("RUN cat /a/a.txt > /out", "RUN cat /a/a.txt > /out; true"),
        "RUN cat",
        "ran",
        r#""cause":"instruction_changed""#,
    ),
    scenario(
        "a step is new",
        |work| work.replace("COPY src", "RUN true\nCOPY src"),
        "RUN true",
        "ran",
        "new_step",
    ),
    scenario(
        "a step below a new one",
        |work| work.replace("COPY src", "RUN true\nCOPY src"),
        "RUN cat",
        "ran",
        "input_ran",
    ),
    scenario(
        "steps change places",
        |work| {
            work.replace(
                "COPY a.txt /a/\nCOPY src /src\n",
                "COPY src /src\nCOPY a.txt /a/\n",
            )
        },
        "COPY src",
        "ran",
        "reordered",
    ),
    scenario(
        "another user",
        |work| work.replace("USER 1000", "USER 1001"),
        "RUN echo done",
        "ran",
        r#"{"after":"1001","before":"1000","cause":"part_changed","part":"user"}"#,
    ),
    scenario(
        "another working folder",
        |work| work.replace("USER 1000", "WORKDIR /tmp\nUSER 1000"),
        "RUN echo done",
        "ran",
        r#""part":"working folder""#,
    ),
    scenario(
        "a file is ignored",
        |work| work.write(".dockerignore", "src/one\n"),
        "COPY src",
        "ran",
        r#""removed":["src/one"]"#,
    ),
    scenario(
        "the ignore file names something",
        |work| work.write(".dockerignore", "src/one\n"),
        "load build context",
        "ran",
        r#""cause":"ignore_file_changed""#,
    ),
    scenario(
        "a secret has another id",
        |work| {
            work.replace(
                "RUN echo done",
                "RUN --mount=type=secret,id=other echo done",
            )
        },
        "echo done",
        "ran",
        r#""cause":"instruction_changed""#,
    ),
    scenario(
        "a cache mount",
        |work| {
            work.replace(
                "RUN echo done",
                "RUN --mount=type=cache,target=/c,id=new echo done",
            )
        },
        "echo done",
        "ran",
        "type=cache",
    ),
    scenario(
        "no cache",
        |work| work.flags.push("--no-cache"),
        "RUN echo done",
        "ran",
        "cache_off",
    ),
    scenario(
        "another name of the same base",
        |work| work.replace("FROM busybox AS base", "FROM other AS base"),
        "RUN echo 1",
        "reused",
        "unchanged",
    ),
    scenario(
        "a comment",
        |work| work.replace("USER", "# who\nUSER"),
        "RUN echo done",
        "reused",
        "unchanged",
    ),
    scenario(
        "a label",
        |work| work.replace("l=1", "l=2"),
        "RUN echo done",
        "reused",
        "unchanged",
    ),
    scenario(
        "another destination",
        |work| work.replace("COPY src /src", "COPY src /elsewhere"),
        "COPY src",
        "ran",
        r#""cause":"instruction_changed""#,
    ),
    scenario(
        "a mode of copied files",
        |work| work.replace("COPY src", "COPY --chmod=0700 src"),
        "COPY --chmod",
        "ran",
        r#""cause":"instruction_changed""#,
    ),
    scenario(
        "the same output of another step",
        |work| work.replace("RUN cat /a/a.txt > /out", "RUN cat /a/a.txt >/out"),
        "RUN cat",
        "ran",
        r#""cause":"instruction_changed""#,
    ),
    scenario(
        "the text of a heredoc",
        |work| work.replace("RUN echo done", "RUN <<E\necho done\nE"),
        "RUN <<E",
        "ran",
        r#""cause":"instruction_changed""#,
    ),
];

fn build(sandbox: &Sandbox, work: &Work<'_>) -> Result<()> {
    work.write("Dockerfile", &work.dockerfile);
    let mut line = vec!["build", "--progress", "quiet"];
    line.extend(&work.flags);
    line.push(path(work.folder));
    sandbox.succeed(line)?;
    Ok(())
}

/// Whether the causes have this one, whole, or hold a part of one's text.
fn tells(causes: &Value, cause: &str) -> bool {
    match serde_json::from_str::<Value>(cause) {
        Ok(whole) => causes.as_array().is_some_and(|list| list.contains(&whole)),
        Err(_) => causes.to_string().contains(cause),
    }
}

fn check(sandbox: &Sandbox, scenario: &Scenario) -> Result<Option<String>> {
    let folder = sandbox.path("context");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("src"))?;
    // What other scenarios left in the cache is of other steps.
    let own = format!("FROM busybox AS base\nENV SCENARIO=\"{}\"", scenario.name);
    let mut work = Work {
        folder: &folder,
        dockerfile: DOCKERFILE.replacen("FROM busybox AS base", &own, 1),
        flags: Vec::new(),
    };
    for (name, text) in [("a.txt", "a"), ("src/one", "1"), ("src/two", "2")] {
        work.write(name, text);
    }
    build(sandbox, &work)?;
    (scenario.change)(&mut work);
    build(sandbox, &work)?;
    let told = sandbox.succeed(["explain", "--format", "json"])?;
    let told: Value = serde_json::from_str(&told.stdout)?;
    let steps = told["steps"].as_array().context("steps are a list")?;
    let step = steps.iter().find(|step| {
        step["name"]
            .as_str()
            .is_some_and(|name| name.contains(scenario.step))
    });
    let right = step.is_some_and(|step| {
        step["verdict"] == scenario.verdict && tells(&step["causes"], scenario.cause)
    });
    Ok((!right).then(|| format!("{}: {step:?}", scenario.name)))
}

#[test]
fn the_cause_of_every_change_is_named() -> Result<()> {
    assert!(SCENARIOS.len() >= 25);
    let sandbox = Sandbox::with_busybox()?;
    sandbox.succeed(["image", "tag", "busybox", "other"])?;
    let mut wrong = Vec::new();
    for scenario in SCENARIOS {
        wrong.extend(check(&sandbox, scenario)?);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_build_explains_itself_when_asked() -> Result<()> {
    let sandbox = Sandbox::with_busybox()?;
    let folder = sandbox.path("context");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("Dockerfile"), "FROM busybox\nRUN true\n")?;
    let said = sandbox.succeed(["build", "--explain", "--progress", "plain", path(&folder)])?;
    let said = said.stderr;
    assert!(
        said.contains("there is no earlier build to compare with"),
        "{said}"
    );
    let said = sandbox.succeed(["build", "--explain", "--progress", "plain", path(&folder)])?;
    let said = said.stderr;
    assert!(
        said.contains("reused: nothing that it reads changed"),
        "{said}"
    );
    Ok(())
}
