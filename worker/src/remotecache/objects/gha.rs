use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{Digest, oci::Descriptor};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    attributes::Attributes,
    azure::Azure,
    cache::{DOCUMENT_BYTES, Layer, Objects},
    http::{self, Http, Payload, Request, value},
};
use crate::{distribution::RetryPolicy, exporter::invalid};

/// How often a request is sent at most.
const ATTEMPTS: u32 = 8;

/// How long a server's wish to wait is heard when a client says nothing of it.
const TIMEOUT: Duration = Duration::from_secs(600);

/// How long somebody else who writes the same cache is waited for.
const OTHERS: Duration = Duration::from_secs(15);

/// How long between two looks at whether they are done.
const PAUSE: Duration = Duration::from_secs(2);

/// How many numbers of a document are tried that somebody took and did not use.
const TAKEN: u64 = 100;

/// A cache in the service behind `actions/cache`, in its second version.
pub(super) struct Gha {
    http: Http,
    azure: Azure,
    base: Url,
    token: String,
    /// What the token lets its bearer see.
    branches: Vec<Branch>,
    scope: String,
    pub(super) pause: Duration,
}

/// A branch whose cache a token opens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Branch {
    scope: String,
    permission: u32,
}

/// Permission to write, as tokens say it.
const WRITE: u32 = 2;

/// What the service has of an entry.
struct Entry {
    key: String,
    url: Url,
}

impl Gha {
    /// Reads a cache's attributes (parity sheet C3).
    ///
    /// # Errors
    /// `InvalidInput` for one that is missing or wrong, and for the first version of the service.
    pub(super) fn read(
        given: &Attributes<'_>,
        retry: RetryPolicy,
        now: jiff::Timestamp,
    ) -> Result<Self, Failure> {
        let token = given.get("token");
        let token = token.ok_or_else(|| invalid("token not set for github actions cache"))?;
        let version = given.positive("version")?;
        let old = given.get("url");
        let is_new = |url: &&str| url.contains("results-receiver.actions.githubusercontent.com");
        let url = match version {
            Some(1) => None,
            _ => given.get("url_v2").or_else(|| old.filter(is_new)),
        };
        let Some(url) = url else {
            let told = match old {
                None if version != Some(1) => "url not set for github actions cache",
                _ => "version 1 of the service of the github actions cache is not supported",
            };
            return Err(invalid(told).with_hint("give url_v2, which is $ACTIONS_RESULTS_URL"));
        };
        let mut base = Attributes::url("url_v2", url)?;
        let path = format!(
            "{}/twirp/github.actions.results.api.v1.CacheService/",
            base.path().trim_end_matches('/')
        );
        base.set_path(&path);
        let retry = RetryPolicy {
            longest_obeyed: given.duration("timeout").unwrap_or(TIMEOUT),
            ..retry
        };
        let http = Http::new(ATTEMPTS, retry)?;
        Ok(Self {
            azure: Azure {
                http: http.clone(),
                account: None,
            },
            http,
            base,
            token: token.to_owned(),
            branches: branches(token, now)?,
            scope: given.get("scope").unwrap_or("buildkit").to_owned(),
            pause: PAUSE,
        })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        message: &serde_json::Value,
    ) -> Result<Result<T, String>, Failure> {
        let unreadable = |error: &dyn std::fmt::Display| {
            let told = format!("{method} of the github actions cache: {error}");
            Failure::new(FailureKind::Infrastructure, told)
        };
        let url = self.base.join(method).map_err(|error| unreadable(&error))?;
        let body = serde_json::to_vec(message).map_err(|error| unreadable(&error))?;
        let body = Bytes::from(body);
        let sent = self.http.send(|| {
            let mut headers = HeaderMap::new();
            let mut bearer = value(&format!("Bearer {}", self.token))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
            headers.insert(CONTENT_TYPE, value("application/json")?);
            Ok(Request {
                method: Method::POST,
                url: url.clone(),
                headers,
                payload: Payload::Bytes(body.clone()),
            })
        });
        let response = sent.await?;
        if response.status() == StatusCode::OK {
            let text = http::text(response).await?;
            let answer = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
            return Ok(Ok(answer));
        }
        // An error of the service has a word of its own.
        #[derive(Deserialize)]
        struct Refusal {
            code: String,
        }
        if response.status() == StatusCode::CONFLICT {
            let text = http::text(response).await?;
            let refusal: Result<Refusal, _> = serde_json::from_str(&text);
            return match refusal {
                Ok(refusal) => Ok(Err(refusal.code)),
                Err(_) => Err(unreadable(&text)),
            };
        }
        Err(http::refused(method, response).await)
    }

