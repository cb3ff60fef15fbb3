use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind, JobId};
use cooper_core::policy::Rules;
use cooper_core::ports::{FrontendRequest, Session};
use cooper_engine::Engine;
use cooper_engine::job::{Build, ExporterSpec, SolveSpec};
use futures::FutureExt;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::build::{BuildRequest, Started, Subject};
use crate::attach::ClientSession;
use crate::config::{StateLock, socket_path};
use crate::daemon::{self, Assembled, Desk, EngineSettings, image_socket, serve_images};

/// An engine in this process, served to others that want the same state folder.
pub struct Host {
    engine: Engine,
    serving: TaskTracker,
    stop: CancellationToken,
    sockets: [PathBuf; 2],
    _lock: StateLock,
}

impl Host {
    /// Starts the engine and its socket.
    pub(super) async fn start(
        folder: &Path,
        lock: StateLock,
        settings: EngineSettings,
    ) -> Result<Self, Failure> {
        let Assembled {
            engine,
            images,
            layers,
        } = daemon::assemble(folder, settings).await?;
        let socket = socket_path(folder);
        let listener = listen(&socket)?;
        let stop = CancellationToken::new();
        let serving = TaskTracker::new();
        let until = stop.clone().cancelled_owned();
        let connections = cooper_engine::server::unix_connections(listener);
        let desk = Desk::new(folder, &images, &layers);
        let served =
            cooper_engine::server::serve_with(engine.clone(), connections, desk.routes(), until);
        serving.spawn(served.map(|result| {
            if let Err(failure) = result {
                tracing::error!(%failure, "the socket for other clients failed");
            }
        }));
        let listener = listen(&image_socket(folder))?;
        serving.spawn(serve_images(listener, images, layers, stop.clone()));
        serving.close();
        Ok(Self {
            engine,
            serving,
            stop,
            sockets: [socket, image_socket(folder)],
            _lock: lock,
        })
    }

    /// Starts a build whose files are read in place.
    pub(super) fn build(&self, mut request: BuildRequest) -> Result<Started, Failure> {
        let session: Arc<dyn Session> = Arc::new(ClientSession::new(request.session_parts()));
        let id = session.id().clone();
        let attachment = self.engine.sessions().attach(session)?;
        let build = match request.subject {
            Subject::Definition(definition) => Build::Definition(definition),
            Subject::Frontend(name) => Build::Frontend {
                name,
                request: FrontendRequest {
                    options: request.plan.options,
                    session: id.0.clone(),
                    ..FrontendRequest::default()
                },
            },
        };
        if request.proxy_network {
            return Err(Failure::unsupported(
                "the recording proxy (--proxy-network) without a daemon",
            ));
        }
        let mut spec = SolveSpec::new(JobId(request.reference), build);
        spec.exporters = request
            .plan
            .outputs
            .into_iter()
            .map(|output| ExporterSpec {
                kind: output.kind,
                attributes: output.attributes,
            })
            .collect();
        spec.cache_imports = request.plan.caches.imports;
        spec.cache_exports = request.plan.caches.exports;
        spec.sessions = vec![id];
        spec.entitlements = request.plan.entitlements;
        spec.source_rules = Rules::read(request.source_policy.into_iter().collect())?;
        let running = self.engine.start(spec)?;
        let progress = running.progress();
        let cancel = running.canceller();
        let outcome = async move {
            let outcome = running.outcome().await;
            // The session answers until the last exporter is done.
            drop(attachment);
            outcome.result
        };
        Ok(Started {
            progress,
            outcome: outcome.boxed(),
            cancel,
        })
    }

    /// The socket that it is served on.
    pub(super) fn socket(&self) -> &Path {
        let [socket, _] = &self.sockets;
        socket
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether others use the engine.
    pub(super) async fn close(self) {
        // Nobody finds the sockets any more; who holds a connection keeps it to the end of its build.
        for socket in &self.sockets {
            let _ = fs::remove_file(socket);
        }
        self.stop.cancel();
        self.serving.wait().await;
        self.engine.shutdown().await;
    }
}

/// Listens where an earlier owner, which is gone since we have the lock, may have left its socket.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(
            FailureKind::Infrastructure,
            format!("cannot listen on {}: {error}", path.display()),
        )
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    UnixListener::bind(path).map_err(cannot)
}
