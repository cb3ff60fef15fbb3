use super::config::{Config, NamespaceKind};
use super::container::{Container, RunError};
use super::device_rules::default_rules;
use super::program::Joining;
use super::template::{DEFAULT_CAPABILITIES, MASKED_PATHS, READ_ONLY_PATHS};

/// What a container may have beyond the ordinary: the one place that looks at what is really run, whoever made it
/// (security.md I4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// The rights of the engine: any capability, any device, any system call.
    pub insecure: bool,
    /// The machine's own network.
    pub host_network: bool,
    /// Devices of the machine.
    pub devices: bool,
    /// The sight of processes outside, where the kernel lets it see none of its own.
    pub outer_processes: bool,
}

impl Permissions {
    /// # Errors
    /// `Denied`, with the name of the entitlement that the container would need.
    pub(super) fn check(self, container: &Container) -> Result<(), RunError> {
        let config = &container.config;
        if !self.host_network && !has_namespace(config, NamespaceKind::Network) {
            return Err(RunError::Denied("network.host"));
        }
        if self.insecure {
            return Ok(());
        }
        if container.filter.is_none() || is_loose(config) {
            return Err(RunError::Denied("security.insecure"));
        }
        if !self.devices && !config.linux.devices.is_empty() {
            return Err(RunError::Denied("device"));
        }
        Ok(())
    }
}

impl Permissions {
    /// The same for a program that joins a container, which decides itself about nothing but its rights.
    ///
    /// # Errors
    /// `Denied`, with the name of the entitlement that the program would need.
    pub(super) fn check_joining(self, joining: &Joining) -> Result<(), RunError> {
        if !self.insecure && (joining.filter.is_none() || has_more_rights(&joining.config)) {
            return Err(RunError::Denied("security.insecure"));
        }
        Ok(())
    }
}

fn has_namespace(config: &Config, kind: NamespaceKind) -> bool {
    config
        .linux
        .namespaces
        .iter()
        .any(|namespace| namespace.kind == kind)
}

/// Whether a program has capabilities that are not in the template.
fn has_more_rights(config: &Config) -> bool {
    let sets = &config.process.capabilities;
    let more = [&sets.bounding, &sets.effective, &sets.permitted]
        .into_iter()
        .flatten()
        .any(|name| !DEFAULT_CAPABILITIES.contains(&name.as_str()));
    more || !sets.inheritable.is_empty() || !sets.ambient.is_empty()
}

/// Whether anything of the closed template is missing or widened.
fn is_loose(config: &Config) -> bool {
    let shown = |hidden: &[std::path::PathBuf], wanted: &[&str]| {
        wanted
            .iter()
            .any(|path| !hidden.iter().any(|known| known.as_os_str() == *path))
    };
    let own = [
        NamespaceKind::Pid,
        NamespaceKind::Mount,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
    ];
    has_more_rights(config)
        || shown(&config.linux.masked_paths, &MASKED_PATHS)
        || shown(&config.linux.readonly_paths, &READ_ONLY_PATHS)
        || own.into_iter().any(|kind| !has_namespace(config, kind))
        || config.linux.resources.devices != default_rules(&config.linux.devices)
        || config.mounts.iter().any(is_writable_window)
}

/// A file system of the kernel's, through which the machine itself could be changed.
fn is_writable_window(mount: &super::config::ConfigMount) -> bool {
    let read_only = mount.options.iter().any(|option| option == "ro");
    ["sysfs", "cgroup", "cgroup2"].contains(&mount.kind.as_str()) && !read_only
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Network, Security, Template};

    #[test]
    fn every_widening_of_the_template_is_seen() {
        let sound = Template {
            network: Network::None,
            ..Template::default()
        }
        .config();
        assert!(!is_loose(&sound));
        type Change = fn(&mut Config);
        let widenings: [Change; 8] = [
            |c| {
                c.process
                    .capabilities
                    .effective
                    .push("CAP_SYS_ADMIN".into())
            },
            |c| c.process.capabilities.inheritable.push("CAP_CHOWN".into()),
            |c| c.process.capabilities.ambient.push("CAP_CHOWN".into()),
            |c| drop(c.linux.masked_paths.pop()),
            |c| c.linux.readonly_paths.clear(),
            |c| c.linux.namespaces.retain(|n| n.kind != NamespaceKind::Pid),
            |c| c.linux.resources.devices.clear(),
            |c| {
                c.mounts
                    .iter_mut()
                    .for_each(|m| m.options.retain(|o| o != "ro"))
            },
        ];
        for (number, change) in widenings.into_iter().enumerate() {
            let mut config = sound.clone();
            change(&mut config);
            assert!(is_loose(&config), "{number}");
        }
        let insecure = Template {
            security: Security::Insecure,
            ..Template::default()
        };
        assert!(is_loose(&insecure.config()));
    }
}
