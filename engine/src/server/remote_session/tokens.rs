//! Tokens of registries that the client buys itself (parity sheet D, Auth).

use std::time::Duration;

use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{RegistryToken, TokenQuery};
use cooper_proto::filesync::auth_client::AuthClient;
use cooper_proto::filesync::{
    FetchTokenRequest, GetTokenAuthorityRequest, VerifyTokenAuthorityRequest,
};
use tonic::Code;
use tonic::transport::Channel;

use super::SessionHeaders;
use crate::server::status::failure_from_status;

const AUTHORITY: &str = "/moby.filesync.v1.Auth/GetTokenAuthority";

/// The name that BuildKit's clients expect of who asks for tokens.
const CLIENT_ID: &str = "buildkit-client";

/// Length of an Ed25519 public key.
///
/// # Units
/// Bytes.
const KEY_BYTES: usize = 32;

/// The client's key for a host, if it has one.
pub(super) async fn authority(
    headers: &SessionHeaders,
    channel: Channel,
    host: &str,
    salt: &[u8],
) -> Result<Option<Bytes>, Failure> {
    if !headers.serves(AUTHORITY) {
        return Ok(None);
    }
    let request = GetTokenAuthorityRequest {
        host: host.to_owned(),
        salt: salt.to_vec(),
    };
    match AuthClient::new(channel).get_token_authority(request).await {
        Ok(answer) => {
            let key = answer.into_inner().public_key;
            if key.len() != KEY_BYTES {
                let words = format!("invalid pubkey length {}", key.len());
                return Err(Failure::new(FailureKind::InvalidInput, words));
            }
            Ok(Some(key.into()))
        }
        // The second is how a client says that it was told not to.
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::Unavailable) => Ok(None),
        Err(status) => Err(failure_from_status(&status)),
    }
}

pub(super) async fn sign(
    channel: Channel,
    host: &str,
    salt: &[u8],
    payload: &[u8],
) -> Result<Bytes, Failure> {
    let request = VerifyTokenAuthorityRequest {
        host: host.to_owned(),
        payload: payload.to_vec(),
        salt: salt.to_vec(),
    };
    let mut client = AuthClient::new(channel);
    match client.verify_token_authority(request).await {
        Ok(answer) => Ok(answer.into_inner().signed.into()),
        Err(status) => Err(failure_from_status(&status)),
    }
}

pub(super) async fn fetch(channel: Channel, query: &TokenQuery) -> Result<RegistryToken, Failure> {
    let request = FetchTokenRequest {
        client_id: CLIENT_ID.to_owned(),
        host: query.host.clone(),
        realm: query.realm.clone(),
        service: query.service.clone(),
        scopes: query.scopes.clone(),
    };
    let answer = AuthClient::new(channel).fetch_token(request).await;
    let answer = answer
        .map_err(|status| failure_from_status(&status))?
        .into_inner();
    let known = |seconds: i64| u64::try_from(seconds).ok().filter(|it| *it > 0);
    Ok(RegistryToken {
        life: known(answer.expires_in).map(Duration::from_secs),
        issued: known(answer.issued_at),
        token: answer.token,
    })
}
