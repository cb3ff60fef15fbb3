use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use cooper_core::model::{DeviceInfo, Failure, find_devices};
use cooper_proto::pb;

use super::edits::DeviceEdits;
use super::spec::{DeviceSpec, Spec};
use super::yaml;

/// Annotation by which a file or device says that builds may use it without being permitted to.
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// Longest file that is read.
///
/// # Units
/// Bytes.
const MAX_SPEC: u64 = 1 << 20;

/// Where devices are described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdiSettings {
    /// Folders of files; a later one wins. Without any, there are no devices.
    pub folders: Vec<PathBuf>,
    /// Names and kinds of devices that builds may use without being permitted to.
    pub auto_allowed: Vec<String>,
}

impl Default for CdiSettings {
    /// As buildkitd's.
    fn default() -> Self {
        Self {
            folders: ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"]
                .map(PathBuf::from)
                .into(),
            auto_allowed: Vec::new(),
        }
    }
}

/// Why a step does not get its devices.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is none of that name.
    #[error(transparent)]
    Unknown(Failure),
    /// Its file asks for what we do not do.
    #[error("device {device}: {what} of container edits are not supported yet")]
    Unbuilt {
        /// The device.
        device: String,
        /// The field.
        what: &'static str,
    },
    /// Its file asks for what cannot be done.
    #[error("device {device}: {reason}")]
    Edit {
        /// The device.
        device: String,
        /// What is wrong.
        reason: String,
    },
}

/// The devices of this machine. The files are read each time, so that changes count at once.
#[derive(Debug, Clone)]
pub struct Devices {
    settings: CdiSettings,
}

impl Devices {
    /// The devices that the settings lead to.
    #[must_use]
    pub fn new(settings: CdiSettings) -> Self {
        Self { settings }
    }

    /// All of them, sorted by name.
    #[must_use]
    pub fn list(&self) -> Vec<DeviceInfo> {
        let known = self.read();
        known
            .iter()
            .map(|(name, (spec, device))| self.info(name, spec, device))
            .collect()
    }

    /// What a step's requests do to its container.
    ///
    /// # Errors
    /// For a device that is not there, or that cannot be handed over.
    pub fn edits(&self, asked: &[pb::CdiDevice]) -> Result<DeviceEdits, DeviceError> {
        let mut edits = DeviceEdits::default();
        if asked.is_empty() {
            return Ok(edits);
        }
        let known = self.read();
        let infos: Vec<_> = known
            .iter()
            .map(|(name, (spec, device))| self.info(name, spec, device))
            .collect();
        let mut kinds: Vec<&str> = Vec::new();
        for name in find_devices(asked, &infos).map_err(DeviceError::Unknown)? {
            let Some((spec, device)) = known.get(&name) else {
                continue;
            };
            // What is common to a file's devices is done once.
            if !kinds.contains(&spec.kind.as_str()) {
                kinds.push(&spec.kind);
                edits.add(&name, &spec.container_edits)?;
            }
            edits.add(&name, &device.container_edits)?;
        }
        Ok(edits)
    }

    fn info(&self, name: &str, spec: &Spec, device: &DeviceSpec) -> DeviceInfo {
        let mut annotations = spec.annotations.clone();
        annotations.extend(device.annotations.clone());
        let listed = self
            .settings
            .auto_allowed
            .iter()
            .any(|allowed| allowed == name || *allowed == spec.kind);
        let says_so = annotations
            .get(AUTO_ALLOW)
            .is_some_and(|value| ["1", "t", "T", "true", "TRUE", "True"].contains(&value.as_str()));
        DeviceInfo {
            name: name.to_owned(),
            auto_allow: listed || says_so,
            annotations,
        }
    }

    /// Every device with its file. A file that cannot be read or is wrong has none.
    fn read(&self) -> BTreeMap<String, (Spec, DeviceSpec)> {
        let mut known = BTreeMap::new();
        for folder in &self.settings.folders {
            let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|path| {
                    path.extension()
                        .is_some_and(|kind| kind == "json" || kind == "yaml")
                })
                .collect();
            paths.sort();
            for path in paths {
                match read_spec(&path) {
                    Ok(spec) => {
                        for device in &spec.devices {
                            let name = format!("{}={}", spec.kind, device.name);
                            known.insert(name, (spec.clone(), device.clone()));
                        }
                    }
                    Err(reason) => {
                        tracing::warn!(path = %path.display(), reason, "a file of devices is left out");
                    }
                }
            }
        }
        known
    }
}

