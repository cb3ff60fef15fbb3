use std::sync::Arc;

use async_trait::async_trait;
use cooper_core::model::Failure;
use cooper_core::ports::{Bridge, Frontend, FrontendRequest, FrontendResult};
use futures::future::BoxFuture;

type Convert = dyn Fn(Arc<dyn Bridge>, FrontendRequest) -> BoxFuture<'static, Result<FrontendResult, Failure>>
    + Send
    + Sync;

/// A frontend that is a closure.
pub(crate) struct FakeFrontend {
    name: &'static str,
    convert: Box<Convert>,
}

impl FakeFrontend {
    pub(crate) fn new<F>(
        name: &'static str,
        convert: impl Fn(Arc<dyn Bridge>, FrontendRequest) -> F + Send + Sync + 'static,
    ) -> Arc<Self>
    where
        F: Future<Output = Result<FrontendResult, Failure>> + Send + 'static,
    {
        Arc::new(Self {
            name,
            convert: Box::new(move |bridge, request| Box::pin(convert(bridge, request))),
        })
    }
}

#[async_trait]
impl Frontend for FakeFrontend {
    fn name(&self) -> &str {
        self.name
    }

    async fn solve(
        &self,
        bridge: Arc<dyn Bridge>,
        request: FrontendRequest,
    ) -> Result<FrontendResult, Failure> {
        (self.convert)(bridge, request).await
    }
}
