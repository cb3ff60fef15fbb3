//! Against Debian's docker-registry and against fakes that misbehave on purpose.

mod auth;
mod bought;
pub(crate) mod fake;
mod faults;
mod pull;
mod push;
pub(crate) mod registry;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cooper_core::{model::Failure, ports::Credentials};

use super::{Distribution, DistributionConfig, Keychain, RepositoryName, RetryPolicy};
use crate::{content::ContentStore, limits::Limits};

/// A keychain with one password for every host, which remembers who was asked about.
#[derive(Default)]
pub(super) struct Password {
    pub(super) username: &'static str,
    pub(super) secret: &'static str,
}

#[async_trait]
impl Keychain for Password {
    fn identity(&self) -> String {
        self.username.into()
    }

    async fn credentials(&self, _host: &str) -> Result<Option<Credentials>, Failure> {
        Ok(Some(Credentials {
            username: self.username.into(),
            secret: self.secret.into(),
        }))
    }
}

pub(super) fn password() -> Arc<dyn Keychain> {
    Arc::new(Password {
        username: "me",
        secret: "CANARY",
    })
}

pub(super) fn anonymous() -> Arc<dyn Keychain> {
    Arc::new(super::Anonymous)
}

/// Settings that wait as little as possible.
pub(crate) fn quick() -> DistributionConfig {
    DistributionConfig {
        retry: RetryPolicy {
            attempts: 8,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(5),
            longest_obeyed: Duration::from_secs(2),
        },
        ..DistributionConfig::default()
    }
}

pub(super) fn distribution() -> Distribution {
    Distribution::new(quick()).unwrap()
}

pub(super) fn name(registry: &str, path: &str) -> RepositoryName {
    RepositoryName {
        registry: registry.into(),
        path: path.into(),
    }
}

pub(super) fn store() -> (tempfile::TempDir, ContentStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path(), &Limits::default()).unwrap();
    (dir, store)
}
