//! The image configuration, as Docker extends OCI's, in the form that Go's encoder gives it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::golang::json::{Object, push_string, string_list};
use crate::golang::quote::quote;
use crate::instruction::Healthcheck;
use crate::platform::Platform;

/// Where programs are looked for if an image does not say.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image configuration. `created` is left out: the exporter fills it in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// MAINTAINER.
    pub author: String,
    /// Platform.
    pub platform: Platform,
    /// Type of the root file system.
    pub rootfs_type: String,
    /// Digests of uncompressed layers; `None` and an empty list are written differently.
    pub diff_ids: Option<Vec<String>>,
    /// Steps.
    pub history: Vec<History>,
    /// How containers run.
    pub config: Config,
    /// When the image was made; kept only for base images as they were found.
    pub created: Option<String>,
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// When, in RFC 3339; filled in by the exporter where missing.
    pub created: Option<String>,
    /// The instruction.
    pub created_by: String,
    /// Author.
    pub author: String,
    /// Which program.
    pub comment: String,
    /// Whether it made no layer.
    pub empty_layer: bool,
}

/// How containers run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each field is the configuration's of that name"
)]
pub struct Config {
    pub user: String,
    pub exposed_ports: BTreeSet<String>,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub volumes: BTreeSet<String>,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: String,
    pub args_escaped: bool,
    pub healthcheck: Option<Healthcheck>,
    pub on_build: Vec<String>,
    pub shell: Vec<String>,
}

impl Image {
    /// The image of `FROM scratch`.
    #[must_use]
    pub fn scratch(platform: &Platform) -> Self {
        let mut image = Self {
            platform: platform.clone(),
            rootfs_type: "layers".to_owned(),
            ..Self::default()
        };
        "/".clone_into(&mut image.config.working_dir);
        if platform.os != "windows" {
            image.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        image
    }

    /// Reads a configuration. Unknown fields are dropped, as BuildKit's frontend drops them.
    ///
    /// # Errors
    /// A message: no JSON, or a field of another type.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| format!("failed to parse image config: {error}"))?;
        let root = Fields::of(&value, "image config")?;
        let rootfs = root.get("rootfs");
        let rootfs = Fields::of(rootfs, "rootfs")?;
        Ok(Self {
            author: root.text("author")?,
            platform: Platform {
                architecture: root.text("architecture")?,
                os: root.text("os")?,
                os_version: root.text("os.version")?,
                os_features: root.list("os.features")?,
                variant: root.text("variant")?,
            },
            rootfs_type: rootfs.text("type")?,
            diff_ids: match rootfs.get("diff_ids") {
                Value::Null => None,
                _ => Some(rootfs.list("diff_ids")?),
            },
            history: root
                .items("history")?
                .iter()
                .map(History::parse)
                .collect::<Result<_, _>>()?,
            config: Config::parse(root.get("config"))?,
            created: root.time("created")?,
        })
    }

    /// The configuration as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        let mut root = Object::open(&mut out);
        if let Some(created) = &self.created {
            root.string("created", created);
        }
        root.string_or_none("author", &self.author);
        root.string("architecture", &self.platform.architecture);
        root.string("os", &self.platform.os);
        root.string_or_none("os.version", &self.platform.os_version);
        root.list_or_none("os.features", &self.platform.os_features);
        root.string_or_none("variant", &self.platform.variant);
        let mut rootfs = Object::open(root.key("rootfs"));
        rootfs.string("type", &self.rootfs_type);
        let diff_ids = self
            .diff_ids
            .as_ref()
            .map_or_else(|| "null".to_owned(), |ids| string_list(ids));
        rootfs.key("diff_ids").push_str(&diff_ids);
        rootfs.close();
        if !self.history.is_empty() {
            let list = root.key("history");
            list.push('[');
            for (at, step) in self.history.iter().enumerate() {
                if at > 0 {
                    list.push(',');
                }
                step.write(list);
            }
            list.push(']');
        }
        self.config.write(root.key("config"));
        root.close();
        out
    }
}

