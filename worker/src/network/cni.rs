use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use super::error::NetworkError;

/// Plugins that connect a namespace one after the other (CNI specification 1.0.0).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plugins {
    name: String,
    version: String,
    programs: Vec<PathBuf>,
    /// Their own parts of the configuration, in order.
    list: Vec<Map<String, Value>>,
}

/// A namespace as plugins are told of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attachment<'a> {
    pub(super) id: &'a str,
    /// Path of the namespace; empty when it is gone.
    pub(super) path: &'a str,
    /// Name of the step in it; may be empty.
    pub(super) hostname: &'a str,
}

/// Interfaces are named as everywhere.
const INTERFACE: &str = "eth0";

impl Plugins {
    /// Reads a configuration of one plugin or of a list.
    pub(super) fn parse(path: &Path, text: &str, programs: &Path) -> Result<Self, NetworkError> {
        let invalid = |reason: String| NetworkError::Config {
            path: path.display().to_string(),
            reason,
        };
        let mut all: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        let text_of = |all: &Map<String, Value>, key: &str| {
            all.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (name, version) = (text_of(&all, "name"), text_of(&all, "cniVersion"));
        if name.is_empty() {
            return Err(invalid("it has no name".into()));
        }
        let is_list = path
            .extension()
            .is_some_and(|extension| extension == "conflist");
        let list = match (is_list, all.remove("plugins")) {
            (true, Some(Value::Array(plugins))) => plugins
                .into_iter()
                .map(|plugin| match plugin {
                    Value::Object(plugin) => Ok(plugin),
                    _ => Err(invalid("a plugin is no object".into())),
                })
                .collect::<Result<_, _>>()?,
            (true, _) => return Err(invalid("it has no list of plugins".into())),
            (false, _) => vec![all],
        };
        let plugins = Self {
            name,
            version,
            programs: vec![programs.to_owned()],
            list,
        };
        match plugins
            .list
            .iter()
            .find(|plugin| !is_program_name(&text_of(plugin, "type")))
        {
            Some(_) => Err(invalid("a plugin has no type".into())),
            None if plugins.list.is_empty() => Err(invalid("it names no plugin".into())),
            None => Ok(plugins),
        }
    }

    /// The plugins of a bridge of ours, as BuildKit's.
    pub(super) fn bridge(name: &str, subnet: &str, programs: &Path) -> Self {
        let list = [
            json!({"type": "loopback"}),
            json!({
                "type": "bridge", "bridge": name, "isDefaultGateway": true, "ipMasq": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]]},
            }),
            json!({"type": "firewall", "backend": "", "ingressPolicy": "same-bridge"}),
        ];
        Self {
            name: "buildkit".into(),
            version: "1.0.0".into(),
            programs: vec![programs.to_owned()],
            list: list
                .into_iter()
                .filter_map(|plugin| plugin.as_object().cloned())
                .collect(),
        }
    }

    /// Connects a namespace and says what came of it, to be given back to [`Self::delete`]. Blocks.
    ///
    /// # Errors
    /// What a plugin said; what those before it did is undone then.
    pub(super) fn add(&self, attachment: Attachment<'_>) -> Result<Value, NetworkError> {
        let mut result = Value::Null;
        for plugin in &self.list {
            match self.call("ADD", plugin, attachment, &result) {
                // A plugin that has nothing to say leaves what was said.
                Ok(Value::Null) => {}
                Ok(answer) => result = answer,
                Err(error) => {
                    if let Err(further) = self.delete(attachment, &result) {
                        tracing::warn!(error = %further, "undoing a half-made network failed");
                    }
                    return Err(error);
                }
            }
        }
        Ok(result)
    }

    /// Undoes what [`Self::add`] did. Blocks.
    ///
    /// # Errors
    /// The first plugin's that failed; the others are asked all the same.
    pub(super) fn delete(
        &self,
        attachment: Attachment<'_>,
        result: &Value,
    ) -> Result<(), NetworkError> {
        let mut failed = Ok(());
        for plugin in self.list.iter().rev() {
            let answer = self.call("DEL", plugin, attachment, result);
            failed = failed.and(answer.map(drop));
        }
        failed
    }

    fn call(
        &self,
        command: &'static str,
        plugin: &Map<String, Value>,
        attachment: Attachment<'_>,
        previous: &Value,
    ) -> Result<Value, NetworkError> {
        let kind = plugin
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let fail = |reason: String| NetworkError::Plugin {
            plugin: kind.to_owned(),
            command,
            reason,
        };
        let mut config = plugin.clone();
        config.insert("name".into(), self.name.clone().into());
        config.insert("cniVersion".into(), self.version.clone().into());
        if !previous.is_null() {
            config.insert("prevResult".into(), previous.clone());
        }
        let program = self.find(kind).ok_or_else(|| {
            let folders: Vec<_> = self
                .programs
                .iter()
                .map(|p| p.display().to_string())
                .collect();
            fail(format!(
                "failed to find plugin {kind:?} in {}",
                folders.join(", ")
            ))
        })?;
        // As dockershim and podman say it; plugins that do not know the name are told not to mind.
        let arguments = match attachment.hostname {
            "" => String::new(),
            hostname => format!("K8S_POD_NAME={hostname};IgnoreUnknown=1"),
        };
        let paths =
            std::env::join_paths(&self.programs).map_err(|error| fail(error.to_string()))?;
        let mut child = Command::new(program)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", attachment.id)
            .env("CNI_NETNS", attachment.path)
            .env("CNI_IFNAME", INTERFACE)
            .env("CNI_ARGS", arguments)
            .env("CNI_PATH", paths)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| fail(error.to_string()))?;
        // A configuration is far smaller than what a pipe holds, so that this cannot wait for the plugin to read.
        let input = child.stdin.take();
        let written =
            input.map(|mut input| input.write_all(Value::Object(config).to_string().as_bytes()));
        let output = child
            .wait_with_output()
            .map_err(|error| fail(error.to_string()))?;
        if !output.status.success() {
            return Err(fail(said(&output)));
        }
        if let Some(Err(error)) = written {
            return Err(fail(error.to_string()));
        }
        if output.stdout.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout).map_err(|error| fail(error.to_string()))
    }

    fn find(&self, kind: &str) -> Option<PathBuf> {
        self.programs
            .iter()
            .map(|folder| folder.join(kind))
            .find(|program| program.is_file())
    }
}

