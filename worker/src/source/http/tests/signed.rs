use cooper_core::model::FailureKind;
use cooper_proto::Digest;

use super::bench::{Bench, Server, file, op};

const SIGNATURE: &str = include_str!("../../../signature/data/rsa.asc");
const KEY: &str = include_str!("../../../signature/data/rsa.pub");
const OTHER_KEY: &str = include_str!("../../../signature/data/ed.pub");
const CONTENT: &[u8] = b"what is signed";

#[tokio::test]
async fn a_file_that_must_be_signed_is_only_taken_when_it_is() {
    let server = Server::start().await;
    server.put("/f", file(CONTENT, "\"e1\""));
    server.put("/g", file(b"what is not signed", ""));
    let both = format!("{OTHER_KEY}\n{KEY}");
    let sum = Digest::sha256_of(CONTENT);
    for (path, key, good) in [
        ("/f", KEY, true),
        ("/f", both.as_str(), true),
        ("/f", OTHER_KEY, false),
        ("/g", KEY, false),
        ("/f", "no key", false),
    ] {
        let bench = Bench::plain();
        let plain = op(&server.url(path), &[]);
        let mut attributes = vec![("http.sig.pubkey", key), ("http.sig.signature", SIGNATURE)];
        let signed = op(&server.url(path), &attributes);
        // A checksum says what the bytes are, not who signed them.
        attributes.push(("http.checksum", sum.as_str()));
        let pinned = op(&server.url(path), &attributes);
        // Known without a signature, it must have one all the same.
        bench.key(&plain, Some("b")).await.unwrap();
        for wanted in [&signed, &pinned] {
            for asked in [
                bench.key(wanted, Some("b")).await.map(drop),
                bench.key(wanted, None).await.map(drop),
                bench.run(wanted, None).await.map(drop),
            ] {
                match asked {
                    Ok(()) => assert!(good, "{path}"),
                    Err(failure) => {
                        assert!(!good, "{failure}");
                        assert_ne!(failure.kind, FailureKind::Infrastructure, "{failure}");
                    }
                }
            }
        }
    }
}
