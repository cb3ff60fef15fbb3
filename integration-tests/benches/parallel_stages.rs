//! Sixteen stages that sleep two seconds each, joined by a final one: `cooper build` beside Debian's
//! `buildah build --jobs 16`, alternating, each from nothing.
//!
//!     cargo bench -p integration-tests --bench parallel_stages [-- ROUNDS]

#![expect(clippy::print_stdout, reason = "a benchmark's table is its output")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use integration_tests::peers::Buildah;
use integration_tests::sandbox::{Sandbox, base_busybox, path};

const STAGES: usize = 16;

fn dockerfile() -> String {
    let mut text = String::new();
    for stage in 0..STAGES {
        let _ = writeln!(
            text,
            "FROM busybox AS stage{stage}\nRUN sleep 2 && echo {stage} > /made-{stage}"
        );
    }
    text.push_str("FROM busybox\n");
    for stage in 0..STAGES {
        let _ = writeln!(text, "COPY --from=stage{stage} /made-{stage} /");
    }
    text
}

fn cooper(context: &Path) -> Result<Duration> {
    let sandbox = Sandbox::with_busybox()?;
    let start = Instant::now();
    sandbox.succeed([
        "build",
        "--progress",
        "quiet",
        "-t",
        "stages",
        path(context),
    ])?;
    Ok(start.elapsed())
}

fn buildah(context: &Path) -> Result<Duration> {
    let sandbox = Sandbox::new()?;
    let buildah = Buildah::with_busybox(&sandbox.path("buildah"), &base_busybox()?)?;
    let start = Instant::now();
    buildah.build(
        context,
        "stages",
        &[String::from("--jobs"), STAGES.to_string()],
    )?;
    Ok(start.elapsed())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn main() -> Result<()> {
    let rounds = std::env::args()
        .filter_map(|word| word.parse().ok())
        .next()
        .unwrap_or(3);
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("Dockerfile"), dockerfile())?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(cooper(folder.path())?);
        theirs.push(buildah(folder.path())?);
    }
    println!(
        "{STAGES} stages of `sleep 2` and a final one, {rounds} rounds: cooper {ours:.2?}, buildah {theirs:.2?}"
    );
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "median: cooper {ours:.2} s, buildah {theirs:.2} s, ratio {:.1}",
        theirs / ours
    );
    Ok(())
}