    /// The newest entry whose key begins so.
    async fn find(&self, key: &str) -> Result<Option<Entry>, Failure> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(default)]
            ok: bool,
            #[serde(default)]
            signed_download_url: String,
            #[serde(default)]
            matched_key: String,
        }
        let asked = serde_json::json!({
            "key": key,
            "restore_keys": [key],
            "version": version(),
        });
        let found: Result<Found, String> = self.call("GetCacheEntryDownloadURL", &asked).await?;
        let Some(found) = found.ok().filter(|found| found.ok) else {
            return Ok(None);
        };
        Ok(Some(Entry {
            url: Attributes::url("signed_download_url", &found.signed_download_url)?,
            key: found.matched_key,
        }))
    }

    /// The entry of a key.
    async fn exact(&self, key: &str) -> Result<Option<Entry>, Failure> {
        let found = self.find(key).await?;
        Ok(found.filter(|found| found.key == key))
    }

    /// Takes a key. `None` when somebody has it.
    async fn reserve(&self, key: &str) -> Result<Option<Url>, Failure> {
        #[derive(Deserialize)]
        struct Reserved {
            #[serde(default)]
            ok: bool,
            #[serde(default)]
            signed_upload_url: String,
        }
        let asked = serde_json::json!({ "key": key, "version": version() });
        let reserved: Result<Reserved, String> = self.call("CreateCacheEntry", &asked).await?;
        match reserved {
            Ok(reserved) if reserved.ok => {
                Attributes::url("signed_upload_url", &reserved.signed_upload_url).map(Some)
            }
            Ok(_) => Ok(None),
            Err(code) if code == "already_exists" => Ok(None),
            Err(code) => {
                let told = format!("the github actions cache does not take {key}: {code}");
                Err(Failure::new(FailureKind::Infrastructure, told))
            }
        }
    }

    /// Says that a key's bytes are there.
    async fn commit(&self, key: &str, size: u64) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Committed {
            #[serde(default)]
            ok: bool,
        }
        let asked = serde_json::json!({ "key": key, "size_bytes": size, "version": version() });
        let committed: Result<Committed, String> =
            self.call("FinalizeCacheEntryUpload", &asked).await?;
        match committed {
            Ok(committed) if committed.ok => Ok(()),
            _ => Err(Failure::new(
                FailureKind::Infrastructure,
                format!("the github actions cache lost {key}"),
            )),
        }
    }

    fn index_key(&self, branch: &str) -> String {
        let branch = Digest::sha256_of(branch);
        let branch = branch.hex().get(..8).unwrap_or_default().to_owned();
        format!("index-{}-1-{branch}", self.scope)
    }

    /// Takes the next number of a document, since keys are written once. Waits for somebody who writes now, within
    /// reason.
    async fn next_number(&self, key: &str) -> Result<(String, Url), Failure> {
        let begun = tokio::time::Instant::now();
        loop {
            let newest = self.find(&format!("{key}#")).await?;
            let number = newest.and_then(|entry| {
                let number = entry.key.strip_prefix(&format!("{key}#"))?;
                number.parse::<u64>().ok()
            });
            let next = number.unwrap_or(0) + 1;
            let waits = begun.elapsed() < OTHERS.min(self.pause * 8);
            let last = if waits { next } else { next + TAKEN };
            for number in next..=last {
                let numbered = format!("{key}#{number}");
                if let Some(url) = self.reserve(&numbered).await? {
                    return Ok((numbered, url));
                }
            }
            if !waits {
                let told = format!("the github actions cache has no number left for {key}");
                return Err(Failure::new(FailureKind::Infrastructure, told));
            }
            tokio::time::sleep(self.pause).await;
        }
    }
}

fn blob_key(digest: &Digest) -> String {
    format!("buildkit-blob-1-{digest}")
}

/// What makes entries of builders be theirs.
fn version() -> String {
    Digest::sha256_of("|go-actionscache-1.0").hex().to_owned()
}

