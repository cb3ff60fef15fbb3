use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use cooper_engine::Engine;
use cooper_engine::server::unix_connections;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::debug::serve_pages;
use super::listener::{notify, open, open_pages, open_socket};
use super::options::{DaemonOptions, Defaults, combine, read_file};
use super::rest::give_back_at_rest;
use super::{Assembled, Desk, assemble, flags::DaemonFlags, image_socket, serve_images};
use crate::client::listen;
use crate::command::Interrupts;
use crate::config::{Environment, StateLock, socket_path, state_folder};

/// How long clients get to read their last answers when all builds have ended.
const FAREWELL: Duration = Duration::from_secs(2);

/// Reads flags and file.
///
/// # Errors
/// When the file cannot be read, or something is asked for that cannot be had.
pub fn options(flags: &DaemonFlags, environment: &Environment) -> anyhow::Result<DaemonOptions> {
    let path = flags
        .config
        .clone()
        .unwrap_or_else(|| configuration_file(environment));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if flags.config.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            String::new()
        }
        Err(error) => {
            return Err(error).with_context(|| format!("reading {}", path.display()));
        }
    };
    let defaults = Defaults {
        root: state_folder(None, environment),
        address: default_address(environment),
    };
    Ok(combine(flags, &read_file(&path, &text)?, &defaults)?)
}

/// Where buildkitd looks for it.
fn configuration_file(environment: &Environment) -> PathBuf {
    let folder = match (
        environment.variable("XDG_CONFIG_HOME"),
        environment.variable("HOME"),
    ) {
        _ if environment.is_root => PathBuf::from("/etc"),
        (Some(folder), _) => PathBuf::from(folder),
        (None, Some(home)) => Path::new(home).join(".config"),
        (None, None) => PathBuf::from("/etc"),
    };
    folder.join("buildkit/buildkitd.toml")
}

/// The socket of a daemon of root, or of one of a user; without a folder for the user's sockets there is the state
/// folder's alone.
fn default_address(environment: &Environment) -> Option<String> {
    if environment.is_root {
        return Some("unix:///run/cooper/cooperd.sock".into());
    }
    let folder = environment.variable("XDG_RUNTIME_DIR")?;
    Some(format!("unix://{folder}/cooper/cooperd.sock"))
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When the state folder or a socket cannot be used.
pub async fn run(options: DaemonOptions, environment: &Environment) -> anyhow::Result<()> {
    let interrupts = Interrupts::listen();
    let root = environment.here.join(&options.root);
    let lock = StateLock::claim(&root)
        .with_context(|| format!("the state folder {}", root.display()))?
        .with_context(|| format!("another process has the state folder {}", root.display()))?;
    // Clients may connect from here on; their calls wait until the engine is ready.
    let own = socket_path(&root);
    let mut sockets = vec![own.clone()];
    let mut listeners = vec![unix_connections(open_socket(&own, &options)?)];
    for address in &options.addresses {
        let file = address.file(&environment.here);
        if file.as_ref() == Some(&own) {
            continue;
        }
        sockets.extend(file);
        listeners.extend(open(address, &options, environment).await?);
    }
    let pages = match &options.debug_address {
        Some(address) => {
            sockets.extend(address.file(&environment.here));
            open_pages(address, environment).await?
        }
        None => Vec::new(),
    };
    // Not for the group: whoever asks here names paths of this machine.
    let image_listener = listen(&image_socket(&root))?;
    let Assembled {
        engine,
        images,
        layers,
    } = assemble(&root, options.engine.clone()).await?;
    let stop = CancellationToken::new();
    let serving = TaskTracker::new();
    let desk = Desk::new(&root, &images, &layers);
    for listener in listeners {
        let (engine, stop, more) = (engine.clone(), stop.clone(), desk.routes());
        serving.spawn(async move {
            let until = stop.clone().cancelled_owned();
            let served = cooper_engine::server::serve_with(engine, listener, more, until);
            if let Err(failure) = served.await {
                tracing::error!(%failure, "a socket failed");
                stop.cancel();
            }
        });
    }
    for connections in pages {
        serving.spawn(serve_pages(connections, engine.clone(), stop.clone()));
    }
    serving.spawn(serve_images(image_listener, images, layers, stop.clone()));
    serving.close();
    let addresses: Vec<_> = options.addresses.iter().map(ToString::to_string).collect();
    tracing::info!(?addresses, own = %own.display(), "serving");
    notify(environment, "READY=1");
    tokio::select! {
        () = interrupts.interrupted() => tracing::info!("told to stop"),
        () = serving.wait() => {}
        () = give_back_at_rest(engine.clone()) => {}
    }
    notify(environment, "STOPPING=1");
    drain(&engine, &interrupts, options.drain).await;
    engine.shutdown().await;
    stop.cancel();
    tokio::select! {
        () = serving.wait() => {}
        () = interrupts.forced() => {}
        () = tokio::time::sleep(FAREWELL) => tracing::debug!("somebody is still connected"),
    }
    sockets.push(image_socket(&root));
    for path in &sockets {
        remove_socket(path);
    }
    drop(lock);
    Ok(())
}

/// Lets builds that run end. Their clients may connect and ask meanwhile, and new builds are refused with the reason.
async fn drain(engine: &Engine, interrupts: &Interrupts, limit: Duration) {
    engine.close();
    tokio::select! {
        () = engine.idle() => {}
        () = interrupts.forced() => tracing::warn!("told to stop again; cancelling builds"),
        () = tokio::time::sleep(limit) => {
            tracing::warn!("builds are still running; cancelling them");
        }
    }
}

fn remove_socket(path: &PathBuf) {
    // One that is gone already needs no removal.
    let _ = fs::remove_file(path);
}
