use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{Digest, oci::Descriptor};
use reqwest::{Method, Response, StatusCode, Url};

use super::{
    attributes::{Attributes, checked_key, escaped},
    azure::{Account, Azure},
    cache::{DOCUMENT_BYTES, Layer, Objects},
    http::{self, Http, Payload},
};
use crate::{distribution::RetryPolicy, exporter::invalid};

/// How often a request is sent at most.
const ATTEMPTS: u32 = 4;

/// A cache in Azure Blob Storage.
pub(super) struct Azblob {
    azure: Azure,
    /// The account's address, with a slash at its end.
    base: Url,
    container: String,
    /// The folder of all layers.
    blobs: String,
    /// Keys of the document; the first is read.
    documents: Vec<String>,
    /// Whether the container was found or made.
    is_ready: tokio::sync::OnceCell<()>,
}

impl Azblob {
    /// Reads a cache's attributes (parity sheet C3).
    ///
    /// # Errors
    /// `InvalidInput` for one that is missing or wrong.
    pub(super) fn read(given: &Attributes<'_>, retry: RetryPolicy) -> Result<Self, Failure> {
        let url = given.or_variable("account_url", "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL");
        let url = url.ok_or_else(|| {
            invalid(
                "either ${BUILDKIT_AZURE_STORAGE_ACCOUNT_URL} or account_url attribute is required for azblob cache",
            )
        })?;
        let mut base = Attributes::url("account_url", &url)?;
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        base.set_query(None);
        base.set_fragment(None);
        let account = given.or_variable("account_name", "BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME");
        let of_host = base.host_str().and_then(|host| host.split('.').next());
        let account = account.unwrap_or_else(|| of_host.unwrap_or_default().to_owned());
        let container = given.or_variable("container", "BUILDKIT_AZURE_STORAGE_CONTAINER");
        let prefix = given.or_variable("prefix", "BUILDKIT_AZURE_STORAGE_PREFIX");
        let folder = |key: &str, otherwise: &str| {
            let parts = [prefix.clone().unwrap_or_default(), given.or(key, otherwise)];
            joined(parts.iter().map(String::as_str))
        };
        let manifests = folder("manifests_prefix", "manifests");
        let names = given.names().into_iter();
        let documents = names.map(|name| checked_key(joined([manifests.as_str(), &name])));
        let blobs = folder("blobs_prefix", "blobs");
        checked_key(format!("{blobs}/x"))?;
        Ok(Self {
            azure: Azure {
                http: Http::new(ATTEMPTS, retry)?,
                account: Some(Account {
                    name: account,
                    key: key(given)?,
                }),
            },
            base,
            container: container.unwrap_or_else(|| "buildkit-cache".to_owned()),
            blobs,
            documents: documents.collect::<Result<_, _>>()?,
            is_ready: tokio::sync::OnceCell::new(),
        })
    }

    fn url(&self, key: &str) -> Result<Url, Failure> {
        let (container, key) = (escaped(&self.container, '-'), escaped(key, '/'));
        let text = format!("{}{container}/{key}", self.base);
        Url::parse(&text).map_err(|error| invalid(&format!("{text:?}: {error}")))
    }

    fn blob_url(&self, digest: &Digest) -> Result<Url, Failure> {
        self.url(&joined([self.blobs.as_str(), digest.as_str()]))
    }

    /// Finds the container, or makes it.
    async fn ready(&self) -> Result<(), Failure> {
        let found = self.is_ready.get_or_try_init(|| async {
            let container = escaped(&self.container, '-');
            let text = format!("{}{container}?restype=container", self.base);
            let url = Url::parse(&text).map_err(|error| invalid(&error.to_string()))?;
            let asked = self.azure.send(Method::GET, &url, &[], Payload::Nothing);
            let answer = asked.await?;
            match answer.status() {
                StatusCode::OK => return Ok(()),
                StatusCode::NOT_FOUND => {}
                _ => return Err(http::refused("GET", answer).await),
            }
            let asked = self.azure.send(Method::PUT, &url, &[], Payload::Nothing);
            let answer = asked.await?;
            match answer.status() {
                StatusCode::CREATED => Ok(()),
                StatusCode::CONFLICT if is_code(&answer, "ContainerAlreadyExists") => Ok(()),
                _ => Err(http::refused("PUT", answer).await),
            }
        });
        found.await.copied()
    }
}

fn is_code(response: &Response, code: &str) -> bool {
    let said = response.headers().get("x-ms-error-code");
    said.is_some_and(|said| said == code)
}

fn key(given: &Attributes<'_>) -> Result<Vec<u8>, Failure> {
    let Some(key) = given.get("secret_access_key") else {
        return Err(invalid("no credentials for azblob cache").with_hint(
            "give secret_access_key, the account's key; identities of machines and services are not asked for",
        ));
    };
    let decoded = STANDARD.decode(key);
    decoded.map_err(|_| invalid("secret_access_key of the azblob cache is not base64"))
}

/// Parts of a key with one slash between them.
fn joined<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let parts = parts.into_iter().flat_map(|part| part.split('/'));
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

#[async_trait]
impl Objects for Azblob {
    fn attempts(&self) -> u32 {
        self.azure.http.attempts()
    }

    fn at_once(&self) -> usize {
        4
    }

    async fn documents(&self) -> Result<Vec<Bytes>, Failure> {
        self.ready().await?;
        let first = self.documents.first().map_or("", String::as_str);
        match self.azure.get(&self.url(first)?, 0).await {
            Ok(response) => Ok(vec![http::bytes(response, DOCUMENT_BYTES).await?]),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    async fn read(&self, blob: &Digest, from: u64) -> Result<Response, Failure> {
        self.azure.get(&self.blob_url(blob)?, from).await
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure> {
        self.ready().await?;
        let url = self.blob_url(&blob.digest)?;
        let asked = self.azure.send(Method::HEAD, &url, &[], Payload::Nothing);
        let answer = asked.await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(http::refused("HEAD", answer).await),
        }
    }

    async fn put(&self, layer: &Layer) -> Result<(), Failure> {
        let url = self.blob_url(&layer.digest)?;
        self.azure.put_layer(&url, layer).await
    }

    async fn put_document(&self, document: Bytes) -> Result<(), Failure> {
        self.ready().await?;
        for key in &self.documents {
            let payload = Payload::Bytes(document.clone());
            self.azure.put(&self.url(key)?, &[], payload).await?;
        }
        Ok(())
    }
}
