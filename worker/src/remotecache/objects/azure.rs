//! How blobs of Azure are asked for: by the account's key, or by addresses that somebody signed.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cooper_core::model::Failure;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName},
};

use super::{
    attributes::escaped,
    cache::Layer,
    http::{self, Http, Payload, Request, name, value},
    keyed_hash::hmac,
};

/// Version of the service that requests are written for.
const VERSION: &str = "2021-12-02";

/// Longer files are sent in blocks of this length, or of more where there would be too many.
///
/// # Units
/// Bytes.
const BLOCK: u64 = 32 << 20;

/// How many blocks a blob may have.
const BLOCKS: u64 = 50_000;

/// Sends requests for blobs.
#[derive(Clone, Debug)]
pub(super) struct Azure {
    pub(super) http: Http,
    /// None for addresses that are signed themselves.
    pub(super) account: Option<Account>,
}

/// An account with its key. Its debug text has no secret.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) key: Vec<u8>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Azure {
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        more: &[(HeaderName, &str)],
        payload: Payload,
    ) -> Result<Response, Failure> {
        self.http
            .send(|| {
                let mut headers = HeaderMap::new();
                for (name, text) in more {
                    headers.insert(name.clone(), value(text)?);
                }
                let now = httpdate::fmt_http_date(std::time::SystemTime::now());
                headers.insert("x-ms-date", value(&now)?);
                headers.insert("x-ms-version", value(VERSION)?);
                if let Some(account) = &self.account {
                    let length = payload.length();
                    let signed = account.authorization(method.as_str(), url, &headers, length)?;
                    let mut signed = value(&signed)?;
                    signed.set_sensitive(true);
                    headers.insert(AUTHORIZATION, signed);
                }
                Ok(Request {
                    method: method.clone(),
                    url: url.clone(),
                    headers,
                    payload: payload.clone(),
                })
            })
            .await
    }

    /// Bytes of a blob from a position on.
    pub(super) async fn get(&self, url: &Url, from: u64) -> Result<Response, Failure> {
        let range = format!("bytes={from}-");
        let more = [(name("x-ms-range"), range.as_str())];
        let more = if from > 0 { &more[..] } else { &[] };
        let sent = self.send(Method::GET, url, more, Payload::Nothing);
        let response = sent.await?;
        match response.status() {
            StatusCode::OK if from == 0 => Ok(response),
            StatusCode::PARTIAL_CONTENT if from > 0 => Ok(response),
            _ => Err(http::refused("GET", response).await),
        }
    }

    /// Puts a layer there, unless it is there.
    pub(super) async fn put_layer(&self, url: &Url, layer: &Layer) -> Result<(), Failure> {
        let only_new = [(reqwest::header::IF_NONE_MATCH, "*")];
        let part = |start, length| Payload::File {
            path: layer.path.clone(),
            start,
            length,
        };
        if layer.size <= BLOCK * 2 {
            return self.put(url, &only_new, part(0, layer.size)).await;
        }
        let block = BLOCK.max(layer.size.div_ceil(BLOCKS));
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        let (mut start, mut number) = (0, 0);
        while start < layer.size {
            let length = block.min(layer.size - start);
            let id = STANDARD.encode(format!("{number:08}"));
            let url = with_query(url, &format!("comp=block&blockid={}", escaped(&id, '-')));
            let sent = self.send(Method::PUT, &url, &[], part(start, length));
            created(sent.await?).await?;
            // Writing to a text cannot fail.
            let _written = write!(list, "<Latest>{id}</Latest>");
            start += length;
            number += 1;
        }
        list.push_str("</BlockList>");
        let url = with_query(url, "comp=blocklist");
        let payload = Payload::Bytes(list.into());
        let sent = self.send(Method::PUT, &url, &only_new, payload);
        created(sent.await?).await
    }

    /// Puts a blob there in one request.
    pub(super) async fn put(
        &self,
        url: &Url,
        conditions: &[(HeaderName, &str)],
        payload: Payload,
    ) -> Result<(), Failure> {
        let mut more = conditions.to_vec();
        more.push((name("x-ms-blob-type"), "BlockBlob"));
        let sent = self.send(Method::PUT, url, &more, payload);
        created(sent.await?).await
    }
}

