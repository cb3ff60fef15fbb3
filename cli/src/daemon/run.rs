use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
    for name in ["BUILDKITD_DEBUGADDR", "NOTIFY_SOCKET"] {
        if environment.variable(name).is_some() {
            tracing::warn!("{name} is set and not supported yet");
        }
    }
    let root = environment.here.join(&options.root);
    let lock = StateLock::claim(&root)
        .with_context(|| format!("the state folder {}", root.display()))?
        .with_context(|| format!("another process has the state folder {}", root.display()))?;
    // Clients may connect from here on; their calls wait until the engine is ready.
    let own = socket_path(&root);
    let mut sockets = vec![own.clone()];
    let others = options
        .sockets
        .iter()
        .map(|path| environment.here.join(path));
    sockets.extend(others.filter(|path| *path != own));
    let mut listeners = Vec::new();
    for path in &sockets {
        listeners.push(open_socket(path, &options)?);
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
    tracing::info!(sockets = ?sockets, "serving");
    tokio::select! {
        () = interrupts.interrupted() => tracing::info!("told to stop"),
        () = serving.wait() => {}
    }
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

fn open_socket(path: &Path, options: &DaemonOptions) -> anyhow::Result<tokio::net::UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let listener = listen(path)?;
    let group = options.socket_group.as_deref().map(group_id).transpose()?;
    if options.socket_uid.is_some() || group.is_some() {
        std::os::unix::fs::chown(path, options.socket_uid, group)
            .with_context(|| format!("giving {} to its owner", path.display()))?;
    }
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("protecting {}", path.display()))?;
    Ok(listener)
}

/// A group by number or by its name in /etc/group.
fn group_id(text: &str) -> anyhow::Result<u32> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group").context("reading /etc/group")?;
    groups
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let is_ours = fields.next() == Some(text);
            fields.nth(1).filter(|_| is_ours)?.parse().ok()
        })
        .with_context(|| format!("there is no group {text:?}"))
}

fn remove_socket(path: &PathBuf) {
    // One that is gone already needs no removal.
    let _ = fs::remove_file(path);
}
