use std::collections::BTreeSet;

use cooper_core::graph::Graph;
use cooper_core::model::{Failure, FailureKind};
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
    pub(crate) fn check(&self, graph: &Graph) -> Result<(), Failure> {
        for vertex in graph.vertices.values() {
            let Some(op::Op::Exec(exec)) = &vertex.op.op else {
                continue;
            };
            self.check_exec(exec).map_err(|failure| {
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
        if !exec.cdi_devices.is_empty() {
            self.need(DEVICE)?;
        }
        Ok(())
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
