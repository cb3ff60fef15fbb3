use std::sync::Arc;

use async_trait::async_trait;
use cooper_core::model::Failure;
use cooper_core::ports::{ContainerRequest, Containers, HeldContainer};

use super::LocalWorker;
use super::run::unheard;

#[async_trait]
impl Containers for LocalWorker {
    async fn create(&self, request: ContainerRequest) -> Result<Arc<dyn HeldContainer>, Failure> {
        for input in request.inputs.iter().filter(|input| !input.is_scratch()) {
            self.image_source
                .ensure(input, &request.sessions, &unheard())
                .await?;
        }
        self.exec.hold(request).await
    }
}
