use std::path::Path;

use super::devices;
use super::mounts::attach_on_old_root;
use crate::exec::protocol::{Launch, SetupFailure};
use crate::mount::{DetachedMount, TmpfsOptions};
use crate::sys::MountAttributes;

/// Keeps a container from the machine's devices where no control group does: no mount that it can write, or that an image
/// filled, lets a device be opened. Its own devices are mounted one by one from a place that it cannot reach.
pub(super) struct DeviceGuard {
    /// The usable nodes and their names; `None` where there is nothing to guard.
    nodes: Option<(DetachedMount, Vec<String>)>,
}

impl DeviceGuard {
    pub(super) fn new(launch: &Launch) -> Result<Self, SetupFailure> {
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
        let names = devices::make_nodes(&root, &launch.config.linux.devices)
            .map_err(|error| fail(&error))?;
        let stage = attach_on_old_root(&stage.into_fd(), "make devices")?;
        Ok(Self {
            nodes: Some((stage, names)),
        })
    }

    /// Mounts that it has put on the old root.
    pub(super) fn stacked(&self) -> usize {
        usize::from(self.nodes.is_some())
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

    /// Makes the container's own devices usable in its `/dev`.
    pub(super) fn uncover(&self, dev: &DetachedMount) -> Result<(), SetupFailure> {
        let Some((stage, names)) = &self.nodes else {
            return Ok(());
        };
        for name in names {
            let fail = |error: &dyn std::fmt::Display| {
                SetupFailure::machine(format!("mount /dev/{name}"), error)
            };
            let node = |mount: &DetachedMount| {
                let root = mount.root().map_err(|error| fail(&error))?;
                root.resolve_without_links(Path::new(name))
                    .map_err(|error| fail(&error))
            };
            let usable = DetachedMount::bind(node(stage)?).map_err(|error| fail(&error))?;
            usable.attach(node(dev)?).map_err(|error| fail(&error))?;
        }
        Ok(())
    }
}
