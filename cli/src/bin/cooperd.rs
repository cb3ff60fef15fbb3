//! The daemon.

use std::process::ExitCode;

use clap::Parser;
use cooper::config::Environment;
use cooper::daemon::{self, DaemonFlags};

fn main() -> ExitCode {
    // A container's helper is this same program, started anew.
    cooper_worker::exec::runner_main_if_asked();
    cooper_worker::allocate_from_few_places();
    match serve(&DaemonFlags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cooperd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: &DaemonFlags) -> anyhow::Result<()> {
    let mut environment = Environment::read()?;
    if flags.rootless == Some(true) {
        environment.is_root = false;
    }
    let options = daemon::options(flags, &environment)?;
    cooper::log::of_daemon(&environment, &options.log_level, options.log_json);
    if options.makes_namespace {
        // Before any thread is started.
        cooper::rights::take()?;
    }
    if options.engine.shares_processes && !cooper::rights::are_those_of_a_user() {
        anyhow::bail!("can't enable NoProcessSandbox without enabling Rootless");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(daemon::run(options, &environment))
}
