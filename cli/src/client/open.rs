use std::path::Path;
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};

use super::build::{BuildRequest, Started};
use super::host::Host;
use super::joined::Joined;
use super::place::Place;
use crate::config::{StateLock, socket_path};
use crate::daemon::EngineSettings;

/// After this time the user is told what is waited for.
const NOTICE: Duration = Duration::from_secs(2);

/// How long a state folder whose owner answers no call is tried. An owner that is about to leave answers no more, and
/// may still wait for the builds of those who joined it.
const PATIENCE: Duration = Duration::from_secs(600);

/// An engine that builds.
pub enum Client {
    /// It runs in this process, which has the state folder.
    Host(Box<Host>),
    /// It runs in another process.
    Joined(Joined),
}

impl Client {
    /// Connects to a daemon, or starts an engine on a state folder or joins the one that another process runs on it.
    ///
    /// # Errors
    /// When the folder cannot be used, or who should answer does not.
    ///
    /// # Cancel
    /// Dropping the future gives up; nothing has begun then.
    pub async fn open(place: &Place, settings: EngineSettings) -> Result<Self, Failure> {
        match place {
            Place::State(folder) => Self::of_folder(folder, settings).await,
            // A daemon has chosen for itself.
            Place::Daemon(_) if settings.runtime.is_some() => {
                let words = "a daemon's runtime is chosen where it is started";
                Err(Failure::new(FailureKind::InvalidInput, words)
                    .with_hint("leave out --runtime and COOPER_RUNTIME"))
            }
            Place::Daemon(endpoint) => Ok(Self::Joined(Joined::connect(endpoint).await?)),
        }
    }

    async fn of_folder(folder: &Path, settings: EngineSettings) -> Result<Self, Failure> {
        let begun = tokio::time::Instant::now();
        let mut noticed = false;
        loop {
            let claimed = StateLock::claim(folder).map_err(|error| unusable(folder, &error))?;
            if let Some(lock) = claimed {
                let host = Host::start(folder, lock, settings).await?;
                return Ok(Self::Host(Box::new(host)));
            }
            // Who has the folder may be about to open its socket, or about to leave.
            match Joined::of_folder(&socket_path(folder)).await {
                Ok(joined) => return Ok(Self::Joined(joined)),
                Err(failure) if begun.elapsed() > PATIENCE => return Err(failure),
                Err(_) => {
                    if begun.elapsed() > NOTICE && !noticed {
                        noticed = true;
                        tracing::warn!("waiting for the process that has {}", folder.display());
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Starts a build.
    ///
    /// # Errors
    /// When nothing of it could begin.
    pub async fn start(&self, request: BuildRequest) -> Result<Started, Failure> {
        match self {
            Self::Host(host) => host.build(request),
            Self::Joined(joined) => joined.build(request).await,
        }
    }

    /// The protocol of BuildKit's daemons, which an engine of this process serves too.
    ///
    /// # Errors
    /// When the socket of this process fails.
    pub async fn wire(&self) -> Result<Joined, Failure> {
        match self {
            Self::Host(host) => Joined::of_folder(host.socket()).await,
            Self::Joined(joined) => Ok(joined.clone()),
        }
    }

    /// Ends an engine of this process after the builds of those who joined it.
    pub async fn close(self) {
        if let Self::Host(host) = self {
            host.close().await;
        }
    }
}

fn unusable(folder: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::new(
        FailureKind::Infrastructure,
        format!(
            "the state folder {} cannot be used: {error}",
            folder.display()
        ),
    );
    failure.with_hint("choose another with --state FOLDER or COOPER_STATE")
}