impl History {
    fn parse(value: &Value) -> Result<Self, String> {
        let fields = Fields::of(value, "history")?;
        Ok(Self {
            created: fields.time("created")?,
            created_by: fields.text("created_by")?,
            author: fields.text("author")?,
            comment: fields.text("comment")?,
            empty_layer: fields.truth("empty_layer")?,
        })
    }

    fn write(&self, out: &mut String) {
        let mut object = Object::open(out);
        if let Some(created) = &self.created {
            object.string("created", created);
        }
        object.string_or_none("created_by", &self.created_by);
        object.string_or_none("author", &self.author);
        object.string_or_none("comment", &self.comment);
        object.truth_or_none("empty_layer", self.empty_layer);
        object.close();
    }
}

impl Config {
    fn parse(value: &Value) -> Result<Self, String> {
        let fields = Fields::of(value, "config")?;
        Ok(Self {
            user: fields.text("User")?,
            exposed_ports: fields.names("ExposedPorts")?,
            env: fields.list("Env")?,
            entrypoint: fields.list("Entrypoint")?,
            cmd: fields.list("Cmd")?,
            volumes: fields.names("Volumes")?,
            working_dir: fields.text("WorkingDir")?,
            labels: fields.texts("Labels")?,
            stop_signal: fields.text("StopSignal")?,
            args_escaped: fields.truth("ArgsEscaped")?,
            healthcheck: match fields.get("Healthcheck") {
                Value::Null => None,
                value => Some(healthcheck(value)?),
            },
            on_build: fields.list("OnBuild")?,
            shell: fields.list("Shell")?,
        })
    }

    fn write(&self, out: &mut String) {
        let mut object = Object::open(out);
        object.string_or_none("User", &self.user);
        write_names(&mut object, "ExposedPorts", &self.exposed_ports);
        object.list_or_none("Env", &self.env);
        object.list_or_none("Entrypoint", &self.entrypoint);
        object.list_or_none("Cmd", &self.cmd);
        write_names(&mut object, "Volumes", &self.volumes);
        object.string_or_none("WorkingDir", &self.working_dir);
        if !self.labels.is_empty() {
            let mut labels = Object::open(object.key("Labels"));
            for (key, value) in &self.labels {
                labels.string(key, value);
            }
            labels.close();
        }
        object.string_or_none("StopSignal", &self.stop_signal);
        object.truth_or_none("ArgsEscaped", self.args_escaped);
        if let Some(check) = &self.healthcheck {
            let mut health = Object::open(object.key("Healthcheck"));
            health.list_or_none("Test", &check.test);
            health.number_or_none("Interval", check.interval);
            health.number_or_none("Timeout", check.timeout);
            health.number_or_none("StartPeriod", check.start_period);
            health.number_or_none("StartInterval", check.start_interval);
            health.number_or_none("Retries", check.retries);
            health.close();
        }
        object.list_or_none("OnBuild", &self.on_build);
        object.list_or_none("Shell", &self.shell);
        object.close();
    }
}

fn healthcheck(value: &Value) -> Result<Healthcheck, String> {
    let fields = Fields::of(value, "Healthcheck")?;
    Ok(Healthcheck {
        test: fields.list("Test")?,
        interval: fields.number("Interval")?,
        timeout: fields.number("Timeout")?,
        start_period: fields.number("StartPeriod")?,
        start_interval: fields.number("StartInterval")?,
        retries: fields.number("Retries")?,
    })
}

/// A set as Go writes it: an object whose values are empty objects.
fn write_names(object: &mut Object<'_>, name: &str, names: &BTreeSet<String>) {
    if names.is_empty() {
        return;
    }
    let out = object.key(name);
    out.push('{');
    for (at, item) in names.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(out, item);
        out.push_str(":{}");
    }
    out.push('}');
}

