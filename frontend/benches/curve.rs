//! How the time of a conversion grows with the Dockerfile: `cargo bench -p cooper-frontend`.
//!
//! Each shape is converted in sizes that double. A shape whose output grows linearly must show a steady time per
//! instruction; in a chain of stages with ENV every step carries all variables before it, so that its output grows with the
//! square and the time per written byte is the one to look at.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use support::case::Case;

/// A shape of a Dockerfile: its name and how `stages` stages of it are written.
/// Writes a Dockerfile of so many stages.
type Shape = fn(usize) -> String;

const SHAPES: [(&str, Shape); 5] = [
    ("chain of stages", chain),
    ("chain of stages with ARG and ENV", chain_of_variables),
    ("stages side by side", wide),
    ("one stage of RUN", runs),
    ("one stage of ENV", variables),
];

#[expect(clippy::print_stdout, reason = "a benchmark's table is its output")]
fn main() {
    for (name, write) in SHAPES {
        println!("{name}");
        for stages in [250, 500, 1000, 2000] {
            let text = write(stages);
            let instructions = text.lines().count();
            let case = Case::of(&text);
            let start = processor_time();
            let outcome = support::run(&case).expect("the benchmark's Dockerfiles are right");
            let took = processor_time() - start;
            let written: usize = outcome.parts[0].definition.def.iter().map(Vec::len).sum();
            println!(
                "  {stages:>5} stages {instructions:>6} instructions {:>9.1} ms {:>7.1} us/instruction {:>10} bytes of ops",
                took.as_secs_f64() * 1e3,
                took.as_secs_f64() * 1e6 / instructions as f64,
                written,
            );
        }
    }
}

/// How long this process has had a processor, so that other work on the machine does not count.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").expect("Linux tells this");
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the first word is a number"))
}

fn chain(stages: usize) -> String {
    (0..stages)
        .map(|at| {
            format!(
                "FROM {} AS s{at}\nRUN echo {at}\nCOPY f{at} /g/\nWORKDIR /w{at}\nLABEL l{}=v\nUSER u{at}\nRUN b\nRUN c\nCMD [\"c\"]\nEXPOSE 80\n",
                base(at),
                at % 10,
            )
        })
        .collect()
}

fn chain_of_variables(stages: usize) -> String {
    (0..stages)
        .map(|at| {
            format!(
                "FROM {} AS s{at}\nARG A{at}=x\nENV E{at}=$A{at}\nRUN echo {at}\nCOPY f{at} /g/\nWORKDIR /w{at}\nLABEL l{at}=v\nUSER u{at}\nRUN b\nCOPY --from=s{} /a /b\n",
                base(at),
                at.saturating_sub(1),
            )
            .replace(if at == 0 { "COPY --from=s0 /a /b\n" } else { "\0" }, "RUN c\n")
        })
        .collect()
}

fn wide(stages: usize) -> String {
    (0..stages)
        .map(|at| {
            format!(
                "FROM busybox AS s{at}\nARG A{at}=x\nENV E=$A{at}\nRUN echo {at}\nCOPY f{at} /g/\nWORKDIR /w{at}\nLABEL l=v\nUSER u{at}\nRUN b\nCOPY --from={} /a /b\n",
                match at {
                    0 => "busybox:other".to_owned(),
                    at => format!("s{}", at - 1),
                },
            )
        })
        .collect()
}

fn runs(stages: usize) -> String {
    let steps = (0..stages * 10).map(|at| format!("RUN echo {at}\n"));
    std::iter::once("FROM busybox\n".to_owned())
        .chain(steps)
        .collect()
}

fn variables(stages: usize) -> String {
    let steps = (0..stages * 10).map(|at| format!("ENV E{at}=$PATH\n"));
    std::iter::once("FROM busybox\n".to_owned())
        .chain(steps)
        .collect()
}

fn base(at: usize) -> String {
    match at {
        0 => "busybox".to_owned(),
        at => format!("s{}", at - 1),
    }
}
