//! Each folder of examples/ builds, and does what its Dockerfile's comments promise.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use integration_tests::image::command;
use integration_tests::sandbox::{Sandbox, base_debian, path, repository, succeed};

/// What plain progress said of each step: by name, whether it came from the cache.
fn steps(progress: &str) -> BTreeMap<String, bool> {
    let mut names = BTreeMap::new();
    let mut cached = BTreeMap::new();
    for line in progress.lines() {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' '))
        else {
            continue;
        };
        if rest.starts_with('[') {
            names
                .entry(number.to_owned())
                .or_insert_with(|| rest.to_owned());
        }
        if rest == "CACHED" {
            cached.insert(number.to_owned(), true);
        }
    }
    names
        .into_iter()
        .map(|(number, name)| (name, cached.contains_key(&number)))
        .collect()
}

/// The steps of the Dockerfile that ran, without the engine's own.
fn ran(progress: &str) -> Vec<String> {
    steps(progress)
        .into_iter()
        .filter(|(name, cached)| {
            !cached && !name.starts_with("[internal]") && !name.starts_with("[context ")
        })
        .map(|(name, _)| name)
        .collect()
}

/// A copy of an example that a test may change.
fn example(sandbox: &Sandbox, name: &str) -> Result<PathBuf> {
    let copy = sandbox.path(name);
    succeed(command(
        "cp",
        &[
            "-a",
            path(&repository().join("examples").join(name)),
            path(&copy),
        ],
    ))?;
    Ok(copy)
}

fn host_programs() -> Result<String> {
    let busybox = succeed(command(
        "sh",
        &["-c", "dirname $(readlink -f $(command -v busybox))"],
    ))?;
    Ok(format!("host={}", busybox.stdout.trim()))
}

fn quickstart(sandbox: &Sandbox, folder: &Path, extra: &[&str]) -> Result<String> {
    let host = host_programs()?;
    let mut arguments = vec![
        "build",
        "--progress",
        "plain",
        "--build-context",
        &host,
        "-t",
        "quickstart",
    ];
    arguments.extend_from_slice(extra);
    arguments.push(path(folder));
    Ok(sandbox.succeed(arguments)?.stderr)
}

#[test]
fn quickstart_builds_and_then_comes_from_the_cache() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let folder = example(&sandbox, "quickstart")?;
    let out = sandbox.path("out");

    let first = quickstart(&sandbox, &folder, &["--output", path(&out)])?;
    let sum = fs::read_to_string(out.join("site/sum.txt"))?;
    assert_eq!(sum.trim(), "the numbers up to 20 add up to 210");
    assert_eq!(
        fs::read_to_string(out.join("site/counted.txt"))?
            .split_whitespace()
            .next(),
        Some("3")
    );
    assert!(
        ran(&first).iter().any(|name| name.contains("RUN seq")),
        "nothing ran at first:\n{first}"
    );
    assert!(
        !first.contains("[checks "),
        "a stage that the target does not need was shown:\n{first}"
    );

    let second = quickstart(&sandbox, &folder, &["--output", path(&out)])?;
    assert_eq!(
        ran(&second),
        Vec::<String>::new(),
        "the second build ran steps:\n{second}"
    );
    assert_eq!(sandbox.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn quickstart_gives_the_same_image_on_any_state_folder() -> Result<()> {
    let mut archives = Vec::new();
    for _ in 0..2 {
        let sandbox = Sandbox::new()?;
        let folder = example(&sandbox, "quickstart")?;
        let archive = sandbox.path("image.tar");
        let output = format!("type=oci,rewrite-timestamp=true,dest={}", path(&archive));
        let epoch = "SOURCE_DATE_EPOCH=1700000000";
        quickstart(
            &sandbox,
            &folder,
            &["--build-arg", epoch, "--output", &output],
        )?;
        archives.push(fs::read(&archive)?);
    }
    assert!(archives[0] == archives[1], "two builds gave two images");
    Ok(())
}

#[test]
fn quickstart_comes_from_a_cache_that_another_state_folder_wrote() -> Result<()> {
    let (writer, reader) = (Sandbox::new()?, Sandbox::new()?);
    let folder = example(&writer, "quickstart")?;
    let cache = writer.path("cache");
    let to = format!("type=local,mode=max,dest={}", path(&cache));
    quickstart(&writer, &folder, &["--cache-to", &to])?;
    let out = reader.path("out");
    let from = format!("type=local,src={}", path(&cache));
    let read = quickstart(
        &reader,
        &folder,
        &["--cache-from", &from, "--output", path(&out)],
    )?;
    assert_eq!(ran(&read), [] as [String; 0], "some steps ran:\n{read}");
    let sum = fs::read_to_string(out.join("site/sum.txt"))?;
    assert_eq!(sum.trim(), "the numbers up to 20 add up to 210");
    Ok(())
}

#[test]
fn quickstart_reruns_only_what_a_change_touches() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let folder = example(&sandbox, "quickstart")?;
    quickstart(&sandbox, &folder, &[])?;
    fs::write(folder.join("site/words.txt"), "hoop\n")?;
    let after = ran(&quickstart(&sandbox, &folder, &[])?);
    assert!(
        after.iter().any(|name| name.contains("RUN sort")),
        "the changed file's reader did not run: {after:?}"
    );
    assert!(
        !after.iter().any(|name| name.contains("RUN seq")),
        "a step that reads no file ran again: {after:?}"
    );
    assert!(
        !after.iter().any(|name| name.contains("--install")),
        "the base ran again: {after:?}"
    );
    Ok(())
}

