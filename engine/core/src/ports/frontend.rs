use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_proto::pb;

use super::bridge::{Bridge, RefId};
use crate::model::{Attestation, Failure};

/// Turns what a user wrote into results, by asking a [`Bridge`].
#[async_trait]
pub trait Frontend: Send + Sync {
    /// Name by which requests choose it, such as `dockerfile.v0`.
    fn name(&self) -> &str;

    /// Converts a request.
    ///
    /// # Cancel
    /// Dropping the future abandons the conversion; what it asked for is the engine's to stop.
    async fn solve(
        &self,
        bridge: Arc<dyn Bridge>,
        request: FrontendRequest,
    ) -> Result<FrontendResult, Failure>;
}

/// What a client asks of a frontend.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FrontendRequest {
    /// Options (parity sheet A8).
    pub options: BTreeMap<String, String>,
    /// Definitions that the client offers by name.
    pub inputs: BTreeMap<String, pb::Definition>,
    /// Id of the client's session, put into local sources.
    pub session: String,
}

/// What a frontend made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrontendResult {
    /// One part a platform; a single part without a platform id for a plain result.
    pub parts: Vec<FrontendPart>,
    /// Keys as parity sheet A8 lists them, such as `containerimage.config` and `refs.platforms`.
    pub metadata: BTreeMap<String, Bytes>,
    /// Statements about the parts, by their platforms' ids in `refs.platforms`; a statement's words are in a result.
    pub attestations: BTreeMap<String, Vec<Attestation<Option<RefId>>>>,
}

/// One platform's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontendPart {
    /// Platform id such as `linux/arm64`, `None` for a result that is not a map.
    pub platform: Option<String>,
    /// The result, `None` when it is empty.
    pub result: Option<RefId>,
}
