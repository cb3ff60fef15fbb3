use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use cooper_engine::server::unix_connections;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::Address;
use super::listener::{notify, open, open_socket};
use super::options::{DaemonOptions, combine, read_file};
use super::{Assembled, assemble, flags::DaemonFlags, image_socket, serve_images};
use crate::client::listen;
use crate::command::Interrupts;
use crate::config::{Environment, StateLock, socket_path};

const DEFAULT_FILE: &str = "/etc/buildkit/buildkitd.toml";

/// How long builds that run get to end by themselves when the daemon is told to stop. Who starts daemons kills them
/// after 20 s (drop-in sheet).
const DRAIN: Duration = Duration::from_secs(10);

/// Reads flags and file.
///
/// # Errors
/// When the file cannot be read, or something is asked for that cannot be had.
pub fn options(flags: &DaemonFlags) -> anyhow::Result<DaemonOptions> {
    let path = flags.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if flags.config.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            String::new()
        }
        Err(error) => {
            return Err(error).with_context(|| format!("reading {}", path.display()));
        }
    };
    Ok(combine(flags, &read_file(&path, &text)?)?)
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When the state folder or a socket cannot be used.
pub async fn run(options: DaemonOptions, environment: &Environment) -> anyhow::Result<()> {
    let interrupts = Interrupts::listen();
    if environment.variable("BUILDKITD_DEBUGADDR").is_some() {
        tracing::warn!("BUILDKITD_DEBUGADDR is set and not supported yet");
    }
    let root = environment.here.join(&options.root);
    let lock = StateLock::claim(&root)
        .with_context(|| format!("the state folder {}", root.display()))?
        .with_context(|| format!("another process has the state folder {}", root.display()))?;
    // Clients may connect from here on; their calls wait until the engine is ready.
    let own = socket_path(&root);
    let mut sockets = vec![own.clone()];
    let mut listeners = vec![unix_connections(open_socket(&own, &options)?)];
    for address in &options.addresses {
        if let Address::Unix(path) = address {
            let path = environment.here.join(path);
            if path == own {
                continue;
            }
            sockets.push(path);
        }
        listeners.extend(open(address, &options, environment).await?);
    }
    // Not for the group: whoever asks here names paths of this machine.
    let image_listener = listen(&image_socket(&root))?;
    let Assembled {
        engine,
        images,
        layers,
    } = assemble(&root, options.engine.clone()).await?;
    let stop = CancellationToken::new();
    let serving = TaskTracker::new();
    for listener in listeners {
        let (engine, stop) = (engine.clone(), stop.clone());
        serving.spawn(async move {
            let until = stop.clone().cancelled_owned();
            if let Err(failure) = cooper_engine::server::serve(engine, listener, until).await {
                tracing::error!(%failure, "a socket failed");
                stop.cancel();
            }
        });
    }
    serving.spawn(serve_images(image_listener, images, layers, stop.clone()));
    serving.close();
    let addresses: Vec<_> = options.addresses.iter().map(ToString::to_string).collect();
    tracing::info!(?addresses, own = %own.display(), "serving");
    notify(environment, "READY=1");
    tokio::select! {
        () = interrupts.interrupted() => tracing::info!("told to stop"),
        () = serving.wait() => {}
    }
    notify(environment, "STOPPING=1");
    stop.cancel();
    tokio::select! {
        () = serving.wait() => {}
        () = interrupts.forced() => {}
        () = tokio::time::sleep(DRAIN) => tracing::warn!("builds are still running; cancelling them"),
    }
    engine.shutdown().await;
    sockets.push(image_socket(&root));
    for path in &sockets {
        remove_socket(path);
    }
    drop(lock);
    Ok(())
}

fn remove_socket(path: &PathBuf) {
    // One that is gone already needs no removal.
    let _ = fs::remove_file(path);
}
