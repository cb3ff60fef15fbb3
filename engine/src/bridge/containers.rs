use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{
    ContainerRequest, HeldContainer, HeldProcess, ProcessInput, ProcessRequest,
};
use cooper_proto::frontend::{InitMessage, NewContainerRequest};
use cooper_proto::pb;
use parking_lot::Mutex;

use super::BuildBridge;

/// The containers that one frontend holds open, by the ids that it chose.
#[derive(Default)]
pub(crate) struct HeldContainers {
    /// `None` while one is made.
    open: Mutex<BTreeMap<String, Option<Held>>>,
}

impl HeldContainers {
    /// Makes a container.
    ///
    /// # Errors
    /// `InvalidInput` for an id that is none or in use, `NotFound` for a mount's result that the build does not have.
    ///
    /// # Cancel
    /// Dropping the future leaves nothing.
    pub(crate) async fn create(
        &self,
        bridge: &BuildBridge,
        request: NewContainerRequest,
    ) -> Result<(), Failure> {
        check_id(&request.container_id)?;
        let limit = bridge.parts().limits.containers_per_frontend;
        let place = self.reserve(&request.container_id, limit)?;
        let wanted = container_request(bridge, request).await?;
        let network = wanted.network;
        let container = bridge.parts().containers.create(wanted).await?;
        place.fill(Held {
            container,
            network,
            is_begun: Arc::default(),
        });
        Ok(())
    }

    /// A container.
    ///
    /// # Errors
    /// `NotFound` when the frontend holds none of the id.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<dyn HeldContainer>, Failure> {
        Ok(self.held(id)?.container)
    }

    /// Whether the first program of a container was started, beside which others run.
    ///
    /// # Errors
    /// `NotFound` when the frontend holds none of the id.
    pub(crate) fn is_begun(&self, id: &str) -> Result<bool, Failure> {
        Ok(self.held(id)?.is_begun.load(Ordering::Acquire))
    }

    fn held(&self, id: &str) -> Result<Held, Failure> {
        let container = self.open.lock().get(id).cloned().flatten();
        container.ok_or_else(|| {
            Failure::new(
                FailureKind::NotFound,
                format!("container {id:?} previously released or not created"),
            )
        })
    }

    /// Starts a program in one of the containers.
    ///
    /// # Errors
    /// `Denied` for rights that the build does not have, and what the container has against it.
    pub(crate) async fn start(
        &self,
        bridge: &BuildBridge,
        init: InitMessage,
    ) -> Result<Arc<dyn HeldProcess>, Failure> {
        let Held {
            container,
            network,
            is_begun,
        } = self.held(&init.container_id)?;
        // Where BuildKit looks: a container in which nothing runs harms nobody.
        bridge.job().entitlements.check_network(network)?;
        bridge.job().entitlements.check_security(init.security)?;
        let input = match (init.tty, init.fds.contains(&0)) {
            (true, _) => ProcessInput::Terminal,
            (false, true) => ProcessInput::Pipe,
            (false, false) => ProcessInput::Nothing,
        };
        let request = ProcessRequest {
            meta: init.meta.unwrap_or_default(),
            secrets: init.secretenv,
            security: init.security,
            input,
        };
        let process = container.start(request).await?;
        is_begun.store(true, Ordering::Release);
        Ok(process)
    }

    /// Ends a container.
    ///
    /// # Errors
    /// `NotFound` when the frontend holds none of the id, `Cancelled` when something still ran in it.
    pub(crate) async fn release(&self, id: &str) -> Result<(), Failure> {
        let container = self.get(id)?;
        self.open.lock().remove(id);
        container.release().await
    }

    /// Ends all containers.
    pub(crate) async fn release_all(&self) {
        let all = std::mem::take(&mut *self.open.lock());
        let all: Vec<_> = all.into_values().flatten().collect();
        // What still ran is gone, which is all that is wanted.
        let _ran = futures::future::join_all(all.iter().map(|it| it.container.release())).await;
    }

    fn reserve(&self, id: &str, limit: usize) -> Result<Place<'_>, Failure> {
        let mut open = self.open.lock();
        if open.contains_key(id) {
            return Err(invalid(format!("Container {id} already exists")));
        }
        if open.len() >= limit {
            return Err(invalid(format!(
                "the frontend holds {limit} containers, which is all that one may"
            )));
        }
        open.insert(id.to_owned(), None);
        Ok(Place {
            all: self,
            id: id.to_owned(),
        })
    }
}

impl fmt::Debug for HeldContainers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.open.lock().keys()).finish()
    }
}

#[derive(Clone)]
struct Held {
    container: Arc<dyn HeldContainer>,
    /// A `pb::NetMode`.
    network: i32,
    is_begun: Arc<AtomicBool>,
}

/// An id that nobody else can take; free again unless it is filled.
struct Place<'a> {
    all: &'a HeldContainers,
    id: String,
}

impl Place<'_> {
    fn fill(&self, container: Held) {
        let mut open = self.all.open.lock();
        open.insert(self.id.clone(), Some(container));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut open = self.all.open.lock();
        if matches!(open.get(&self.id), Some(None)) {
            open.remove(&self.id);
        }
    }
}

/// Longest id of a container, in bytes.
const MAX_ID: usize = 128;

/// Ids are letters and digits (CVE-2026-33747): whatever is named by one stays where it should be.
fn check_id(id: &str) -> Result<(), Failure> {
    let is_good =
        !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_good {
        return Ok(());
    }
    Err(invalid(format!(
        "invalid container id {:?}: only letters and numbers are allowed",
        id.chars().take(MAX_ID).collect::<String>()
    )))
}

async fn container_request(
    bridge: &BuildBridge,
    request: NewContainerRequest,
) -> Result<ContainerRequest, Failure> {
    let mut mounts = request.mounts;
    let mut inputs = Vec::new();
    for mount in &mut mounts {
        mount.input = -1;
        if mount.result_id.is_empty() {
            continue;
        }
        let found = bridge.state(&mount.result_id).await;
        let state = found.map_err(|mut failure| {
            failure.message = format!(
                "failed to find ref {} for {:?} mount: {}",
                mount.result_id, mount.dest, failure.message
            );
            failure
        })?;
        mount.input = i64::try_from(inputs.len()).unwrap_or(-1);
        inputs.push(state);
    }
    Ok(ContainerRequest {
        mounts,
        inputs,
        network: request.network,
        platform: request.platform.filter(|it| *it != pb::Platform::default()),
        extra_hosts: request.extra_hosts,
        hostname: request.hostname,
        sessions: bridge.job().sessions.clone(),
    })
}

fn invalid(words: String) -> Failure {
    Failure::new(FailureKind::InvalidInput, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    // T-A7
    #[test]
    fn an_id_is_letters_and_digits() {
        let long = "a".repeat(300);
        for id in ["../x", "a/b", "", &long, "a\0b", "abc-123", ".", "ä"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        assert!(check_id("q0zvw8r0qgdxx1sp5hz9x2qnr").is_ok());
    }
}
