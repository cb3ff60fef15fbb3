use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::registry::DeviceError;
use super::spec::{Edits, Mount, Node};
use crate::exec::{ContainerMount, Device, Source};
use crate::mount::DetachedMount;

/// What some devices do to a container.
#[derive(Debug, Default)]
pub struct DeviceEdits {
    /// Variables, as `NAME=value`.
    pub env: Vec<String>,
    /// Nodes in `/dev`.
    pub nodes: Vec<Device>,
    /// Files and directories of the machine's.
    pub mounts: Vec<ContainerMount>,
    /// Further groups of the program's user.
    pub groups: Vec<u32>,
}

impl DeviceEdits {
    pub(super) fn add(&mut self, device: &str, edits: &Edits) -> Result<(), DeviceError> {
        let unbuilt = [
            (!edits.hooks.is_empty(), "hooks"),
            (!edits.net_devices.is_empty(), "netDevices"),
            (edits.intel_rdt.is_some(), "intelRdt"),
        ];
        if let Some((_, what)) = unbuilt.into_iter().find(|(is_asked, _)| *is_asked) {
            return Err(DeviceError::Unbuilt {
                device: device.to_owned(),
                what,
            });
        }
        self.env.extend(edits.env.iter().cloned());
        for node in &edits.device_nodes {
            self.nodes.push(given(device, node)?);
        }
        for mount in &edits.mounts {
            self.mounts.push(mounted(device, mount)?);
        }
        for group in &edits.additional_gids {
            if *group != 0 && !self.groups.contains(group) {
                self.groups.push(*group);
            }
        }
        Ok(())
    }
}

/// A node as the specification describes it; what it leaves out is the machine's.
fn given(device: &str, node: &Node) -> Result<Device, DeviceError> {
    let fail = |reason: String| DeviceError::Edit {
        device: device.to_owned(),
        reason,
    };
    let is_inside = node.path.starts_with("/dev")
        && node
            .path
            .components()
            .all(|part| !matches!(part, std::path::Component::ParentDir));
    if !is_inside {
        return Err(fail(format!("{} is not below /dev", node.path.display())));
    }
    let own = node.host_path.as_ref().unwrap_or(&node.path);
    let (kind, major, minor) = match (node.kind.as_deref(), node.major, node.minor) {
        (Some(kind @ ("b" | "c" | "u")), Some(major), Some(minor)) => (kind, major, minor),
        _ => machine_s(own).map_err(|error| fail(format!("{}: {error}", own.display())))?,
    };
    Ok(Device {
        path: node.path.clone(),
        kind: if kind == "b" { "b" } else { "c" }.to_owned(),
        major,
        minor,
        file_mode: node.file_mode,
        uid: node.uid.unwrap_or(0),
        gid: node.gid.unwrap_or(0),
        host_path: node.host_path.clone(),
    })
}

fn machine_s(path: &Path) -> std::io::Result<(&'static str, u32, u32)> {
    let metadata = std::fs::metadata(path)?;
    let kind = if metadata.file_type().is_block_device() {
        "b"
    } else if metadata.file_type().is_char_device() {
        "c"
    } else {
        return Err(std::io::Error::other("it is no device"));
    };
    let number = metadata.rdev();
    Ok((kind, rustix::fs::major(number), rustix::fs::minor(number)))
}

fn mounted(device: &str, mount: &Mount) -> Result<ContainerMount, DeviceError> {
    let source = DetachedMount::bind_path(&mount.host_path).map_err(|error| DeviceError::Edit {
        device: device.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(ContainerMount {
        destination: mount.container_path.clone(),
        source: Source::Whole(source),
        read_only: mount.options.iter().any(|option| option == "ro"),
    })
}
