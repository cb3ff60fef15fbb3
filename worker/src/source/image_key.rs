use cooper_proto::{Digest, oci, pb};
use serde::Serialize;

use crate::images::chain_id;

/// What BuildKit digests for an image's first key, in its order and spelling (parity sheet
/// B3, `docker-image://`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestKey<'a> {
    digest: &'a str,
    #[serde(rename = "OS")]
    os: &'a str,
    arch: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
    #[serde(rename = "OSVersion", skip_serializing_if = "str::is_empty")]
    os_version: &'a str,
    #[serde(rename = "OSFeatures", skip_serializing_if = "<[String]>::is_empty")]
    os_features: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
}

/// The key of an image by what its name led to.
pub(super) fn manifest_key(root: &Digest, platform: &pb::Platform, limit: Option<usize>) -> Digest {
    let key = ManifestKey {
        digest: root.as_str(),
        os: &platform.os,
        arch: &platform.architecture,
        variant: &platform.variant,
        os_version: &platform.os_version,
        os_features: &platform.os_features,
        limit,
    };
    let json = oci::to_json(&key).expect("strings and numbers are always written");
    Digest::sha256_of(json)
}

/// The key of an image by its content: the chain id of its layers.
pub(super) fn chain_key(diff_ids: &[Digest]) -> Option<Digest> {
    chain_id(diff_ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_digest_of_what_buildkit_writes() {
        let digest = Digest::sha256_of("manifest");
        let mut platform = pb::Platform {
            os: "linux".into(),
            architecture: "arm".into(),
            variant: "v7".into(),
            ..pb::Platform::default()
        };
        let json = format!(r#"{{"Digest":"{digest}","OS":"linux","Arch":"arm","Variant":"v7"}}"#);
        assert_eq!(
            manifest_key(&digest, &platform, None),
            Digest::sha256_of(json)
        );
        platform.variant.clear();
        platform.os_version = "10.0".into();
        platform.os_features = vec!["win32k".into()];
        let json = format!(
            r#"{{"Digest":"{digest}","OS":"linux","Arch":"arm","OSVersion":"10.0","OSFeatures":["win32k"],"Limit":2}}"#
        );
        assert_eq!(
            manifest_key(&digest, &platform, Some(2)),
            Digest::sha256_of(json)
        );
    }
}
