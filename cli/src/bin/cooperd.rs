//! The daemon.

use std::process::ExitCode;

use clap::Parser;
use cooper::config::Environment;
use cooper::daemon::{self, DaemonFlags};

fn main() -> ExitCode {
    // A container's helper is this same program, started anew.
    cooper_worker::exec::runner_main_if_asked();
    match serve(&DaemonFlags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cooperd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: &DaemonFlags) -> anyhow::Result<()> {
    let environment = Environment::read()?;
    let options = daemon::options(flags)?;
    cooper::log::of_daemon(&environment, &options.log_level, options.log_json);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(daemon::run(options, &environment))
}
