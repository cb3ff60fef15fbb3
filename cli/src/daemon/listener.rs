//! Sockets on which a daemon is reached.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context as _;
use cooper_engine::server::{Connection, Connections, connections, unix_connections};
use futures::StreamExt;
use rustix::net::AddressFamily;
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;

use super::address::Address;
use super::options::DaemonOptions;
use super::secure::{TlsFiles, acceptor, handshake};
use crate::client::listen;
use crate::config::Environment;

/// Clients that shake hands at the same time; more wait at the door.
const HANDSHAKES: usize = 256;

/// The first descriptor that systemd hands over.
const FIRST_INHERITED: i32 = 3;

/// Opens an address.
///
/// # Errors
/// When it cannot be had.
pub(super) async fn open(
    address: &Address,
    options: &DaemonOptions,
    environment: &Environment,
) -> anyhow::Result<Vec<Connections>> {
    match address {
        Address::Unix(path) => {
            let listener = open_socket(&environment.here.join(path), options)?;
            Ok(vec![unix_connections(listener)])
        }
        Address::Tcp(place) => {
            let listener = bind(place).await?;
            if options.tls.is_none() {
                tracing::warn!(%address, "anybody who reaches this address commands this daemon: TLS is off");
            }
            Ok(vec![tcp(listener, options.tls.as_ref())?])
        }
        Address::Inherited(which) => inherited(which, environment)?
            .into_iter()
            .map(|descriptor| of_descriptor(descriptor, options))
            .collect(),
    }
}

/// A socket of the file system, for its owner and perhaps a group.
pub(super) fn open_socket(path: &Path, options: &DaemonOptions) -> anyhow::Result<UnixListener> {
    let group = options.socket_group.as_deref().map(group_id).transpose()?;
    open_private(path, options.socket_uid, group)
}

fn open_private(
    path: &Path,
    owner: Option<u32>,
    group: Option<u32>,
) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let listener = listen(path)?;
    if owner.is_some() || group.is_some() {
        std::os::unix::fs::chown(path, owner, group)
            .with_context(|| format!("giving {} to its owner", path.display()))?;
    }
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("protecting {}", path.display()))?;
    Ok(listener)
}

/// Opens the address of pages about the daemon, for its owner alone; buildkitd has no TLS there either.
///
/// # Errors
/// When it cannot be had.
pub(super) async fn open_pages(
    address: &Address,
    environment: &Environment,
) -> anyhow::Result<Vec<Connections>> {
    Ok(match address {
        Address::Unix(path) => {
            let path = environment.here.join(path);
            vec![unix_connections(open_private(&path, None, None)?)]
        }
        Address::Tcp(place) => vec![tcp(bind(place).await?, None)?],
        Address::Inherited(_) => {
            anyhow::bail!("--debugaddr={address}: only tcp:// and unix:// are taken")
        }
    })
}

async fn bind(place: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(place).await;
    listener.with_context(|| format!("listening on tcp://{place}"))
}

fn tcp(listener: TcpListener, tls_files: Option<&TlsFiles>) -> anyhow::Result<Connections> {
    let Some(files) = tls_files else {
        return Ok(connections(listener, |listener| {
            Box::pin(async move {
                let accepted = listener.accept().await;
                (
                    accepted.map(|(stream, _)| Connection::new(stream)),
                    listener,
                )
            })
        }));
    };
    Ok(tls(listener, acceptor(files)?))
}

/// Connections whose hands are shaken beside each other, so that a slow client holds up nobody.
fn tls(listener: TcpListener, acceptor: TlsAcceptor) -> Connections {
    let (shaken, ready) = mpsc::channel(HANDSHAKES);
    let accepting = async move {
        // Its tasks end when their clients do, or in time.
        let shaking = TaskTracker::new();
        loop {
            let Ok(room) = shaken.clone().reserve_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let acceptor = acceptor.clone();
                    shaking.spawn(async move {
                        match handshake(acceptor, stream).await {
                            Ok(connection) => drop(room.send(Ok(connection))),
                            Err(error) => tracing::debug!(%from, %error, "a client was not taken"),
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    };
    // Accepting goes on only while somebody asks for connections.
    let accepting = futures::stream::once(accepting).filter_map(|()| futures::future::ready(None));
    futures::stream::select(ReceiverStream::new(ready), accepting).boxed()
}

fn of_descriptor(descriptor: OwnedFd, options: &DaemonOptions) -> anyhow::Result<Connections> {
    rustix::io::ioctl_fionbio(&descriptor, true).context("an inherited socket")?;
    let family = rustix::net::getsockname(&descriptor)
        .context("an inherited descriptor is no socket")?
        .address_family();
    match family {
        AddressFamily::UNIX => {
            let listener = UnixListener::from_std(descriptor.into())?;
            Ok(unix_connections(listener))
        }
        AddressFamily::INET | AddressFamily::INET6 => {
            let listener = TcpListener::from_std(descriptor.into())?;
            tcp(listener, options.tls.as_ref())
        }
        _ => anyhow::bail!("an inherited socket is of a kind that nobody can listen on"),
    }
}

/// The sockets that systemd hands over (sd_listen_fds(3)).
fn inherited(which: &str, environment: &Environment) -> anyhow::Result<Vec<OwnedFd>> {
    let text = |name: &str| environment.variable(name).unwrap_or_default();
    let own = rustix::process::getpid();
    let for_us = text("LISTEN_PID") == own.as_raw_nonzero().to_string();
    let count: i32 = text("LISTEN_FDS").parse().unwrap_or(0);
    anyhow::ensure!(
        for_us && count > 0,
        "fd://{which}: this process was handed no socket (LISTEN_FDS, LISTEN_PID)"
    );
    let names = text("LISTEN_FDNAMES");
    let names: Vec<_> = names.split(':').collect();
    let process = rustix::process::pidfd_open(own, PidfdFlags::empty())?;
    let mut found = Vec::new();
    for number in 0..count {
        let raw = FIRST_INHERITED + number;
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let is_wanted = which.is_empty()
            || which == raw.to_string()
            || names.get(place).is_some_and(|name| *name == which);
        if is_wanted {
            // A copy that no child inherits.
            let copied = rustix::process::pidfd_getfd(&process, raw, PidfdGetfdFlags::empty());
            found.push(copied.with_context(|| format!("the inherited descriptor {raw}"))?);
        }
    }
    anyhow::ensure!(
        !found.is_empty(),
        "fd://{which}: no socket of that name was handed over"
    );
    Ok(found)
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

/// Tells systemd how the daemon is (sd_notify(3)); without systemd this does nothing.
pub(super) fn notify(environment: &Environment, state: &str) {
    let Some(path) = environment.variable("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(path, state) {
        tracing::warn!(%error, "systemd could not be told {state}");
    }
}

fn send(path: &str, state: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}
