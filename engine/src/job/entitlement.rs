use std::collections::BTreeSet;

use cooper_core::graph::Graph;
use cooper_core::model::{DeviceInfo, Failure, FailureKind, find_devices};
use cooper_core::ports::Worker;
use cooper_proto::pb::{self, op};

const HOST_NETWORK: &str = "network.host";
const INSECURE: &str = "security.insecure";
const DEVICE: &str = "device";

/// What a build may do beyond the ordinary: allowed by the engine's owner and asked for by the client (parity sheet
/// C4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entitlements(BTreeSet<String>);

impl Entitlements {
    /// What was asked for, when the owner allows all of it.
    ///
    /// # Errors
    /// `InvalidInput` for a name that does not exist, `Denied` for one that is not allowed.
    pub(crate) fn grant(asked: &[String], allowed: &BTreeSet<String>) -> Result<Self, Failure> {
        for name in asked {
            let kind = name.split('=').next().unwrap_or_default();
            if ![HOST_NETWORK, INSECURE, DEVICE].contains(&kind) {
                return Err(Failure::new(
                    FailureKind::InvalidInput,
                    format!("unknown entitlement {name}"),
                ));
            }
            if name.starts_with("device=") && name.contains(',') {
                return Err(Failure::unsupported(format!(
                    "an alias of a device ({name})"
                )));
            }
            if !allowed.contains(kind) && !allowed.contains(name) {
                return Err(Failure::new(
                    FailureKind::Denied,
                    format!(
                        "granting entitlement {name} is not allowed by build daemon configuration"
                    ),
                ));
            }
        }
        Ok(Self(asked.iter().cloned().collect()))
    }

    /// Refuses a graph with an op that needs what was not granted.
    ///
    /// Every graph of a build passes here before anything of it runs.
    ///
    /// # Errors
    /// `Denied`, of the vertex.
    pub(crate) fn check(&self, graph: &Graph, worker: &dyn Worker) -> Result<(), Failure> {
        for vertex in graph.vertices.values() {
            let Some(op::Op::Exec(exec)) = &vertex.op.op else {
                continue;
            };
            let checked = self.check_exec(exec);
            let checked = checked
                .and_then(|()| self.check_devices(&exec.cdi_devices, || worker.info().devices));
            checked.map_err(|failure| {
                let mut failure = failure.of_vertex(&vertex.digest);
                failure.locations.clone_from(&vertex.locations);
                failure
            })?;
        }
        Ok(())
    }

    /// Refuses a network that was not granted.
    ///
    /// # Errors
    /// `Denied`.
    pub(crate) fn check_network(&self, network: i32) -> Result<(), Failure> {
        if network == pb::NetMode::Host as i32 {
            self.need(HOST_NETWORK)?;
        }
        Ok(())
    }

    /// Refuses a security mode that was not granted.
    ///
    /// # Errors
    /// `InvalidInput` for one that does not exist, `Denied`.
    pub(crate) fn check_security(&self, mode: i32) -> Result<(), Failure> {
        match pb::SecurityMode::try_from(mode) {
            Ok(pb::SecurityMode::Sandbox) => Ok(()),
            Ok(pb::SecurityMode::Insecure) => self.need(INSECURE),
            Err(_) => Err(Failure::new(
                FailureKind::InvalidInput,
                format!("invalid security mode {mode}"),
            )),
        }
    }

    fn check_exec(&self, exec: &pb::ExecOp) -> Result<(), Failure> {
        self.check_network(exec.network)?;
        self.check_security(exec.security)?;
        Ok(())
    }

