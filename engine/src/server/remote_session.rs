mod agent;
mod content;
mod stream;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, SessionId};
use cooper_core::ports::{
    ChunkSource, ClientContent, Credentials, DirFilter, ExportTarget, ExportTargetRequest,
    FoundExporter, LocalDir, RefId, RegistryToken, Session, SshAgent, TokenQuery,
};
use cooper_proto::MAX_MESSAGE_BYTES;
use cooper_proto::filesync::CredentialsRequest;
use cooper_proto::filesync::auth_client::AuthClient;
use cooper_proto::policy_session::policy_verifier_client::PolicyVerifierClient;
use cooper_proto::policy_session::{CheckPolicyRequest, CheckPolicyResponse};
use cooper_proto::secrets::GetSecretRequest;
use cooper_proto::secrets::secrets_client::SecretsClient;
use cooper_proto::session_exporter::exporter_client::ExporterClient;
use cooper_proto::session_exporter::{FinalizeExportRequest, FindExportersRequest};
use cooper_proto::ssh_forward::CheckAgentRequest;
use cooper_proto::ssh_forward::ssh_client::SshClient;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Status};

use self::agent::RemoteAgent;
use self::content::RemoteContent;
use self::stream::{Chunks, Conversation, Packets, Upload};
use super::status::failure_from_status;
use super::tunnel::refused;

const PULL: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const PUSH: &str = "/moby.filesync.v1.FileSend/DiffCopy";
const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const UPLOAD: &str = "/moby.upload.v1.Upload/Pull";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";

/// What a client says of its session when it attaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionHeaders {
    id: SessionId,
    shared_key: String,
    /// Methods that the client serves, in lower case.
    methods: BTreeSet<String>,
}

impl SessionHeaders {
    /// Reads the headers (parity sheet D).
    ///
    /// # Errors
    /// `InvalidInput` without an id.
    pub(super) fn read(metadata: &MetadataMap) -> Result<Self, Failure> {
        let text = |key: &str| {
            let value = metadata.get(key).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let id = text("x-docker-expose-session-uuid");
        if id.is_empty() {
            return Err(refused(
                "a session needs the header X-Docker-Expose-Session-Uuid",
            ));
        }
        let methods = metadata.get_all("x-docker-expose-session-grpc-method");
        Ok(Self {
            id: SessionId(id),
            shared_key: text("x-docker-expose-session-sharedkey"),
            methods: methods
                .iter()
                .filter_map(|value| value.to_str().ok())
                .map(str::to_ascii_lowercase)
                .collect(),
        })
    }

    fn serves(&self, method: &str) -> bool {
        self.methods.contains(&method.to_ascii_lowercase())
    }
}

/// A client behind a connection.
#[derive(Debug)]
pub(super) struct RemoteSession {
    headers: SessionHeaders,
    channel: Channel,
}

impl RemoteSession {
    pub(super) fn new(headers: SessionHeaders, channel: Channel) -> Self {
        Self { headers, channel }
    }

    fn need(&self, method: &str) -> Result<(), Failure> {
        if self.headers.serves(method) {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::NotFound,
            format!("the client's session does not serve {method}"),
        ))
    }
}

#[async_trait]
impl Session for RemoteSession {
    fn id(&self) -> &SessionId {
        &self.headers.id
    }

    fn shared_key(&self) -> &str {
        &self.headers.shared_key
    }

    async fn local_dir(&self, name: &str, filter: &DirFilter) -> Result<LocalDir, Failure> {
        self.need(PULL)?;
        let mut metadata = MetadataMap::new();
        put(&mut metadata, "dir-name", &[name.to_owned()])?;
        put(&mut metadata, "include-patterns", &filter.include_patterns)?;
        put(&mut metadata, "exclude-patterns", &filter.exclude_patterns)?;
        put(&mut metadata, "followpaths", &filter.follow_paths)?;
        let conversation = Conversation::begin(self.channel.clone(), PULL, metadata);
        Ok(LocalDir::Remote(Box::new(Packets(conversation))))
    }

