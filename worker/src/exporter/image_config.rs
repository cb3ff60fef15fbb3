use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cooper_core::model::Failure;
use cooper_proto::{
    Digest,
    cache_config::INLINE_CACHE,
    oci::{self, History, ImageConfig},
    platform,
};
use serde_json::Value;

use super::{
    attributes::invalid,
    image_history::{LayerFacts, clamped, epoch_text, is_after, normalized},
};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Writes an image's configuration: the frontend's, completed with layers, history and times
/// (parity sheet A11). What the frontend's JSON has besides stays as it is; with none, that
/// of an empty image is used.
///
/// # Shape
/// The bytes that BuildKit writes: keys sorted, times as Go writes them.
///
/// # Errors
/// `InvalidInput` for a configuration that is none or names no platform.
pub(super) fn written(
    config: Option<&[u8]>,
    base: Option<&[u8]>,
    layers: &[LayerFacts],
    epoch: Option<i64>,
    inline_cache: Option<&[u8]>,
) -> Result<Vec<u8>, Failure> {
    let default;
    let config = match config.filter(|config| !config.is_empty()) {
        Some(config) => config,
        None => {
            default = empty_image();
            &default
        }
    };
    let typed = ImageConfig::parse(config)
        .map_err(|error| invalid(&format!("invalid image config for export: {error}")))?;
    for (value, name) in [(&typed.os, "os"), (&typed.architecture, "architecture")] {
        if value.is_empty() {
            let what = format!("invalid image config for export: missing {name}");
            return Err(invalid(&what));
        }
    }
    let base = match base.filter(|base| !base.is_empty()) {
        Some(base) => {
            ImageConfig::parse(base)
                .map_err(|error| {
                    invalid(&format!("failed to unmarshal base image config: {error}"))
                })?
                .history
        }
        None => Vec::new(),
    };
    let mut fields: BTreeMap<String, Value> = serde_json::from_slice(config)
        .map_err(|error| invalid(&format!("failed to parse image config for patch: {error}")))?;
    let given = fields.get("history").is_some_and(|it| !it.is_null());
    let mut history = normalized(&typed.history, layers);
    if let Some(epoch) = epoch {
        clamped(&mut history, &base, epoch);
    }
    set_created(&mut fields, &history, epoch);
    fields.insert("rootfs".to_owned(), rootfs(layers));
    fields.insert("history".to_owned(), history_value(&history, given)?);
    // One that the frontend's configuration has is of another image.
    fields.remove(INLINE_CACHE);
    if let Some(records) = inline_cache {
        fields.insert(INLINE_CACHE.to_owned(), STANDARD.encode(records).into());
    }
    oci::to_json(&fields).map_err(|error| invalid(&error.to_string()))
}

/// The diff ids that a base image's configuration has; none where there is no base.
pub(super) fn diff_ids(base: Option<&[u8]>) -> Vec<Digest> {
    let base = base.and_then(|base| ImageConfig::parse(base).ok());
    base.map(|base| base.rootfs.diff_ids).unwrap_or_default()
}

fn set_created(fields: &mut BTreeMap<String, Value>, history: &[History], epoch: Option<i64>) {
    let created = fields.get("created").and_then(Value::as_str);
    match (fields.contains_key("created"), epoch) {
        (true, Some(epoch)) if created.is_some_and(|time| is_after(time, epoch)) => {
            fields.insert("created".to_owned(), epoch_text(epoch).into());
        }
        (true, _) => {}
        (false, _) => {
            let last = history.iter().rev().find_map(|it| it.created.clone());
            fields.insert("created".to_owned(), last.map_or(Value::Null, Value::from));
        }
    }
}

fn rootfs(layers: &[LayerFacts]) -> Value {
    let ids: Vec<Value> = layers
        .iter()
        .map(|layer| Value::from(layer.diff_id.as_str()))
        .collect();
    // Go writes a list that was never made as null, and so does BuildKit for no layers.
    let ids = match ids.is_empty() {
        true => Value::Null,
        false => Value::from(ids),
    };
    serde_json::json!({"type": "layers", "diff_ids": ids})
}

fn history_value(history: &[History], given: bool) -> Result<Value, Failure> {
    if history.is_empty() && !given {
        return Ok(Value::Null);
    }
    serde_json::to_value(history).map_err(|error| invalid(&error.to_string()))
}

fn empty_image() -> Vec<u8> {
    let host = platform::normalize(&platform::host());
    let mut config = ImageConfig {
        architecture: host.architecture,
        os: host.os,
        variant: host.variant,
        ..ImageConfig::default()
    };
    config.config.working_dir = "/".to_owned();
    config.config.env = vec![DEFAULT_PATH.to_owned()];
    config
        .to_bytes()
        .expect("a configuration of strings can be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    fn layer(second: u64) -> LayerFacts {
        LayerFacts {
            diff_id: Digest::sha256_of("x"),
            description: "COPY a b # buildkit".into(),
            created_ns: second * 1_000_000_000,
        }
    }

    // What BuildKit's exporter wrote for these, by its source (patchImageConfig).
    #[test]
    fn the_configuration_has_buildkits_bytes() {
        let config = br#"{"os":"linux","architecture":"amd64","x":{"b":1,"a":[2,1]},"config":{"Env":["A=<b>&c"],"Cmd":null},"history":[{"created_by":"COPY a b # buildkit","comment":"buildkit.dockerfile.v0"},{"created_by":"CMD","empty_layer":true}],"rootfs":{"type":"layers"}}"#;
        let diff_id = Digest::sha256_of("x");
        assert_eq!(
            text(written(Some(config), None, &[layer(5)], None, None).unwrap()),
            format!(
                r#"{{"architecture":"amd64","config":{{"Env":["A=\u003cb\u003e\u0026c"],"Cmd":null}},"created":"1970-01-01T00:00:05Z","history":[{{"created":"1970-01-01T00:00:05Z","created_by":"COPY a b # buildkit","comment":"buildkit.dockerfile.v0"}},{{"created":"1970-01-01T00:00:05Z","created_by":"CMD","empty_layer":true}}],"os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}},"x":{{"b":1,"a":[2,1]}}}}"#
            )
        );
        if platform::host().architecture == "amd64" {
            assert_eq!(
                text(written(None, None, &[], None, None).unwrap()),
                r#"{"architecture":"amd64","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"},"created":null,"history":null,"os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#
            );
        }
    }

    #[test]
    fn an_epoch_clamps_the_time_of_creation() {
        let config = br#"{"os":"linux","architecture":"amd64","created":"2020-01-01T00:00:00Z"}"#;
        let with = |epoch| text(written(Some(config), None, &[], Some(epoch), None).unwrap());
        assert!(with(10).contains(r#""created":"1970-01-01T00:00:10Z""#));
        assert!(with(4_000_000_000).contains(r#""created":"2020-01-01T00:00:00Z""#));
    }

    #[test]
    fn configurations_that_name_no_platform_are_refused() {
        for config in [
            "null",
            "{}",
            r#"{"os":"linux"}"#,
            r#"{"os":"linux","os":"x"}"#,
            "x",
        ] {
            assert!(
                written(Some(config.as_bytes()), None, &[], None, None).is_err(),
                "{config}"
            );
        }
    }
}