    /// Refuses devices that were not granted, by name or all together, and that may not be used by anybody.
    fn check_devices(
        &self,
        asked: &[pb::CdiDevice],
        all: impl Fn() -> Vec<DeviceInfo>,
    ) -> Result<(), Failure> {
        if asked.is_empty() || self.0.contains(DEVICE) {
            return Ok(());
        }
        let all = all();
        let mut granted = Vec::new();
        for name in self
            .0
            .iter()
            .filter_map(|name| name.strip_prefix("device="))
        {
            let request = pb::CdiDevice {
                name: name.to_owned(),
                optional: false,
            };
            granted.extend(find_devices(&[request], &all)?);
        }
        let mut forbidden = find_devices(asked, &all)?;
        forbidden.retain(|name| {
            let auto = all
                .iter()
                .any(|device| device.auto_allow && device.name == *name);
            !auto && !granted.contains(name)
        });
        let message = match forbidden.as_slice() {
            [] => return Ok(()),
            [one] => format!("device {one} is requested by the build but not allowed"),
            more => format!(
                "devices {} are requested by the build but not allowed",
                more.join(", ")
            ),
        };
        Err(Failure::new(FailureKind::Denied, message)
            .with_hint("allow them for this build: --allow device=NAME"))
    }

    fn need(&self, name: &str) -> Result<(), Failure> {
        if self.0.contains(name) {
            return Ok(());
        }
        Err(
            Failure::new(FailureKind::Denied, format!("{name} is not allowed"))
                .with_hint(format!("allow it for this build: --allow {name}")),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_owner_does_not_allow_is_denied() {
        let allowed = BTreeSet::from([HOST_NETWORK.to_owned()]);
        assert!(Entitlements::grant(&names(&["network.host"]), &allowed).is_ok());
        let refused = Entitlements::grant(&names(&["security.insecure"]), &allowed);
        assert_eq!(refused.map_err(|f| f.kind), Err(FailureKind::Denied));
        let unknown = Entitlements::grant(&names(&["everything"]), &allowed);
        assert_eq!(unknown.map_err(|f| f.kind), Err(FailureKind::InvalidInput));
    }

    #[test]
    fn devices_are_granted_by_name_by_kind_or_by_their_owner() {
        let device = |name: &str, auto_allow| DeviceInfo {
            name: name.into(),
            auto_allow,
            ..DeviceInfo::default()
        };
        let all = || vec![device("a.com/x=1", false), device("a.com/y=1", true)];
        let check = |granted: &[&str], asked: &str| {
            let asked = [pb::CdiDevice {
                name: asked.into(),
                optional: false,
            }];
            let granted = Entitlements(names(granted).into_iter().collect());
            granted
                .check_devices(&asked, all)
                .map_err(|failure| failure.kind)
        };
        assert_eq!(check(&[], "a.com/x"), Err(FailureKind::Denied));
        assert_eq!(
            check(&["device=a.com/y"], "a.com/x"),
            Err(FailureKind::Denied)
        );
        assert_eq!(check(&[], "a.com/z"), Err(FailureKind::NotFound));
        for granted in ["device", "device=a.com/x", "device=a.com/x=1"] {
            assert_eq!(check(&[granted], "a.com/x"), Ok(()), "{granted}");
        }
        assert_eq!(check(&[], "a.com/y"), Ok(()));
    }

    // T-A6
    #[test]
    fn an_unknown_security_mode_is_refused_and_the_insecure_one_needs_permission() {
        let kind = |checked: Result<(), Failure>| checked.map_err(|failure| failure.kind);
        let exec = |security| pb::ExecOp {
            security,
            ..pb::ExecOp::default()
        };
        let none = Entitlements::default();
        for mode in [2, 3, -1, i32::MAX] {
            let refused = Err(FailureKind::InvalidInput);
            assert_eq!(kind(none.check_exec(&exec(mode))), refused, "{mode}");
            assert_eq!(kind(none.check_security(mode)), refused, "{mode}");
        }
        let insecure = pb::SecurityMode::Insecure as i32;
        assert_eq!(
            kind(none.check_security(insecure)),
            Err(FailureKind::Denied)
        );
        assert_eq!(
            kind(none.check_exec(&exec(insecure))),
            Err(FailureKind::Denied)
        );
        let host = pb::ExecOp {
            network: pb::NetMode::Host as i32,
            ..pb::ExecOp::default()
        };
        assert_eq!(kind(none.check_exec(&host)), Err(FailureKind::Denied));
        assert_eq!(
            kind(none.check_network(host.network)),
            Err(FailureKind::Denied)
        );
        let granted = Entitlements(BTreeSet::from([HOST_NETWORK.to_owned()]));
        assert!(granted.check_exec(&host).is_ok());
    }
}
