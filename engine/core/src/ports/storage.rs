use async_trait::async_trait;

use crate::model::{Failure, PruneRule, UsageRecord};

/// What a worker keeps beyond builds, and how it is let go.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Everything that is kept and could be removed, in a stable order.
    ///
    /// # Errors
    /// `Infrastructure` when it cannot be looked at.
    async fn usage(&self) -> Result<Vec<UsageRecord>, Failure>;

    /// Removes what a rule says, with the cache records and blobs that nothing needs afterwards, and tells what went.
    /// What builds that are under way may be about to use stays for a later call.
    ///
    /// # Errors
    /// `Infrastructure` when removing fails; what went until then is gone.
    async fn prune(&self, rule: PruneRule) -> Result<Vec<UsageRecord>, Failure>;

    /// Applies the worker's own rules, one after another, and removes what nothing needs.
    ///
    /// # Errors
    /// As [`Storage::prune`].
    async fn collect(&self) -> Result<(), Failure>;

    /// The worker's own rules.
    fn rules(&self) -> Vec<PruneRule>;
}