/// An address with more in its query than it has.
fn with_query(url: &Url, more: &str) -> Url {
    let mut url = url.clone();
    let query = match url.query() {
        Some(query) => format!("{query}&{more}"),
        None => more.to_owned(),
    };
    url.set_query(Some(&query));
    url
}

/// What is to be made is there.
async fn created(response: Response) -> Result<(), Failure> {
    let exists = response
        .headers()
        .get("x-ms-error-code")
        .is_some_and(|code| code == "BlobAlreadyExists");
    match response.status() {
        StatusCode::CREATED => Ok(()),
        // A layer is the same whoever put it there.
        StatusCode::CONFLICT if exists => Ok(()),
        _ => Err(http::refused("PUT", response).await),
    }
}

impl Account {
    /// Makes a request the account's ("Authorize with Shared Key" of the Blob service).
    fn authorization(
        &self,
        method: &str,
        url: &Url,
        headers: &HeaderMap,
        length: u64,
    ) -> Result<String, Failure> {
        let text = self.text_to_sign(method, url, headers, length)?;
        let signature = STANDARD.encode(hmac(&self.key, text.as_bytes()));
        Ok(format!("SharedKey {}:{signature}", self.name))
    }

    fn text_to_sign(
        &self,
        method: &str,
        url: &Url,
        headers: &HeaderMap,
        length: u64,
    ) -> Result<String, Failure> {
        let header = |name: &str| -> &str {
            let value = headers.get(name);
            value.and_then(|it| it.to_str().ok()).unwrap_or_default()
        };
        let length = match length {
            0 => String::new(),
            length => length.to_string(),
        };
        let if_none_match = header("if-none-match");
        // Method, encoding, language, length, MD5, type, date, If-Modified-Since, If-Match, If-None-Match,
        // If-Unmodified-Since, range.
        let mut text = format!("{method}\n\n\n{length}\n\n\n\n\n\n{if_none_match}\n\n\n");
        let mut own: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("x-ms-"))
            .map(|(name, _)| (name.as_str(), header(name.as_str())))
            .collect();
        own.sort_unstable();
        for (name, value) in own {
            // Writing to a text cannot fail.
            let _written = writeln!(text, "{name}:{value}");
        }
        let _written = write!(text, "/{}{}", self.name, url.path());
        let mut pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| (name.to_lowercase(), value.into_owned()))
            .collect();
        pairs.sort();
        for (name, value) in pairs {
            let _written = write!(text, "\n{name}:{value}");
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of the example in "Authorize with Shared Key" of Azure's documentation that requests here have.
    #[test]
    fn what_is_signed_is_what_the_documentation_says() {
        let account = Account {
            name: "myaccount".to_owned(),
            key: b"CANARY".to_vec(),
        };
        let mut headers = HeaderMap::new();
        let date = "Fri, 26 Jun 2015 23:39:12 GMT";
        headers.insert("x-ms-version", value("2015-02-21").unwrap());
        headers.insert("x-ms-date", value(date).unwrap());
        let url = "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20";
        let url = Url::parse(url).unwrap();
        let text = account.text_to_sign("GET", &url, &headers, 0).unwrap();
        let expected = format!(
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
        assert_eq!(text, expected);
        assert!(!format!("{account:?}").contains("CANARY"));
    }

    #[test]
    fn a_signed_address_keeps_its_signature() {
        let url = Url::parse("https://store.example/c/b?sig=a%2Bb").unwrap();
        let url = with_query(&url, "comp=block&blockid=MDA%3D");
        assert_eq!(
            url.as_str(),
            "https://store.example/c/b?sig=a%2Bb&comp=block&blockid=MDA%3D"
        );
    }
}
