//! The daemon.

use clap::Parser;
use cooper::config::Environment;
use cooper::daemon::{self, DaemonFlags};

fn main() -> anyhow::Result<()> {
    // A container's helper is this same program, started anew.
    cooper_worker::exec::runner_main_if_asked();
    let flags = DaemonFlags::parse();
    let environment = Environment::read()?;
    let options = daemon::options(&flags)?;
    cooper::log::of_daemon(&environment, &options.log_level, options.log_json);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(daemon::run(options, &environment))
}
