use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::json::{null_default, to_json};
use crate::Digest;

/// An image's configuration with the fields that Docker adds to OCI's.
///
/// # Shape
/// Written with its top-level keys in alphabetical order, as BuildKit's exporter
/// does, and with the fields of `config` in the order of Docker's Go type. Fields that
/// are not known here are kept in `unknown` and written back.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default)]
    pub author: String,
    /// Processor architecture as Go names it.
    #[serde(default)]
    pub architecture: String,
    /// Operating system as Go names it.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system.
    #[serde(default, rename = "os.version")]
    pub os_version: String,
    /// Features of the operating system that are required.
    #[serde(default, rename = "os.features", deserialize_with = "null_default")]
    pub os_features: Vec<String>,
    /// Variant of the architecture.
    #[serde(default)]
    pub variant: String,
    /// How a container of it runs.
    #[serde(default, deserialize_with = "null_default")]
    pub config: ContainerConfig,
    /// Its file system.
    #[serde(default, deserialize_with = "null_default")]
    pub rootfs: RootFs,
    /// What made it, oldest first.
    #[serde(default, deserialize_with = "null_default")]
    pub history: Vec<History>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// When the bytes are no JSON, have a key twice, or a known field has a wrong type.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        super::json::refuse_duplicate_keys(bytes)?;
        serde_json::from_slice(bytes)
    }

    /// The configuration's bytes as BuildKit writes them.
    ///
    /// # Errors
    /// Never in practice; the signature is serde's.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        to_json(self)
    }
}

impl Serialize for ImageConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn value<T: Serialize, E: serde::ser::Error>(value: &T) -> Result<Value, E> {
            serde_json::to_value(value).map_err(E::custom)
        }
        let mut fields: BTreeMap<&str, Value> = BTreeMap::new();
        for (key, unknown) in &self.unknown {
            fields.insert(key, unknown.clone());
        }
        let texts = [
            ("author", &self.author),
            ("os.version", &self.os_version),
            ("variant", &self.variant),
        ];
        for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            fields.insert(key, Value::from(text.as_str()));
        }
        fields.insert("architecture", Value::from(self.architecture.as_str()));
        fields.insert("os", Value::from(self.os.as_str()));
        if !self.os_features.is_empty() {
            fields.insert("os.features", value(&self.os_features)?);
        }
        if let Some(created) = &self.created {
            fields.insert("created", Value::from(created.as_str()));
        }
        fields.insert("config", value(&self.config)?);
        fields.insert("rootfs", value(&self.rootfs)?);
        if !self.history.is_empty() {
            fields.insert("history", value(&self.history)?);
        }
        fields.serialize(serializer)
    }
}

/// How a container of an image runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// `user[:group]`, by name or number; empty means root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports that the container listens on, as `port/protocol`.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub exposed_ports: BTreeMap<String, Value>,
    /// Environment as `NAME=value`.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
    /// First part of the command.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub entrypoint: Vec<String>,
    /// Second part of the command, which users replace.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub cmd: Vec<String>,
    /// Paths that should be volumes.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub volumes: BTreeMap<String, Value>,
    /// Working folder.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// Signal that stops the container, by name or number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Whether the command line is escaped already; only Windows images set it.
    #[serde(skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// How to find out whether the container is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions to run in images that are based on this one.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub on_build: Vec<String>,
    /// Shell for commands that are not lists.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub shell: Vec<String>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// How to find out whether a container is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// Empty inherits; otherwise `NONE`, or `CMD` and arguments, or `CMD-SHELL` and a command.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub test: Vec<String>,
    /// Time between tests in nanoseconds; 0 inherits.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Longest time of a test in nanoseconds; 0 inherits.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time after the start in which failures do not count, in nanoseconds; 0 inherits.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between tests in that time, in nanoseconds; 0 inherits.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unwell; 0 inherits.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// An image's file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the layers' tar archives before compression, lowest first.
    #[serde(default, deserialize_with = "null_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            kind: String::from("layers"),
            diff_ids: Vec::new(),
        }
    }
}

/// One step that made an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When it ran, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who ran it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What made the entry, for example `buildkit.dockerfile.v0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_buildkits_order_and_unknown_ones_stay() {
        let text = r#"{"variant":"v7","os":"linux","architecture":"arm","moby.buildkit.cache.v0":"eA==","config":{"Shell":["/bin/sh"],"Memory":1,"User":"a","ExposedPorts":{"80/tcp":{}},"Env":["A=<1>"],"OnBuild":null,"Healthcheck":{"Test":["NONE"],"Retries":3}},"rootfs":{"type":"layers","diff_ids":null},"history":[{"created_by":"x","empty_layer":true}],"created":"2026-11-22T00:00:00Z"}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.config.env, ["A=<1>"]);
        let written = String::from_utf8(config.to_bytes().unwrap()).unwrap();
        assert_eq!(
            written,
            r#"{"architecture":"arm","config":{"User":"a","ExposedPorts":{"80/tcp":{}},"Env":["A=\u003c1\u003e"],"Healthcheck":{"Test":["NONE"],"Retries":3},"Shell":["/bin/sh"],"Memory":1},"created":"2026-11-22T00:00:00Z","history":[{"created_by":"x","empty_layer":true}],"moby.buildkit.cache.v0":"eA==","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"variant":"v7"}"#
        );
        assert_eq!(ImageConfig::parse(written.as_bytes()).unwrap(), config);
    }

    #[test]
    fn configuration_with_a_key_twice_is_refused() {
        assert!(ImageConfig::parse(br#"{"os":"linux","os":"windows"}"#).is_err());
        assert!(ImageConfig::parse(br#"{"config":{"User":"a","User":"root"}}"#).is_err());
    }
}