/// An object's fields. Null and missing are the same; names that fit only without regard to case count too, as in Go.
struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    what: &'static str,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value, what: &'static str) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self { map: None, what }),
            Value::Object(map) => Ok(Self {
                map: Some(map),
                what,
            }),
            _ => Err(format!(
                "failed to parse image config: {what} is not an object"
            )),
        }
    }

    fn get(&self, name: &str) -> &'a Value {
        let Some(map) = self.map else {
            return &Value::Null;
        };
        let exact = map.get(name);
        exact
            .or_else(|| {
                map.iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value)
            })
            .unwrap_or(&Value::Null)
    }

    fn wrong<T>(&self, name: &str) -> Result<T, String> {
        Err(format!(
            "failed to parse image config: {} of {} has the wrong type",
            quote(name),
            self.what
        ))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        match self.get(name) {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            _ => self.wrong(name),
        }
    }

    fn truth(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            Value::Null => Ok(false),
            Value::Bool(truth) => Ok(*truth),
            _ => self.wrong(name),
        }
    }

    fn number(&self, name: &str) -> Result<i64, String> {
        match self.get(name) {
            Value::Null => Ok(0),
            value => value.as_i64().map_or_else(|| self.wrong(name), Ok),
        }
    }

    fn items(&self, name: &str) -> Result<&'a [Value], String> {
        match self.get(name) {
            Value::Null => Ok(&[]),
            Value::Array(items) => Ok(items),
            _ => self.wrong(name),
        }
    }

    fn list(&self, name: &str) -> Result<Vec<String>, String> {
        self.items(name)?
            .iter()
            .map(|item| match item {
                Value::Null => Ok(String::new()),
                Value::String(text) => Ok(text.clone()),
                _ => self.wrong(name),
            })
            .collect()
    }

    fn names(&self, name: &str) -> Result<BTreeSet<String>, String> {
        match self.get(name) {
            Value::Null => Ok(BTreeSet::new()),
            Value::Object(map) => Ok(map.keys().cloned().collect()),
            _ => self.wrong(name),
        }
    }

    fn texts(&self, name: &str) -> Result<BTreeMap<String, String>, String> {
        match self.get(name) {
            Value::Null => Ok(BTreeMap::new()),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| match value {
                    Value::Null => Ok((key.clone(), String::new())),
                    Value::String(text) => Ok((key.clone(), text.clone())),
                    _ => self.wrong(name),
                })
                .collect(),
            _ => self.wrong(name),
        }
    }

    /// A time as Go writes it: no zeros at the end of the fraction.
    fn time(&self, name: &str) -> Result<Option<String>, String> {
        let text = match self.get(name) {
            Value::Null => return Ok(None),
            Value::String(text) => text,
            _ => return self.wrong(name),
        };
        let Some((seconds, rest)) = text.split_once('.') else {
            return Ok(Some(text.clone()));
        };
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (fraction, zone) = rest.split_at(digits);
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        Ok(Some(format!("{seconds}{dot}{fraction}{zone}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_a_round_trip() {
        let text = r#"{"created":"2024-01-02T03:04:05.1Z","author":"me","architecture":"arm","os":"linux","variant":"v7","rootfs":{"type":"layers","diff_ids":["sha256:00"]},"history":[{"created":"2024-01-02T03:04:05Z","created_by":"a \u003c b","empty_layer":true}],"config":{"User":"u","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Entrypoint":["e"],"Cmd":["c"],"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"k":"v"},"StopSignal":"SIGINT","ArgsEscaped":true,"Healthcheck":{"Test":["NONE"],"Interval":1},"OnBuild":["RUN x"],"Shell":["sh"]}}"#;
        assert_eq!(Image::parse(text.as_bytes()).unwrap().to_json(), text);
    }

    #[test]
    fn nulls_are_nothing_and_wrong_types_are_refused() {
        let image =
            Image::parse(br#"{"OS":"linux","config":{"Labels":null,"Cmd":null},"rootfs":null}"#)
                .unwrap();
        assert_eq!(image.platform.os, "linux");
        assert!(
            image
                .to_json()
                .contains(r#""rootfs":{"type":"","diff_ids":null}"#)
        );
        for text in ["[]", "{", r#"{"config":{"Env":"x"}}"#, r#"{"os":1}"#] {
            assert!(Image::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
