//! Whether a result is for the platforms that were asked for.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cooper_proto::{pb, platform};
use serde::Deserialize;

/// What a user should know of a result whose platforms are others than those that were asked for; nothing when they
/// are the same, or cannot be told.
pub(super) fn mismatch(
    requested: Option<&str>,
    metadata: &BTreeMap<String, Bytes>,
    is_map: bool,
    host: &pb::Platform,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut asked: Vec<String> = Vec::new();
    let host_text = platform::format(host);
    for text in requested.unwrap_or(&host_text).split(',') {
        let one = match platform::parse(text, host) {
            Ok(parsed) => platform::format_all(&platform::normalize(&parsed)),
            Err(error) => {
                warnings.push(format!(
                    "Invalid platform result requested {text:?}: {error}"
                ));
                continue;
            }
        };
        if asked.contains(&one) {
            warnings.push(format!("Duplicate platform result requested {text:?}"));
        } else {
            asked.push(one);
        }
    }
    let Some(given) = given(metadata, host) else {
        // Who exports says what is wrong with it.
        return warnings;
    };
    if !warnings.is_empty() {
        return warnings;
    }
    let same: BTreeSet<_> = asked.iter().collect();
    let is_same = same == given.iter().collect() && asked.len() == given.len();
    let first = requested.unwrap_or(&host_text);
    match (asked.as_slice(), given.as_slice()) {
        _ if is_same => Vec::new(),
        ([_], [given]) => vec![format!(
            "Requested platform {first:?} does not match result platform {given:?}"
        )],
        _ if !is_map && asked.len() > 1 => {
            vec!["Multiple platforms requested but result is not multi-platform".to_owned()]
        }
        _ => vec![format!(
            "Requested platforms {} do not match result platforms {}",
            asked.join(","),
            given.join(",")
        )],
    }
}

#[derive(Deserialize)]
struct Mapping {
    #[serde(rename = "Platforms", default)]
    platforms: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "Platform", default)]
    platform: Named,
}

#[derive(Deserialize, Default)]
struct Named {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl Named {
    fn text(self) -> String {
        platform::format_all(&platform::normalize(&pb::Platform {
            os: self.os,
            architecture: self.architecture,
            variant: self.variant,
            ..pb::Platform::default()
        }))
    }
}

/// The platforms that a result is for: as it lists them, else its configuration's, else this machine's.
fn given(metadata: &BTreeMap<String, Bytes>, host: &pb::Platform) -> Option<Vec<String>> {
    if let Some(listed) = metadata.get("refs.platforms") {
        let mapping: Mapping = serde_json::from_slice(listed).ok()?;
        return Some(
            mapping
                .platforms
                .into_iter()
                .map(|it| it.platform.text())
                .collect(),
        );
    }
    let Some(config) = metadata.get("containerimage.config") else {
        return Some(vec![platform::format_all(&platform::normalize(host))]);
    };
    let named: Named = serde_json::from_slice(config).ok()?;
    if named.os.is_empty() || named.architecture.is_empty() {
        return None;
    }
    Some(vec![named.text()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_for_other_platforms_is_told() {
        let host = pb::Platform {
            os: "linux".into(),
            architecture: "amd64".into(),
            ..pb::Platform::default()
        };
        let both = br#"{"Platforms":[{"ID":"a","Platform":{"os":"linux","architecture":"amd64"}},
            {"ID":"b","Platform":{"os":"linux","architecture":"arm64"}}]}"#;
        let listed = BTreeMap::from([("refs.platforms".to_owned(), Bytes::from_static(both))]);
        let told = |requested, metadata: &BTreeMap<_, _>, is_map| {
            mismatch(requested, metadata, is_map, &host).join("; ")
        };
        assert_eq!(told(None, &BTreeMap::new(), false), "");
        assert_eq!(told(Some("linux/amd64,linux/arm64"), &listed, true), "");
        assert_eq!(
            told(None, &listed, true),
            "Requested platforms linux/amd64 do not match result platforms linux/amd64,linux/arm64"
        );
        assert_eq!(
            told(Some("linux/amd64,linux/arm64"), &BTreeMap::new(), false),
            "Multiple platforms requested but result is not multi-platform"
        );
        assert_eq!(
            told(Some("linux/s390x"), &BTreeMap::new(), false),
            "Requested platform \"linux/s390x\" does not match result platform \"linux/amd64\""
        );
        assert!(told(Some("linux/amd64,amd64"), &listed, true).starts_with("Duplicate"));
    }
}