fn read_spec(path: &Path) -> Result<Spec, String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SPEC).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    let spec: Spec =
        serde_json::from_value(yaml::parse(&text)?).map_err(|error| error.to_string())?;
    let is_kind = spec
        .kind
        .split_once('/')
        .is_some_and(|(vendor, class)| is_name(vendor) && is_name(class));
    match spec.devices.iter().find(|device| !is_name(&device.name)) {
        _ if spec.version.is_empty() => Err("it has no version".into()),
        _ if !is_kind => Err(format!("{:?} is no kind of device", spec.kind)),
        Some(device) => Err(format!("{:?} is no name of a device", device.name)),
        None => Ok(spec),
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Device;

    fn devices(files: &[(&str, &str)], allowed: &[&str]) -> (tempfile::TempDir, Devices) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let settings = CdiSettings {
            folders: vec![folder.path().into()],
            auto_allowed: allowed.iter().map(ToString::to_string).collect(),
        };
        (folder, Devices::new(settings))
    }

    const VENDOR: &str = r#"
cdiVersion: "0.6.0"
kind: "vendor1.com/device"
annotations:
  org.mobyproject.buildkit.device.autoallow: true
containerEdits:
  env: [COMMON=1]
devices:
- name: foo
  containerEdits:
    env:
    - FOO=injected
    deviceNodes:
    - path: /dev/vendor/null
      hostPath: /dev/null
      fileMode: 384
    additionalGids: [44, 0]
- name: bar
  containerEdits:
    env:
    - BAR=injected
"#;

    fn asked(name: &str) -> [pb::CdiDevice; 1] {
        [pb::CdiDevice {
            name: name.into(),
            optional: false,
        }]
    }

    #[test]
    fn file_s_devices_are_listed_and_injected() {
        let (_folder, devices) = devices(&[("a.yaml", VENDOR)], &[]);
        let names: Vec<_> = devices
            .list()
            .into_iter()
            .map(|device| (device.name, device.auto_allow))
            .collect();
        assert_eq!(
            names,
            [
                ("vendor1.com/device=bar".to_owned(), true),
                ("vendor1.com/device=foo".to_owned(), true)
            ]
        );
        let edits = devices.edits(&asked("vendor1.com/device=*")).unwrap();
        assert_eq!(edits.env, ["COMMON=1", "BAR=injected", "FOO=injected"]);
        assert_eq!(edits.groups, [44]);
        let node = Device::default();
        assert_eq!(
            edits.nodes,
            [Device {
                path: "/dev/vendor/null".into(),
                kind: "c".into(),
                major: 1,
                minor: 3,
                file_mode: Some(0o600),
                host_path: Some("/dev/null".into()),
                ..node
            }]
        );
    }

    #[test]
    fn t_a19_without_folders_an_op_that_needs_a_device_fails_and_nothing_else() {
        let devices = Devices::new(CdiSettings {
            folders: Vec::new(),
            auto_allowed: Vec::new(),
        });
        assert_eq!(devices.list(), []);
        let error = devices.edits(&asked("vendor1.com/device")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "required device \"vendor1.com/device\" is not registered"
        );
        let mut optional = asked("vendor1.com/device");
        optional[0].optional = true;
        assert_eq!(devices.edits(&optional).unwrap().env, [""; 0]);
    }

    #[test]
    fn wrong_files_have_no_devices_and_what_is_not_built_is_named() {
        let hooks = r#"{"cdiVersion":"0.6.0","kind":"a.com/b","devices":[{"name":"c","containerEdits":{"hooks":[{}]}}]}"#;
        let outside = r#"{"cdiVersion":"0.6.0","kind":"a.com/d","devices":[{"name":"e","containerEdits":{"deviceNodes":[{"path":"/dev/../etc/x"}]}}]}"#;
        let (_folder, devices) = devices(
            &[
                ("broken.yaml", "a: ["),
                ("empty.json", ""),
                (
                    "field.yaml",
                    "cdiVersion: '1'\nkind: a.com/x\ndevices: []\nfun: 1\n",
                ),
                (
                    "kind.yaml",
                    "cdiVersion: '1'\nkind: none\ndevices: [{name: x}]\n",
                ),
                ("hooks.json", hooks),
                ("outside.json", outside),
                ("other.txt", VENDOR),
            ],
            &["a.com/b"],
        );
        let list = devices.list();
        let names: Vec<_> = list
            .iter()
            .map(|d| (d.name.as_str(), d.auto_allow))
            .collect();
        assert_eq!(names, [("a.com/b=c", true), ("a.com/d=e", false)]);
        let error = devices.edits(&asked("a.com/b=c")).unwrap_err();
        assert!(error.to_string().contains("hooks"), "{error}");
        let error = devices.edits(&asked("a.com/d=e")).unwrap_err();
        assert!(error.to_string().contains("not below /dev"), "{error}");
    }
}
