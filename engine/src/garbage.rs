use std::sync::Arc;
use std::time::Duration;

use cooper_core::ports::Storage;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long after a build garbage is collected (parity sheet C1).
const DELAY: Duration = Duration::from_secs(1);

/// At least so long is between two collections (parity sheet C1).
const INTERVAL: Duration = Duration::from_secs(60);

/// Collects garbage after builds, until the engine stops.
pub(crate) struct GarbageCollection {
    pub(crate) storage: Arc<dyn Storage>,
    /// Told when a build has ended.
    pub(crate) wanted: Arc<Notify>,
    pub(crate) stopping: CancellationToken,
}

impl GarbageCollection {
    /// Runs until the engine stops. What an earlier process left is collected first.
    pub(crate) async fn run(self) {
        let stopping = self.stopping.clone();
        stopping
            .run_until_cancelled(self.collect_again_and_again())
            .await;
    }

    async fn collect_again_and_again(self) {
        loop {
            tokio::time::sleep(DELAY).await;
            if let Err(failure) = self.storage.collect().await {
                tracing::warn!(%failure, "garbage could not be collected");
            }
            tokio::time::sleep(INTERVAL).await;
            self.wanted.notified().await;
        }
    }
}
