use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cooper_core::model::{Failure, FailureKind, SessionId};
use cooper_core::ports::{Session, Sessions};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Sessions that are gone and remembered.
const REMEMBERED: usize = 1024;

type Attached = BTreeMap<SessionId, Arc<dyn Session>>;

/// The sessions that are attached now, found by id.
///
/// Made before the worker, which asks it for files and credentials, and before the engine, which attaches to it.
#[derive(Clone)]
pub struct SessionRegistry {
    attached: Arc<Mutex<Attached>>,
    /// Sessions that were here, the last to go at the end. No client comes back under the same id.
    gone: Arc<Mutex<VecDeque<SessionId>>>,
    changed: Arc<watch::Sender<()>>,
    wait: Duration,
}

/// Keeps a session attached; dropping it detaches the session.
#[must_use = "a session is attached only while this lives"]
pub struct Attachment {
    registry: SessionRegistry,
    id: SessionId,
}

impl SessionRegistry {
    /// An empty registry whose lookups wait `wait` for a session that has not attached yet.
    #[must_use]
    pub fn new(wait: Duration) -> Self {
        Self {
            attached: Arc::default(),
            gone: Arc::default(),
            changed: Arc::new(watch::Sender::new(())),
            wait,
        }
    }

    /// Attaches a session.
    ///
    /// # Errors
    /// `InvalidInput` when one of its id is attached already or the id is empty.
    pub fn attach(&self, session: Arc<dyn Session>) -> Result<Attachment, Failure> {
        let id = session.id().clone();
        if id.0.is_empty() {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                "a session needs an id",
            ));
        }
        {
            let mut attached = self.attached.lock();
            if attached.contains_key(&id) {
                return Err(Failure::new(
                    FailureKind::InvalidInput,
                    format!("session {id} is attached already"),
                ));
            }
            attached.insert(id.clone(), session);
        }
        self.gone.lock().retain(|gone| *gone != id);
        self.changed.send_replace(());
        Ok(Attachment {
            registry: self.clone(),
            id,
        })
    }

    /// How many are attached.
    pub(crate) fn count(&self) -> usize {
        self.attached.lock().len()
    }

    fn find(&self, id: &SessionId) -> Option<Arc<dyn Session>> {
        self.attached.lock().get(id).cloned()
    }

    /// The session once it is here, `None` when it was here and is gone.
    async fn wait_for(&self, id: &SessionId) -> Option<Arc<dyn Session>> {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(session) = self.find(id) {
                return Some(session);
            }
            if self.gone.lock().contains(id) {
                return None;
            }
            if changed.changed().await.is_err() {
                unreachable!("the registry that is asked holds the sender");
            }
        }
    }
}

#[async_trait]
impl Sessions for SessionRegistry {
    async fn session(&self, id: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        let missing = |why: &str| {
            Failure::new(
                FailureKind::Infrastructure,
                format!("no active session for {id}: {why}"),
            )
            .with_hint("the client that asked for the build may be gone")
        };
        match tokio::time::timeout(self.wait, self.wait_for(id)).await {
            Ok(Some(session)) => Ok(session),
            Ok(None) => Err(missing("it has ended")),
            Err(_) => Err(missing("context deadline exceeded")),
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.registry.attached.lock().remove(&self.id);
        {
            let mut gone = self.registry.gone.lock();
            gone.push_back(self.id.clone());
            if gone.len() > REMEMBERED {
                gone.pop_front();
            }
        }
        // Who waits for it need wait no longer.
        self.registry.changed.send_replace(());
    }
}

impl std::fmt::Debug for SessionRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionRegistry")
            .field("attached", &self.attached.lock().keys())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Attachment").field(&self.id).finish()
    }
}
