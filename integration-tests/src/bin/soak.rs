//! Long runs: `soak RUN [COUNT]`; `scripts/soak` builds what it needs and starts it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use integration_tests::soak::{
    cancel::cancel, crash::crash, crowd::crowd, damage::damage, faults::faults, growth::growth,
};

fn run(name: &str, count: Option<usize>) -> Result<String> {
    Ok(match name {
        "crash" => format!("{:#?}", crash(count.unwrap_or(200))?),
        "cancel" => format!("{:#?}", cancel(count.unwrap_or(200))?),
        "growth" => format!("{:#?}", growth(count.unwrap_or(1000))?),
        "faults" => format!("{:#?}", faults(count.unwrap_or(50))?),
        "damage" => format!("{:#?}", damage(count.unwrap_or(50))?),
        "crowd" => format!("{:#?}", crowd(count.unwrap_or(50))?),
        _ => bail!(
            "there is no run {name:?}; there are crash, cancel, growth, faults, damage and crowd"
        ),
    })
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let count = arguments.next().and_then(|text| text.parse().ok());
    let begun = Instant::now();
    let (text, code) = match run(&name, count) {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (format!("FAILED: {error:?}"), ExitCode::FAILURE),
    };
    let took = begun.elapsed().as_secs();
    // Whoever closed the output does not want to know.
    let _closed = writeln!(std::io::stdout(), "{name} ({took} s): {text}");
    code
}
