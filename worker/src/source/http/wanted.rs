use cooper_core::model::{Failure, FailureKind, redacted};
use cooper_proto::{Digest, pb};
use reqwest::Url;

use crate::source::number::parse_int;

/// The headers that a source may set; BuildKit drops others without a word.
const HEADERS: [&str; 2] = ["Accept", "User-Agent"];

/// The host under which the client itself uploads.
const SESSION_HOST: &str = "buildkit-session";

/// A file by URL that a source op wants (parity sheet B3, `http(s)://`).
#[derive(Debug, Clone, PartialEq)]
pub(in crate::source) struct HttpWanted {
    /// The URL as it was written.
    pub(super) text: String,
    pub(in crate::source) url: Url,
    /// What its bytes must be.
    pub(super) checksum: Option<Digest>,
    /// The name it gets; the server's or the URL's when empty.
    pub(in crate::source) filename: String,
    /// Permission bits as they were given, 0 for the default.
    pub(super) perm: i64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The secret whose value is the `Authorization` header.
    pub(super) auth_secret: String,
    /// Further headers, sorted by name.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) signature: Option<Signature>,
}

/// A detached OpenPGP signature that the file must have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Signature {
    /// Armored public keys.
    pub(super) keys: String,
    /// The armored signature.
    pub(super) signature: String,
}

impl HttpWanted {
    /// Reads a source op.
    ///
    /// # Errors
    /// `InvalidInput` for a URL or attribute that cannot be read, `Unsupported` for an attribute that is not known.
    pub(in crate::source) fn of(source: &pb::SourceOp) -> Result<Self, Failure> {
        let text = source.identifier.clone();
        let url =
            Url::parse(&text).map_err(|error| invalid(&format!("{}: {error}", redacted(&text))))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(invalid(&format!("{} is no http address", redacted(&text))));
        }
        let mut wanted = Self {
            text,
            url,
            checksum: None,
            filename: String::new(),
            perm: 0,
            uid: 0,
            gid: 0,
            auth_secret: String::new(),
            headers: Vec::new(),
            signature: None,
        };
        for (key, value) in &source.attrs {
            wanted.read(key, value)?;
        }
        wanted.headers.sort_unstable();
        match &wanted.signature {
            Some(it) if it.keys.is_empty() || it.signature.is_empty() => Err(invalid(
                "http signature verification requires both pubkey and signature",
            )),
            _ => Ok(wanted),
        }
    }

    fn read(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let number =
            || parse_int(value).ok_or_else(|| invalid(&format!("{key} {value:?} is not a number")));
        let id = || {
            u32::try_from(number()?).map_err(|_| invalid(&format!("{key} {value:?} is not an id")))
        };
        match key {
            "http.checksum" => {
                let digest = value.parse();
                let digest = digest.map_err(|error| invalid(&format!("{key}: {error}")))?;
                self.checksum = Some(digest);
            }
            "http.filename" => value.clone_into(&mut self.filename),
            "http.perm" => self.perm = number()?,
            "http.uid" => self.uid = id()?,
            "http.gid" => self.gid = id()?,
            "http.authheadersecret" => value.clone_into(&mut self.auth_secret),
            "http.sig.pubkey" => value.clone_into(&mut self.signature_mut().keys),
            "http.sig.signature" => value.clone_into(&mut self.signature_mut().signature),
            _ => match key.strip_prefix("http.header.") {
                Some(name) => {
                    let known = HEADERS.iter().find(|it| it.eq_ignore_ascii_case(name));
                    self.headers.extend(known.map(|it| (*it, value.to_owned())));
                }
                None => {
                    return Err(Failure::unsupported(format!(
                        "the attribute {key:?} of a file by URL"
                    )));
                }
            },
        }
        Ok(())
    }

    fn signature_mut(&mut self) -> &mut Signature {
        self.signature.get_or_insert_default()
    }

    /// The URL as people may see it.
    pub(super) fn shown(&self) -> String {
        redacted(&self.text).into_owned()
    }

    /// Whether the client itself uploads the file.
    pub(super) fn is_upload(&self) -> bool {
        self.url.host_str() == Some(SESSION_HOST)
    }

    /// Permission bits of the file.
    pub(super) fn mode(&self) -> u32 {
        match u32::try_from(self.perm & 0o777).unwrap_or_default() {
            0 if self.perm == 0 => 0o600,
            bits => bits,
        }
    }
}

fn invalid(what: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, attributes: &[(&str, &str)]) -> Result<HttpWanted, Failure> {
        HttpWanted::of(&pb::SourceOp {
            identifier: url.into(),
            attrs: attributes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        })
    }

    #[test]
    fn attributes_are_read_and_unknown_ones_refused() {
        let digest = Digest::sha256_of("x");
        let wanted = read(
            "https://host/a",
            &[
                ("http.checksum", digest.as_str()),
                ("http.filename", "name"),
                ("http.perm", "0741"),
                ("http.uid", "1000"),
                ("http.gid", "0x10"),
                ("http.authheadersecret", "id"),
                ("http.header.user-agent", "me"),
                ("http.header.ACCEPT", "all"),
                ("http.header.cookie", "dropped"),
            ],
        )
        .unwrap();
        assert_eq!(wanted.checksum, Some(digest));
        assert_eq!((wanted.mode(), wanted.uid, wanted.gid), (0o741, 1000, 16));
        assert_eq!(
            wanted.headers,
            [("Accept", "all".into()), ("User-Agent", "me".into())]
        );
        for (key, value) in [
            ("http.checksum", "sha256:../../x"),
            ("http.perm", "rwx"),
            ("http.uid", "-1"),
            ("http.gid", "4294967296"),
            ("http.new", "1"),
            ("http.sig.pubkey", "alone"),
            ("http.sig.signature", "alone"),
        ] {
            assert!(read("https://host/a", &[(key, value)]).is_err(), "{key}");
        }
    }

    #[test]
    fn only_web_addresses_with_a_host_are_taken() {
        for url in ["http://", "https:///", "ftp://host/a", "file:///etc", "a"] {
            assert!(read(url, &[]).is_err(), "{url}");
        }
        let told = read("http://u:CANARY@ho st/", &[]).unwrap_err();
        assert!(!told.message.contains("CANARY"), "{told}");
    }
}