/// A plugin is a program in a folder of ours, and no path elsewhere.
fn is_program_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

/// What a plugin that failed said: an error object on its output, or anything.
fn said(output: &std::process::Output) -> String {
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    let words = match (text("msg"), text("details")) {
        ("", _) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        (message, "") => message.to_owned(),
        (message, details) => format!("{message}; {details}"),
    };
    if words.is_empty() {
        output.status.to_string()
    } else {
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Plugins that write down how they were called, as far as a shell can.
    fn fake(folder: &Path, name: &str, body: &str) {
        let path = folder.join(name);
        let log = folder.join("log");
        let script = format!(
            "#!/bin/sh\nconfig=$(cat)\necho \"$CNI_COMMAND {name} $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS $config\" >> {}\n{body}\n",
            log.display()
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    const LIST: &str =
        r#"{"cniVersion":"0.4.0","name":"n","plugins":[{"type":"one","x":1},{"type":"two"}]}"#;

    fn plugins(folder: &Path) -> Plugins {
        Plugins::parse(Path::new("a.conflist"), LIST, folder).unwrap()
    }

    const STEP: Attachment<'_> = Attachment {
        id: "id1",
        path: "/ns",
        hostname: "web",
    };

    #[test]
    fn plugins_are_called_in_order_and_undone_in_reverse() {
        let folder = tempfile::tempdir().unwrap();
        fake(folder.path(), "one", "echo '{\"a\":1}'");
        fake(folder.path(), "two", "");
        let plugins = plugins(folder.path());
        let result = plugins.add(STEP).unwrap();
        assert_eq!(result, json!({"a": 1}));
        plugins.delete(STEP, &result).unwrap();
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        let common = "id1 /ns eth0 K8S_POD_NAME=web;IgnoreUnknown=1";
        let of = |plugin: &str, rest: &str| {
            format!(r#"{common} {{"type":"{plugin}"{rest},"name":"n","cniVersion":"0.4.0""#)
        };
        let (one, two) = (of("one", r#","x":1"#), of("two", ""));
        let previous = r#","prevResult":{"a":1}}"#;
        assert_eq!(
            log.lines().collect::<Vec<_>>(),
            [
                format!("ADD one {one}}}"),
                format!("ADD two {two}{previous}"),
                format!("DEL two {two}{previous}"),
                format!("DEL one {one}{previous}"),
            ]
        );
    }

    #[test]
    fn failure_is_told_in_the_plugin_s_words_and_undone() {
        let folder = tempfile::tempdir().unwrap();
        fake(folder.path(), "one", "echo '{}'");
        fake(
            folder.path(),
            "two",
            "[ $CNI_COMMAND = DEL ] || { echo '{\"code\":11,\"msg\":\"no more\",\"details\":\"try later\"}'; exit 1; }",
        );
        let error = plugins(folder.path()).add(STEP).unwrap_err();
        assert_eq!(
            error.to_string(),
            "CNI setup error: plugin type=\"two\" failed (ADD): no more; try later"
        );
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        let calls: Vec<_> = log.lines().map(|line| &line[..7]).collect();
        assert_eq!(calls, ["ADD one", "ADD two", "DEL two", "DEL one"]);
    }

    #[test]
    fn configuration_that_names_no_program_is_refused() {
        for (path, text) in [
            ("a.json", "{"),
            ("a.json", r#"{"name":"n"}"#),
            ("a.json", r#"{"type":"x"}"#),
            ("a.json", r#"{"name":"n","type":"../x"}"#),
            ("a.conflist", r#"{"name":"n","type":"x"}"#),
            ("a.conflist", r#"{"name":"n","plugins":[]}"#),
            ("a.conflist", r#"{"name":"n","plugins":[1]}"#),
        ] {
            let parsed = Plugins::parse(Path::new(path), text, Path::new("/"));
            assert!(parsed.is_err(), "{path} {text}");
        }
    }
}