/// What a token says that it opens. It is not checked here: the service does that.
fn branches(token: &str, now: jiff::Timestamp) -> Result<Vec<Branch>, Failure> {
    #[derive(Deserialize)]
    struct Claims {
        ac: String,
        exp: f64,
    }
    let unreadable = |what: &str| {
        invalid(&format!("the token of the github actions cache {what}"))
            .with_hint("it is $ACTIONS_RUNTIME_TOKEN")
    };
    let claims = token.split('.').nth(1);
    let claims = claims.and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
    let claims: Option<Claims> = claims.and_then(|json| serde_json::from_slice(&json).ok());
    let claims = claims.ok_or_else(|| unreadable("is not what GitHub gives"))?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 fit into the 53 bits of a number of JSON"
    )]
    let seconds = now.as_second() as f64;
    if claims.exp < seconds {
        return Err(unreadable("has expired"));
    }
    let branches = serde_json::from_str(&claims.ac);
    branches.map_err(|_| unreadable("has no access controls"))
}

#[async_trait]
impl Objects for Gha {
    fn attempts(&self) -> u32 {
        self.http.attempts()
    }

    fn at_once(&self) -> usize {
        4
    }

    async fn documents(&self) -> Result<Vec<Bytes>, Failure> {
        let mut documents = Vec::new();
        for branch in &self.branches {
            let key = self.index_key(&branch.scope);
            if let Some(entry) = self.find(&key).await? {
                let response = self.azure.get(&entry.url, 0).await?;
                documents.push(http::bytes(response, DOCUMENT_BYTES).await?);
            }
        }
        Ok(documents)
    }

    async fn read(&self, blob: &Digest, from: u64) -> Result<Response, Failure> {
        let entry = self.exact(&blob_key(blob)).await?.ok_or_else(|| {
            let told = format!("the github actions cache has no {blob}");
            Failure::new(FailureKind::NotFound, told)
        })?;
        self.azure.get(&entry.url, from).await
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure> {
        let found = self.exact(&blob_key(&blob.digest)).await?;
        Ok(found.is_some())
    }

    async fn put(&self, layer: &Layer) -> Result<(), Failure> {
        let key = blob_key(&layer.digest);
        if let Some(url) = self.reserve(&key).await? {
            self.azure.put_layer(&url, layer).await?;
            self.commit(&key, layer.size).await?;
        }
        Ok(())
    }

    async fn put_document(&self, document: Bytes) -> Result<(), Failure> {
        let own = self.branches.iter().rev();
        let mut own = own.filter(|branch| branch.permission & WRITE != 0);
        let own = own.next().map_or("", |branch| branch.scope.as_str());
        let (key, url) = self.next_number(&self.index_key(own)).await?;
        let size = document.len() as u64;
        let payload = Payload::Bytes(document);
        self.azure.put(&url, &[], payload).await?;
        self.commit(&key, size).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A token with claims and no signature.
    fn token(claims: &serde_json::Value) -> String {
        format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn read(attributes: &[(&str, &str)]) -> Result<Gha, Failure> {
        let attributes = attributes.iter();
        let attributes = attributes.map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
        let now = jiff::Timestamp::from_second(1000).unwrap();
        let given = attributes.collect();
        let given = Attributes {
            given: &given,
            environment: &BTreeMap::new(),
        };
        Gha::read(&given, RetryPolicy::default(), now)
    }

    #[test]
    fn a_token_says_which_branches_it_opens() {
        let access = r#"[{"Scope":"refs/heads/main","Permission":1},{"Scope":"refs/heads/x","Permission":3}]"#;
        let good = token(&serde_json::json!({ "ac": access, "exp": 2000.5 }));
        let url = ("url_v2", "https://results.example/base/");
        let gha = read(&[("token", &good), url]).unwrap_or_else(|it| panic!("{it}"));
        assert_eq!(gha.branches.len(), 2);
        assert_eq!(
            gha.base.as_str(),
            "https://results.example/base/twirp/github.actions.results.api.v1.CacheService/"
        );
        // sha256 of "refs/heads/main"
        let branch = &Digest::sha256_of("refs/heads/main").hex()[..8].to_owned();
        let key = gha.index_key("refs/heads/main");
        assert_eq!(key, format!("index-buildkit-1-{branch}"));
        let old = token(&serde_json::json!({ "ac": access, "exp": 999 }));
        for (token, words) in [(old.as_str(), "expired"), ("none", "not what GitHub")] {
            let failure = read(&[("token", token), url]).err().expect("refused");
            assert!(failure.message.contains(words), "{failure}");
            assert!(!failure.to_string().contains(token), "{failure}");
        }
        let first = read(&[("token", &good), ("url", "https://old.example/")]);
        let first = first.err().expect("refused");
        assert!(first.message.contains("version 1"), "{first}");
    }
}
