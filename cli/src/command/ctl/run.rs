use std::io::{self, Write as _};

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::Digest;

use super::flags::{
    CtlCommand, CtlFlags, DebugCommand, DuFlags, HistoriesFlags, LogsFlags, PruneFlags,
};
use super::{build, dump, history, usage, workers};
use crate::client::{Client, Joined, Place};
use crate::command::follow::{close, plain_failure, write_error};
use crate::command::{CANCELLED, FAILED, Interrupts, OK, dial_stdio};
use crate::config::Environment;
use crate::daemon::EngineSettings;

/// Runs `cooper ctl` and says how the program is to exit.
pub(in crate::command) async fn run(
    flags: CtlFlags,
    place: &Place,
    environment: &Environment,
) -> u8 {
    match flags.command {
        CtlCommand::Build(flags) => build::run(*flags, place, environment).await,
        CtlCommand::Du(flags) => du(&flags, place).await,
        CtlCommand::Prune(flags) => prune(&flags, place).await,
        CtlCommand::PruneHistories { format } => {
            let format = format.as_deref();
            with_engine(place, async |joined| history::forget(joined, format).await).await
        }
        CtlCommand::Debug { command } => debug(command, place, environment).await,
        CtlCommand::DialStdio => dial_stdio::run(place).await,
    }
}

/// `cooper du`.
pub(in crate::command) async fn du(flags: &DuFlags, place: &Place) -> u8 {
    with_engine(place, async |joined| usage::list(joined, flags).await).await
}

/// `cooper prune`.
pub(in crate::command) async fn prune(flags: &PruneFlags, place: &Place) -> u8 {
    with_engine(place, async |joined| usage::prune(joined, flags).await).await
}

/// `cooper history`.
pub(in crate::command) async fn histories(flags: &HistoriesFlags, place: &Place) -> u8 {
    let format = flags.format.as_deref();
    with_engine(place, async |joined| history::list(joined, format).await).await
}

/// `cooper logs`.
pub(in crate::command) async fn logs(
    flags: &LogsFlags,
    place: &Place,
    environment: &Environment,
) -> u8 {
    with_engine(place, async |joined| {
        history::logs(joined, flags, environment).await
    })
    .await
}

async fn debug(command: DebugCommand, place: &Place, environment: &Environment) -> u8 {
    match command {
        DebugCommand::DumpLlb { file, dot, svg } => {
            let shown = dump::Shown::of(dot, svg);
            let path = file.filter(|file| file.as_os_str() != "-");
            let path = path.map(|path| environment.here.join(path));
            told(dump::run(path.as_deref(), shown).and_then(|text| print(&text)))
        }
        DebugCommand::Workers {
            filter,
            verbose,
            format,
        } => {
            with_engine(place, async |joined| {
                workers::list(joined, filter.clone(), verbose, format.as_deref()).await
            })
            .await
        }
        DebugCommand::Info { format } => {
            with_engine(place, async |joined| {
                workers::info(joined, format.as_deref()).await
            })
            .await
        }
        DebugCommand::Monitor { completed, r#ref } => {
            with_engine(place, async |joined| {
                history::monitor(joined, completed, r#ref.clone()).await
            })
            .await
        }
        DebugCommand::Logs(flags) => logs(&flags, place, environment).await,
        DebugCommand::Ctl {
            build,
            pin,
            unpin,
            delete,
        } => {
            if !pin && !unpin && !delete {
                let words = "say one of --pin, --unpin and --delete";
                return told(Err(Failure::new(FailureKind::InvalidInput, words)));
            }
            with_engine(place, async |joined| {
                history::change(joined, &build, pin, delete).await
            })
            .await
        }
        DebugCommand::Get { digest } => {
            with_engine(place, async |joined| get(joined, &digest).await).await
        }
        DebugCommand::Histories(flags) => histories(&flags, place).await,
    }
}

async fn get(joined: &Joined, digest: &str) -> Result<(), Failure> {
    let digest: Digest = digest
        .parse()
        .map_err(|error| Failure::new(FailureKind::InvalidInput, format!("{digest:?}: {error}")))?;
    joined
        .read_blob(&digest, |part| written(io::stdout().write_all(part)))
        .await
}

/// Opens the engine for one command, which ends early when the user says so.
async fn with_engine(place: &Place, work: impl AsyncFnOnce(&Joined) -> Result<(), Failure>) -> u8 {
    let interrupts = Interrupts::listen();
    let opened = tokio::select! {
        opened = Client::open(place, EngineSettings::of_command()) => opened,
        () = interrupts.interrupted() => return CANCELLED,
    };
    let client = match opened {
        Ok(client) => client,
        Err(failure) => return told(Err(failure)),
    };
    let joined = match client.wire().await {
        Ok(joined) => joined,
        Err(failure) => return told(Err(failure)),
    };
    let code = tokio::select! {
        done = work(&joined) => told(done),
        () = interrupts.interrupted() => CANCELLED,
    };
    drop(joined);
    close(client, &interrupts).await;
    code
}

fn told(done: Result<(), Failure>) -> u8 {
    match done {
        Ok(()) => OK,
        Err(failure) => {
            write_error(&plain_failure(&failure));
            FAILED
        }
    }
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        // A closed pipe is its reader's choice, and there is nothing more to do.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::new(
            FailureKind::Cancelled,
            "nobody reads standard output any more",
        )),
        written => written.map_err(|error| {
            let words = format!("cannot write to standard output: {error}");
            Failure::new(FailureKind::Infrastructure, words)
        }),
    }
}
