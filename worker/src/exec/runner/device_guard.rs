use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::devices::{self, place_of};
use super::mounts::attach_on_old_root;
use crate::exec::config::Device;
use crate::exec::protocol::{Launch, SetupFailure};
use crate::mount::{DetachedMount, TmpfsOptions};
use crate::sys::MountAttributes;
use crate::userns::Identity;

/// Keeps a container from the machine's devices where no control group does: no mount that it can write, or that an image
/// filled, lets a device be opened. Its own devices are mounted one by one from a place that it cannot reach.
///
/// In a user namespace nobody can make a device at all, so that those of the machine are mounted.
pub(super) struct DeviceGuard {
    /// The usable nodes and their names; `None` where there is nothing to guard.
    nodes: Option<Nodes>,
}

enum Nodes {
    /// Made by us on a mount of their own.
    Made(DetachedMount, Vec<String>),
    /// The machine's, each as a mount.
    Outer(Vec<(String, DetachedMount)>),
}

impl DeviceGuard {
    pub(super) fn new(launch: &Launch) -> Result<Self, SetupFailure> {
        let devices = &launch.config.linux.devices;
        if Identity::of_this_process().is_mapped() {
            let nodes = Some(Nodes::Outer(outer_nodes(devices)?));
            return Ok(Self { nodes });
        }
        if !launch.guards_devices_by_mounts {
            return Ok(Self { nodes: None });
        }
        let fail = |error: &dyn std::fmt::Display| SetupFailure::machine("make devices", error);
        let stage = DetachedMount::tmpfs_with_devices(TmpfsOptions {
            size: 0,
            mode: 0o700,
        })
        .map_err(|error| fail(&error))?;
        let root = stage.root().map_err(|error| fail(&error))?;
        let names = devices::make_nodes(&root, devices).map_err(|error| fail(&error))?;
        let stage = attach_on_old_root(&stage.into_fd(), "make devices")?;
        Ok(Self {
            nodes: Some(Nodes::Made(stage, names)),
        })
    }

    /// Mounts that it has put on the old root.
    pub(super) fn stacked(&self) -> usize {
        usize::from(matches!(self.nodes, Some(Nodes::Made(..))))
    }

    /// Forbids opening devices through a mount.
    pub(super) fn close(&self, mount: &DetachedMount) -> Result<(), SetupFailure> {
        if self.nodes.is_none() {
            return Ok(());
        }
        mount
            .set_attributes(MountAttributes::NO_DEV)
            .map_err(|error| SetupFailure::machine("close a mount to devices", error))
    }

    /// Fills a new `/dev` before anybody can see it.
    pub(super) fn fill(&self, dev: &DetachedMount, further: &[Device]) -> Result<(), SetupFailure> {
        let filled = match &self.nodes {
            Some(Nodes::Outer(nodes)) => {
                devices::fill_with_places(dev, nodes.iter().map(|(name, _)| name.as_str()))
            }
            _ => devices::fill(dev, further),
        };
        filled.map_err(|error| SetupFailure::machine("fill /dev", error))
    }

    /// Makes the container's own devices usable in its `/dev`, which is attached.
    pub(super) fn uncover(&self, dev: &DetachedMount) -> Result<(), SetupFailure> {
        match &self.nodes {
            None => Ok(()),
            Some(Nodes::Outer(nodes)) => nodes
                .iter()
                .try_for_each(|(name, node)| attach(node, dev, name)),
            Some(Nodes::Made(stage, names)) => names.iter().try_for_each(|name| {
                let fail = failed(name);
                let root = stage.root().map_err(|error| fail(&error))?;
                let node = root
                    .resolve_without_links(Path::new(name))
                    .map_err(|error| fail(&error))?;
                let usable = DetachedMount::bind(node).map_err(|error| fail(&error))?;
                attach(&usable, dev, name)
            }),
        }
    }
}

fn failed(name: &str) -> impl Fn(&dyn std::fmt::Display) -> SetupFailure {
    move |error| SetupFailure::machine(format!("mount /dev/{name}"), error)
}

fn attach(node: &DetachedMount, dev: &DetachedMount, name: &str) -> Result<(), SetupFailure> {
    let fail = failed(name);
    let root = dev.root().map_err(|error| fail(&error))?;
    let place = root
        .resolve_without_links(Path::new(name))
        .map_err(|error| fail(&error))?;
    node.attach(place).map_err(|error| fail(&error))
}

/// The machine's nodes of the devices that a container has.
fn outer_nodes(further: &[Device]) -> Result<Vec<(String, DetachedMount)>, SetupFailure> {
    let mut nodes = Vec::new();
    for device in devices::usual().iter().chain(further) {
        let name = place_of(device).to_string_lossy().into_owned();
        let node = outer_node(device).map_err(|error| failed(&name)(&error))?;
        nodes.push((name, node));
    }
    Ok(nodes)
}

/// The machine's node of a device, which must be the device that it is called.
fn outer_node(device: &Device) -> std::io::Result<DetachedMount> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = device.host_path.as_ref().unwrap_or(&device.path);
    let node = match rustix::fs::openat(CWD, place, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => {
            let words = format!(
                "there is no {} outside, and a plain user cannot make devices",
                place.display()
            );
            return Err(std::io::Error::other(words));
        }
        node => node?,
    };
    let stat = rustix::fs::fstat(&node)?;
    let kind = match device.kind.as_str() {
        "b" => FileType::BlockDevice,
        _ => FileType::CharacterDevice,
    };
    let number = rustix::fs::makedev(device.major, device.minor);
    if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_rdev != number {
        let words = format!("{} is another device outside", place.display());
        return Err(std::io::Error::other(words));
    }
    DetachedMount::bind(node).map_err(std::io::Error::other)
}