    async fn secret(&self, id: &str) -> Result<Option<Bytes>, Failure> {
        if !self.headers.serves(SECRET) {
            return Ok(None);
        }
        let request = GetSecretRequest {
            id: id.to_owned(),
            ..GetSecretRequest::default()
        };
        let mut client =
            SecretsClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        match client.get_secret(request).await {
            Ok(answer) => Ok(Some(answer.into_inner().data.into())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(failure_from_status(&status)),
        }
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, Failure> {
        if !self.headers.serves(CREDENTIALS) {
            return Ok(None);
        }
        let request = CredentialsRequest {
            host: host.to_owned(),
        };
        let mut client = AuthClient::new(self.channel.clone());
        match client.credentials(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let known = !answer.username.is_empty() || !answer.secret.is_empty();
                Ok(known.then_some(Credentials {
                    username: answer.username,
                    secret: answer.secret,
                }))
            }
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(failure_from_status(&status)),
        }
    }

    async fn token_authority(&self, host: &str, salt: &[u8]) -> Result<Option<Bytes>, Failure> {
        tokens::authority(&self.headers, self.channel.clone(), host, salt).await
    }

    async fn sign_token_authority(
        &self,
        host: &str,
        salt: &[u8],
        payload: &[u8],
    ) -> Result<Bytes, Failure> {
        tokens::sign(self.channel.clone(), host, salt, payload).await
    }

    async fn fetch_token(&self, query: &TokenQuery) -> Result<RegistryToken, Failure> {
        tokens::fetch(self.channel.clone(), query).await
    }

    async fn upload(&self, host: &str, path: &str) -> Result<Box<dyn ChunkSource>, Failure> {
        self.need(UPLOAD)?;
        let mut metadata = MetadataMap::new();
        put(&mut metadata, "urlhost", &[host.to_owned()])?;
        put(&mut metadata, "urlpath", &[path.to_owned()])?;
        let conversation = Conversation::begin(self.channel.clone(), UPLOAD, metadata);
        Ok(Box::new(Upload(conversation.listening())))
    }

    async fn content(&self, store: &str) -> Result<Box<dyn ClientContent>, Failure> {
        self.need(content::METHOD)?;
        let metadata = store_metadata(store)?;
        Ok(Box::new(RemoteContent::new(self.channel.clone(), metadata)))
    }

    async fn ssh_agent(&self, id: &str) -> Result<Box<dyn SshAgent>, Failure> {
        let unknown = || {
            Failure::new(
                FailureKind::NotFound,
                format!("no SSH key {id:?} forwarded from the client"),
            )
        };
        if !self.headers.serves(agent::METHOD) {
            return Err(unknown());
        }
        let request = CheckAgentRequest { id: id.to_owned() };
        let mut client = SshClient::new(self.channel.clone());
        if let Err(status) = client.check_agent(request).await {
            return Err(match status.code() {
                // What the client says of an id that it does not have comes without a code.
                Code::NotFound | Code::Unknown => {
                    Failure::new(FailureKind::NotFound, status.message())
                }
                Code::Unimplemented => unknown(),
                _ => failure_from_status(&status),
            });
        }
        let mut metadata = MetadataMap::new();
        put(&mut metadata, agent::AGENT, &[id.to_owned()])?;
        Ok(Box::new(RemoteAgent::new(self.channel.clone(), metadata)))
    }

    async fn find_exporters(
        &self,
        metadata: &BTreeMap<String, Bytes>,
        refs: &[RefId],
    ) -> Result<Vec<FoundExporter>, Failure> {
        let request = FindExportersRequest {
            metadata: metadata
                .iter()
                .map(|(key, value)| (key.clone(), value.to_vec()))
                .collect(),
            refs: refs.iter().map(|id| id.0.clone()).collect(),
        };
        let mut client =
            ExporterClient::new(self.channel.clone()).max_encoding_message_size(MAX_MESSAGE_BYTES);
        match client.find_exporters(request).await {
            Ok(answer) => Ok(answer
                .into_inner()
                .exporters
                .into_iter()
                .map(|exporter| FoundExporter {
                    kind: exporter.r#type,
                    attributes: exporter.attrs,
                })
                .collect()),
            Err(status) if has_nothing(&status) => Ok(Vec::new()),
            Err(status) => Err(failure_from_status(&status)),
        }
    }

    async fn finalize_export(&self, response: &BTreeMap<String, String>) -> Result<(), Failure> {
        let request = FinalizeExportRequest {
            exporter_response: response.clone(),
        };
        let mut client = ExporterClient::new(self.channel.clone());
        match client.finalize_export(request).await {
            Ok(_) => Ok(()),
            Err(status) if has_nothing(&status) => Ok(()),
            Err(status) => Err(failure_from_status(&status)),
        }
    }

    async fn check_policy(
        &self,
        request: CheckPolicyRequest,
    ) -> Result<CheckPolicyResponse, Failure> {
        let mut client = PolicyVerifierClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let answer = client.check_policy(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| failure_from_status(&status))
    }

    async fn export_target(&self, request: ExportTargetRequest) -> Result<ExportTarget, Failure> {
        self.need(PUSH)?;
        let mut metadata = MetadataMap::new();
        let id = request.exporter.to_string();
        put(&mut metadata, "buildkit-attachable-exporter-id", &[id])?;
        for (key, value) in request.metadata {
            // A key that is a header of its own keeps its name.
            let key = match key.as_str() {
                "buildkit-exporter-multi-platform" => key,
                _ => format!("exporter-md-{}", key.to_ascii_lowercase()),
            };
            put(&mut metadata, &key, &[value])?;
        }
        if request.directory {
            let conversation = Conversation::begin(self.channel.clone(), PUSH, metadata);
            Ok(ExportTarget::RemoteDirectory(Box::new(Packets(
                conversation,
            ))))
        } else {
            let conversation = Conversation::begin(self.channel.clone(), PUSH, metadata);
            Ok(ExportTarget::Stream(Box::new(Chunks(conversation))))
        }
    }
}

/// Whether a client says that it has no say in exports.
fn has_nothing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unimplemented)
}

