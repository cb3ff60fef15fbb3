//! The command line.

use std::process::ExitCode;

use clap::Parser;
use cooper::command::{self, Line};
use cooper::config::Environment;

fn main() -> anyhow::Result<ExitCode> {
    // A container's helper is this same program, started anew.
    cooper_worker::exec::runner_main_if_asked();
    cooper_worker::allocate_from_few_places();
    let line = Line::parse();
    let environment = Environment::read()?;
    cooper::log::of_command(&environment, "warn");
    if line.takes_rights(&environment) {
        // Before any thread is started.
        cooper::rights::take()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(command::run(line, &environment));
    // What still reads standard input, or was told to stop by force, is not waited for.
    runtime.shutdown_background();
    Ok(ExitCode::from(code))
}