#[test]
fn quickstart_changes_with_a_build_argument() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let folder = example(&sandbox, "quickstart")?;
    let out = sandbox.path("out");
    quickstart(
        &sandbox,
        &folder,
        &["--build-arg", "UPTO=4", "--output", path(&out)],
    )?;
    assert_eq!(
        fs::read_to_string(out.join("site/sum.txt"))?.trim(),
        "the numbers up to 4 add up to 10"
    );
    Ok(())
}

/// Runs the image `hello` of the local store and keeps what it says.
const RUNS_HELLO: &str = "FROM hello AS trial
RUN java -cp /app Hello Cooper > /tmp/words
FROM scratch
COPY --from=trial /tmp/words /
";

/// One test, since the packages that it installs are large.
#[test]
fn hello_java_builds_its_stages_reuses_them_and_runs() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let folder = example(&sandbox, "hello-java")?;
    sandbox.succeed(["image", "import", path(&base_debian()?), "debian-root"])?;

    let dev = sandbox.succeed([
        "build",
        "--progress",
        "plain",
        "--target",
        "dev",
        "-t",
        "hello:dev",
        path(&folder),
    ])?;
    assert!(
        ran(&dev.stderr).iter().any(|name| name.contains("javac")),
        "nothing was compiled:\n{}",
        dev.stderr
    );
    assert!(
        !steps(&dev.stderr)
            .keys()
            .any(|name| name.contains("install") && name.contains("jre-headless")),
        "the final stage ran for --target dev:\n{}",
        dev.stderr
    );

    let out = sandbox.path("out");
    let whole = [
        "build",
        "--progress",
        "plain",
        "--output",
        "type=image,name=hello",
        "--output",
        path(&out),
        path(&folder),
    ];
    let first = sandbox.succeed(whole)?.stderr;
    assert!(
        !ran(&first).iter().any(|name| name.contains("javac")),
        "the shared stage ran twice:\n{first}"
    );
    let second = sandbox.succeed(whole)?.stderr;
    assert_eq!(
        ran(&second),
        Vec::<String>::new(),
        "the second build ran steps:\n{second}"
    );

    let trial = sandbox.path("trial");
    fs::create_dir_all(&trial)?;
    fs::write(trial.join("Dockerfile"), RUNS_HELLO)?;
    sandbox.succeed([
        "build",
        "--output",
        path(&sandbox.path("said")),
        path(&trial),
    ])?;
    let said = fs::read_to_string(sandbox.path("said/words")).context("running what was built")?;
    assert_eq!(said.trim(), "Hello, Cooper!");
    assert!(
        !out.join("usr/lib/jvm/java-17-openjdk-amd64/bin/javac")
            .exists(),
        "the final stage holds the compiler"
    );

    let source = folder.join("src/Hello.java");
    fs::write(
        &source,
        fs::read_to_string(&source)?.replace("Hello, ", "Good day, "),
    )?;
    let changed = ran(&sandbox.succeed(whole)?.stderr);
    assert!(
        changed.iter().any(|name| name.contains("javac")),
        "a changed source was not compiled: {changed:?}"
    );
    assert!(
        !changed.iter().any(|name| name.contains("apt-get")),
        "a changed source reinstalled packages: {changed:?}"
    );
    assert_eq!(sandbox.leftovers()?, Vec::<String>::new());
    Ok(())
}
