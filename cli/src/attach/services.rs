use std::pin::Pin;
use std::sync::Arc;

use cooper_core::model::Failure;
use cooper_core::ports::{DirFilter, Session};
use cooper_engine::server::status_from_failure;
use cooper_proto::filesync::auth_server::Auth;
use cooper_proto::filesync::file_sync_server::FileSync;
use cooper_proto::filesync::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
    GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
    VerifyTokenAuthorityResponse,
};
use cooper_proto::fsutil::Packet;
use cooper_proto::secrets::secrets_server::Secrets;
use cooper_proto::secrets::{GetSecretRequest, GetSecretResponse};
use cooper_worker::confine::Root;
use cooper_worker::fsync::{self, SyncError, Tree};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::packets::ServedPackets;
use super::session::ClientSession;

type Packets = Pin<Box<dyn futures::Stream<Item = Result<Packet, Status>> + Send>>;

/// Answers what a daemon asks a session.
#[derive(Clone, Debug)]
pub(super) struct SessionServices {
    pub(super) session: Arc<ClientSession>,
    /// Owns the transfers; they end when their call does.
    pub(super) transfers: TaskTracker,
}

#[tonic::async_trait]
impl FileSync for SessionServices {
    type DiffCopyStream = Packets;
    type TarStreamStream = Packets;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Packets>, Status> {
        let metadata = request.metadata();
        let name = values(metadata, "dir-name").into_iter().next();
        let filter = DirFilter {
            include_patterns: values(metadata, "include-patterns"),
            exclude_patterns: values(metadata, "exclude-patterns"),
            follow_paths: values(metadata, "followpaths"),
        };
        let folder = self.session.folder(name.as_deref().unwrap_or_default());
        let folder = folder.map_err(|failure| status_from_failure(&failure))?;
        let folder = folder.to_path_buf();
        let (mut packets, answers) = ServedPackets::new(request.into_inner());
        self.transfers.spawn(async move {
            let tree = move || Ok(Tree::new(Root::open(&folder)?, &filter)?.owned_by_root());
            let tree: Result<Tree, SyncError> = tree();
            let sent = match tree {
                Ok(tree) => fsync::send(&mut packets, tree, &mut |_| {}).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                packets
                    .fail(status_from_failure(&Failure::from(error)))
                    .await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn tar_stream(
        &self,
        _request: Request<Streaming<Packet>>,
    ) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented("TarStream is not supported yet"))
    }
}

#[tonic::async_trait]
impl Secrets for SessionServices {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        match self.session.secret(&id).await {
            Ok(Some(data)) => Ok(Response::new(GetSecretResponse { data: data.into() })),
            Ok(None) => Err(Status::not_found(format!("secret {id} not found"))),
            Err(failure) => Err(status_from_failure(&failure)),
        }
    }
}

#[tonic::async_trait]
impl Auth for SessionServices {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let found = self.session.credentials(&host).await;
        let found = found.map_err(|failure| status_from_failure(&failure))?;
        let credentials = found.unwrap_or_default();
        Ok(Response::new(CredentialsResponse {
            username: credentials.username,
            secret: credentials.secret,
        }))
    }

    // A daemon that finds these unimplemented asks for credentials and fetches tokens itself (parity sheet D).

    async fn fetch_token(
        &self,
        _request: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("FetchToken is not supported yet"))
    }

    async fn get_token_authority(
        &self,
        _request: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        let words = "GetTokenAuthority is not supported yet";
        Err(Status::unimplemented(words))
    }

    async fn verify_token_authority(
        &self,
        _request: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        let words = "VerifyTokenAuthority is not supported yet";
        Err(Status::unimplemented(words))
    }
}

/// The values of a key; when a second key says that they are escaped as in a URL's query, without the escapes.
fn values(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let escaped = metadata
        .get(format!("{key}-encoded"))
        .is_some_and(|value| value == "1");
    let read = metadata.get_all(key).iter();
    let texts = read.filter_map(|value| value.to_str().ok());
    texts
        .map(|text| {
            if escaped {
                unescape(text)
            } else {
                text.to_owned()
            }
        })
        .collect()
}

/// Undoes Go's `url.QueryEscape`.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let code = bytes
            .get(index + 1..index + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                out.push(code);
                index += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(*other),
        }
        index += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_values_are_read_as_they_were_meant() {
        let mut metadata = MetadataMap::new();
        metadata.append("followpaths", "a+b".parse().unwrap());
        assert_eq!(values(&metadata, "followpaths"), ["a+b"]);
        metadata.append("followpaths", "gr%C3%BCn%".parse().unwrap());
        metadata.append("followpaths-encoded", "1".parse().unwrap());
        assert_eq!(values(&metadata, "followpaths"), ["a b", "grün%"]);
        assert_eq!(values(&metadata, "other"), [""; 0]);
    }
}
