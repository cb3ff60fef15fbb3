use cooper_core::model::Failure;
use jiff::{Timestamp, tz::TimeZone};
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap},
};
use sha2::{Digest as _, Sha256};

use super::{
    http::{unsendable, value},
    keyed_hash::hmac,
};

/// Who signs, and for which region. Its debug text has no secret.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
    pub(super) region: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Adds to headers what makes a request one of the signer's (Signature Version 4 of AWS, with the headers
    /// signed that are there). `payload` is the body's SHA-256 in hex.
    ///
    /// # Errors
    /// `InvalidInput` for keys that no header can carry.
    pub(super) fn sign(
        &self,
        method: &str,
        url: &Url,
        headers: &mut HeaderMap,
        payload: &str,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let time = now.to_zoned(TimeZone::UTC);
        let (day, time) = (
            time.strftime("%Y%m%d").to_string(),
            time.strftime("%Y%m%dT%H%M%SZ").to_string(),
        );
        headers.insert("x-amz-date", value(&time)?);
        headers.insert("x-amz-content-sha256", value(payload)?);
        if let Some(token) = &self.session_token {
            headers.insert("x-amz-security-token", value(token)?);
        }
        let mut signed: Vec<(String, String)> = vec![("host".to_owned(), host(url))];
        for (name, value) in headers.iter() {
            let value = value.to_str().map_err(|_| unsendable())?;
            signed.push((name.as_str().to_owned(), value.trim().to_owned()));
        }
        signed.sort();
        let lines: String = signed
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let canonical = format!(
            "{method}\n{}\n{}\n{lines}\n{names}\n{payload}",
            url.path(),
            sorted_query(url)
        );
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            hex::encode(Sha256::digest(canonical))
        );
        let secret = format!("AWS4{}", self.secret_access_key);
        let parts = [day.as_str(), &self.region, "s3", "aws4_request"];
        let key = parts.iter().fold(secret.into_bytes(), |key, part| {
            hmac(&key, part.as_bytes()).to_vec()
        });
        let signature = hex::encode(hmac(&key, text.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
            self.access_key_id
        );
        let mut authorization = value(&authorization)?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        Ok(())
    }
}

/// The host as the client sends it: with the port unless it is the scheme's own.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The query as it stands in the address, which is escaped, in the order of the names.
fn sorted_query(url: &Url) -> String {
    let mut pairs: Vec<String> = url
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
        .map(|pair| match pair.contains('=') {
            true => pair.to_owned(),
            false => format!("{pair}="),
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::super::http::name;
    use super::*;

    /// The examples of the AWS documentation ("Signature Calculations for the Authorization Header", S3).
    fn signed(method: &str, url: &str, more: &[(&'static str, &str)], payload: &str) -> String {
        let signer = Signer {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            region: "us-east-1".to_owned(),
        };
        let mut headers = HeaderMap::new();
        for (key, text) in more {
            headers.insert(name(key), value(text).unwrap());
        }
        let url = Url::parse(url).unwrap();
        let now: Timestamp = "2013-05-24T00:00:00Z".parse().unwrap();
        signer
            .sign(method, &url, &mut headers, payload, now)
            .unwrap();
        let text = headers[AUTHORIZATION].to_str().unwrap();
        text.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn signatures_are_those_of_the_documentation() {
        let got = signed(
            "GET",
            "https://examplebucket.s3.amazonaws.com/test.txt",
            &[("range", "bytes=0-9")],
            EMPTY,
        );
        let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert_eq!(got, expected);
        let got = signed(
            "PUT",
            "https://examplebucket.s3.amazonaws.com/test%24file.text",
            &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        );
        let expected = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
        assert_eq!(got, expected);
        let got = signed(
            "GET",
            "https://examplebucket.s3.amazonaws.com/?lifecycle",
            &[],
            EMPTY,
        );
        let expected = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
        assert_eq!(got, expected);
    }

    #[test]
    fn no_secret_is_in_what_is_logged() {
        let signer = Signer {
            access_key_id: "CANARY".to_owned(),
            secret_access_key: "CANARY".to_owned(),
            session_token: Some("CANARY".to_owned()),
            region: "us-east-1".to_owned(),
        };
        assert!(!format!("{signer:?}").contains("CANARY"));
    }
}
