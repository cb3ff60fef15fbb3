use cooper_proto::{Digest, oci};
use serde::Serialize;

use super::wanted::HttpWanted;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

/// What BuildKit digests for a file by URL, in its order and spelling (parity sheet B3, `http(s)://`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Key<'a> {
    filename: &'a str,
    perm: i64,
    #[serde(rename = "UID")]
    uid: u32,
    #[serde(rename = "GID")]
    gid: u32,
    checksum: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    last_mod_time: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    auth_header_secret: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    header: Vec<Header<'a>>,
}

/// The key of a file by URL. The URL is not in it: equal files are equal wherever they came from.
pub(super) fn key(
    wanted: &HttpWanted,
    filename: &str,
    checksum: &Digest,
    modified: Option<&str>,
) -> Digest {
    let key = Key {
        filename,
        perm: wanted.perm,
        uid: wanted.uid,
        gid: wanted.gid,
        checksum: checksum.as_str(),
        last_mod_time: modified.unwrap_or_default(),
        auth_header_secret: &wanted.auth_secret,
        header: headers(wanted),
    };
    let json = oci::to_json(&key).expect("strings and numbers are always written");
    Digest::sha256_of(json)
}

/// Names requests whose answers may be compared: what was learnt of one `ETag` holds for the same request only.
/// Passwords are not in it; the server judges each request by the password that comes with it.
pub(super) fn request_id(wanted: &HttpWanted) -> String {
    #[derive(Serialize)]
    struct Request<'a> {
        url: &'a str,
        name: &'a str,
        numbers: [i64; 3],
        secret: &'a str,
        headers: Vec<Header<'a>>,
    }
    let mut url = wanted.url.clone();
    // An address with a host can always lose its password.
    let _ = url.set_password(None);
    url.set_fragment(None);
    let request = Request {
        url: url.as_str(),
        name: &wanted.filename,
        numbers: [wanted.perm, wanted.uid.into(), wanted.gid.into()],
        secret: &wanted.auth_secret,
        headers: headers(wanted),
    };
    let json = serde_json::to_vec(&request).expect("strings and numbers are always written");
    Digest::sha256_of(json).hex().to_owned()
}

fn headers(wanted: &HttpWanted) -> Vec<Header<'_>> {
    let headers = wanted.headers.iter();
    headers
        .map(|(name, value)| Header { name, value })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cooper_proto::pb;

    fn wanted(url: &str, attributes: &[(&str, &str)]) -> HttpWanted {
        HttpWanted::of(&pb::SourceOp {
            identifier: url.into(),
            attrs: attributes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        })
        .expect("readable")
    }

    #[test]
    fn the_key_is_the_digest_of_what_buildkit_writes() {
        let digest = Digest::sha256_of("content");
        let plain = wanted("https://host/a", &[]);
        let json =
            format!(r#"{{"Filename":"a&b","Perm":0,"UID":0,"GID":0,"Checksum":"{digest}"}}"#)
                .replace('&', "\\u0026");
        assert_eq!(key(&plain, "a&b", &digest, None), Digest::sha256_of(json));
        let all = wanted(
            "https://host/a",
            &[
                ("http.perm", "0600"),
                ("http.uid", "1"),
                ("http.gid", "2"),
                ("http.authheadersecret", "s"),
                ("http.header.accept", "x"),
            ],
        );
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let json = format!(
            r#"{{"Filename":"a","Perm":384,"UID":1,"GID":2,"Checksum":"{digest}","LastModTime":"{date}","AuthHeaderSecret":"s","Header":[{{"Name":"Accept","Value":"x"}}]}}"#
        );
        assert_eq!(key(&all, "a", &digest, Some(date)), Digest::sha256_of(json));
    }

    #[test]
    fn requests_are_the_same_only_when_all_but_the_password_is() {
        let id = |url: &str, attributes: &[(&str, &str)]| request_id(&wanted(url, attributes));
        let plain = id("https://host/a", &[]);
        assert_ne!(plain, id("http://host/a", &[]));
        assert_ne!(plain, id("https://host/a?b", &[]));
        assert_ne!(plain, id("https://host/a", &[("http.filename", "b")]));
        assert_ne!(plain, id("https://host/a", &[("http.perm", "1")]));
        assert_ne!(plain, id("https://host/a", &[("http.header.accept", "b")]));
        assert_ne!(
            plain,
            id("https://host/a", &[("http.authheadersecret", "b")])
        );
        assert_eq!(id("https://u:p@host/a", &[]), id("https://u:q@host/a", &[]));
    }
}
