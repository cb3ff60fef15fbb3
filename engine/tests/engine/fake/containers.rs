use std::sync::Arc;

use async_trait::async_trait;
use cooper_core::model::Failure;
use cooper_core::ports::{ContainerRequest, Containers, HeldContainer};

/// Has no containers.
pub(crate) struct NoContainers;

#[async_trait]
impl Containers for NoContainers {
    async fn create(&self, _: ContainerRequest) -> Result<Arc<dyn HeldContainer>, Failure> {
        Err(Failure::unsupported("a container in a fake world"))
    }
}
