use std::collections::BTreeMap;

use cooper_core::model::SessionId;
use cooper_core::ports::Sessions;

use super::binds::cache_name;
use super::request::{ExecRequest, MountKind};
use super::secrets::Secrets;
use super::ssh::{Agents, find_agents};
use super::stop::Stop;
use crate::mount::{CacheLease, CacheMounts, Sharing};

/// What an op has to wait for before anything of it exists.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) secrets: Secrets,
    pub(super) agents: Agents,
    /// The right to use the op's cache mounts, by name.
    pub(super) leases: BTreeMap<String, CacheLease>,
}

impl Gathered {
    /// Asks the sessions, the best first, and waits for cache mounts that others hold.
    ///
    /// # Cancel
    /// Dropping the future takes nothing.
    pub(super) async fn wait(
        request: &ExecRequest,
        cache_mounts: &CacheMounts,
        sessions: &dyn Sessions,
        ids: &[SessionId],
    ) -> Result<Self, Stop> {
        Ok(Self {
            secrets: Secrets::load(request, sessions, ids).await?,
            agents: find_agents(request, sessions, ids).await?,
            leases: lease(request, cache_mounts).await,
        })
    }
}

/// Two mounts of one name in one op share a directory; names are taken in one order by all, so that two ops that lock the
/// same two wait for each other only one way.
async fn lease(request: &ExecRequest, cache_mounts: &CacheMounts) -> BTreeMap<String, CacheLease> {
    let mut wanted: BTreeMap<String, Sharing> = BTreeMap::new();
    for mount in &request.mounts {
        if let MountKind::Cache { sharing, .. } = &mount.kind {
            wanted.entry(cache_name(mount)).or_insert(*sharing);
        }
    }
    let mut leases = BTreeMap::new();
    for (name, sharing) in wanted {
        let lease = cache_mounts.lease(&name, sharing).await;
        leases.insert(name, lease);
    }
    leases
}