/// Says which of a client's stores is meant. Stores have no second header that says how a name is escaped.
fn store_metadata(store: &str) -> Result<MetadataMap, Failure> {
    let key = content::STORE;
    if !store.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        // The words are those of gRPC for Go.
        let words =
            format!("header key {key:?} contains value with non-printable ASCII characters");
        let hint = format!("rename {store:?}: the directory's name travels as a header");
        return Err(refused(&words).with_hint(hint));
    }
    let mut metadata = MetadataMap::new();
    append(&mut metadata, key, store)?;
    Ok(metadata)
}

/// Adds values under a key; when one of them is not ASCII all are escaped as in a URL's query, and a second key says so.
fn put(metadata: &mut MetadataMap, key: &str, values: &[String]) -> Result<(), Failure> {
    let escaped = values.iter().any(|value| !value.is_ascii());
    for value in values {
        let value = if escaped {
            escape(value)
        } else {
            value.clone()
        };
        append(metadata, key, &value)?;
    }
    if escaped {
        append(metadata, &format!("{key}-encoded"), "1")?;
    }
    Ok(())
}

fn append(metadata: &mut MetadataMap, key: &str, value: &str) -> Result<(), Failure> {
    let name: MetadataKey<Ascii> = key
        .parse()
        .map_err(|_| refused(&format!("{key:?} cannot be a header")))?;
    let value: MetadataValue<Ascii> = value
        .parse()
        .map_err(|_| refused(&format!("{value:?} cannot be sent as the header {key}")))?;
    metadata.append(name, value);
    Ok(())
}

/// Escapes as Go's `url.QueryEscape` does: letters, digits and `-_.~` stay, a blank becomes `+`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_beyond_ascii_escapes_all_values_of_its_key() {
        let mut metadata = MetadataMap::new();
        let names = ["a b".to_owned(), "grün".to_owned()];
        put(&mut metadata, "include-patterns", &names).expect("fits");
        let values: Vec<_> = metadata.get_all("include-patterns").iter().collect();
        assert_eq!(values, ["a+b", "gr%C3%BCn"]);
        assert_eq!(metadata.get("include-patterns-encoded").expect("set"), "1");
    }

    #[test]
    fn ascii_names_go_as_they_are() {
        let mut metadata = MetadataMap::new();
        put(&mut metadata, "followpaths", &["a b/*".to_owned()]).expect("fits");
        assert_eq!(metadata.get("followpaths").expect("set"), "a b/*");
        assert!(metadata.get("followpaths-encoded").is_none());
    }

    #[test]
    fn a_store_that_no_header_can_name_is_refused() {
        let metadata = store_metadata("local:/a b").expect("fits");
        assert_eq!(metadata.get(content::STORE).expect("set"), "local:/a b");
        let failure = store_metadata("local:/éèç").expect_err("no ASCII");
        let words = "contains value with non-printable ASCII characters";
        assert!(failure.message.contains(words), "{failure}");
    }

    #[test]
    fn methods_are_compared_without_case() {
        let mut metadata = MetadataMap::new();
        append(&mut metadata, "x-docker-expose-session-uuid", "s1").expect("fits");
        append(
            &mut metadata,
            "x-docker-expose-session-grpc-method",
            "/moby.filesync.v1.FileSync/diffcopy",
        )
        .expect("fits");
        let headers = SessionHeaders::read(&metadata).expect("has an id");
        assert!(headers.serves(PULL));
        assert!(!headers.serves(PUSH));
        assert!(SessionHeaders::read(&MetadataMap::new()).is_err());
    }
}
