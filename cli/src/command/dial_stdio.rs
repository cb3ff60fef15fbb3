//! `cooper dial-stdio`: what clients elsewhere run beside a daemon, through ssh or a container's exec.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncWriteExt, stdin, stdout};
use tokio::net::UnixStream;

use super::follow::write_error;
use super::{FAILED, OK};
use crate::client::{DaemonAddress, Place};
use crate::config::socket_path;

/// Where cooperd listens when it is told nothing else.
const COOPERD: &str = "/run/cooper/cooperd.sock";

/// Where buildkitd does.
const BUILDKITD: &str = "/run/buildkit/buildkitd.sock";

/// Copies until the daemon says no more, and says how to exit.
pub(super) async fn run(place: &Place) -> u8 {
    let socket = match place {
        Place::State(folder) => nearest(folder),
        Place::Daemon(endpoint) => match &endpoint.address {
            DaemonAddress::Unix(path) => path.clone(),
            other => {
                write_error(&format!(
                    "ERROR: {other} is not beside this program: only unix:// can be dialled\n"
                ));
                return FAILED;
            }
        },
    };
    match copy(&socket).await {
        Ok(()) => OK,
        Err(error) => {
            write_error(&format!("ERROR: {}: {error}\n", socket.display()));
            FAILED
        }
    }
}

/// The first socket that is there: the state folder's, or one where daemons usually listen.
fn nearest(folder: &Path) -> PathBuf {
    let sockets = [socket_path(folder), COOPERD.into(), BUILDKITD.into()];
    let [own, ..] = &sockets;
    let found = sockets.iter().find(|socket| socket.exists());
    found.unwrap_or(own).clone()
}

async fn copy(socket: &Path) -> io::Result<()> {
    let (mut from, mut to) = UnixStream::connect(socket).await?.into_split();
    let forth = async {
        tokio::io::copy(&mut stdin(), &mut to).await?;
        to.shutdown().await
    };
    let back = async {
        tokio::io::copy(&mut from, &mut stdout()).await?;
        stdout().flush().await
    };
    tokio::pin!(back);
    tokio::select! {
        // Nobody closes a terminal's input.
        ended = &mut back => ended,
        sent = forth => {
            sent?;
            back.await
        }
    }
}
