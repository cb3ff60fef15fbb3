use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cooper_core::graph::{Graph, Vertex};
use cooper_core::model::{Material, Pin};
use cooper_core::ports::{FrontendResult, RefId, Worker};
use cooper_core::result_platforms::ResultPlatform;
use cooper_proto::pb::op::Op as Kind;
use cooper_proto::{Digest, pb};

use super::parameters::{Access, Parameters};
use super::scope::Scope;
use super::sources::{Sources, for_platform};
use crate::bridge::BuildBridge;
use crate::engine::Parts;

/// What one result stands on.
#[derive(Debug, Clone, Default)]
pub(super) struct Capture {
    /// What asked for it.
    pub(super) request: Parameters,
    /// What sources brought in.
    pub(super) sources: Sources,
    /// Whether a step could reach a network.
    pub(super) network: bool,
    /// Whether there is something that nobody can tell.
    pub(super) incomplete: bool,
}

/// Finds what each part of a result stands on, in the order of the parts; `None` for a part that is empty.
pub(super) async fn capture(
    parts: &Parts,
    bridge: &BuildBridge,
    result: &FrontendResult,
    platforms: &[ResultPlatform],
) -> Vec<Option<Capture>> {
    let known = Known {
        parts,
        bridge,
        pins: parts.driver.pins(&bridge.job().id).await,
        scopes: bridge.scope().refs().into_iter().collect(),
    };
    let named = result.parts.iter().filter_map(|it| it.result.as_ref());
    let statements = result.attestations.values().flatten();
    let said = statements.filter_map(|it| it.source.as_ref());
    let returned: BTreeSet<&RefId> = named.chain(said).collect();
    result
        .parts
        .iter()
        .map(|part| {
            let id = part.platform.as_deref();
            known.of_part(part.result.as_ref()?, id, &returned, platforms)
        })
        .collect()
}

struct Known<'a> {
    parts: &'a Parts,
    bridge: &'a BuildBridge,
    /// What the build's sources resolved to.
    pins: BTreeMap<Digest, Pin>,
    /// Where each result was named.
    scopes: BTreeMap<RefId, Arc<Scope>>,
}

impl Known<'_> {
    /// What the frontend that made it asked for beside it is told of too: that may have decided what it became.
    fn of_part(
        &self,
        id: &RefId,
        platform: Option<&str>,
        returned: &BTreeSet<&RefId>,
        platforms: &[ResultPlatform],
    ) -> Option<Capture> {
        let scope = self.scopes.get(id)?;
        let mut capture = self.of_ref(id, scope)?;
        for (other, _) in scope.refs() {
            if !returned.contains(&other)
                && let Some(more) = self.of_ref(&other, scope)
            {
                capture.merge(more);
            }
        }
        let mut images = scope.images();
        if let Some(platform) = platform {
            images = for_platform(images, platform, platforms);
        }
        for image in images {
            capture.sources.add(image);
        }
        capture.settle();
        Some(capture)
    }

    /// What a result that was computed stands on, as what was asked for in a scope.
    fn of_ref(&self, id: &RefId, scope: &Scope) -> Option<Capture> {
        let reference = self.bridge.computed(id)?;
        let mut capture = Capture::of_graph(&reference.graph, &self.pins, &*self.parts.worker);
        if let Some(request) = scope.request() {
            let requests = &self.parts.requests;
            let told = requests.of_request(request, &capture.sources);
            let root = requests.of_root(scope, &capture.sources);
            let asked = told.clone().request.unwrap_or_default();
            capture.request.frontend.clone_from(&request.frontend);
            capture.request.args = super::parameters::told_options(&request.options);
            capture.request.inputs = asked.inputs;
            capture.request.root = root.filter(|root| *root != told).map(Box::new);
        }
        Some(capture)
    }
}

impl Capture {
    fn of_graph(graph: &Graph, pins: &BTreeMap<Digest, Pin>, worker: &dyn Worker) -> Self {
        let mut capture = Self::default();
        let target = graph.target.iter().map(|edge| &edge.vertex);
        let mut open: Vec<&Digest> = target.collect();
        let mut seen: BTreeSet<&Digest> = open.iter().copied().collect();
        while let Some(vertex) = open.pop().and_then(|digest| graph.vertices.get(digest)) {
            capture.look_at(vertex, pins, worker);
            for input in &vertex.inputs {
                if seen.insert(&input.vertex) {
                    open.push(&input.vertex);
                }
            }
        }
        capture
    }

    fn look_at(&mut self, vertex: &Vertex, pins: &BTreeMap<Digest, Pin>, worker: &dyn Worker) {
        match &vertex.op.op {
            Some(Kind::Source(_)) => {
                let pin = pins.get(&vertex.digest);
                match pin.and_then(|pin| worker.material(&vertex.op, pin)) {
                    Some(material) => self.add(material),
                    None => self.incomplete = true,
                }
            }
            Some(Kind::Exec(exec)) => self.look_at_process(exec),
            Some(Kind::Build(_)) => self.incomplete = true,
            Some(Kind::File(_) | Kind::Merge(_) | Kind::Diff(_) | Kind::Passthrough(_)) | None => {}
        }
    }

    fn look_at_process(&mut self, exec: &pb::ExecOp) {
        for mount in &exec.mounts {
            if let (pb::MountType::Secret, Some(secret)) = (mount.mount_type(), &mount.secret_opt) {
                note(&mut self.request.secrets, &secret.id, secret.optional);
            }
            if let (pb::MountType::Ssh, Some(ssh)) = (mount.mount_type(), &mount.ssh_opt) {
                note_agent(&mut self.request.ssh, &ssh.id, ssh.optional);
            }
        }
        for secret in &exec.secretenv {
            note(&mut self.request.secrets, &secret.id, secret.optional);
        }
        self.network |= exec.network() != pb::NetMode::None;
    }

    fn add(&mut self, material: Material) {
        if let Material::Git { secrets, ssh, .. } = &material {
            for secret in secrets {
                note(&mut self.request.secrets, secret, true);
            }
            if let Some(agent) = ssh {
                note_agent(&mut self.request.ssh, agent, true);
            }
        }
        self.sources.add(material);
    }

    fn merge(&mut self, other: Self) {
        self.sources.merge(other.sources);
        for secret in &other.request.secrets {
            note(&mut self.request.secrets, &secret.id, secret.optional);
        }
        for agent in &other.request.ssh {
            note_agent(&mut self.request.ssh, &agent.id, agent.optional);
        }
        self.network |= other.network;
        self.incomplete |= other.incomplete;
    }

    fn settle(&mut self) {
        self.sources.settle();
        self.request.secrets.sort_by(|a, b| a.id.cmp(&b.id));
        self.request.ssh.sort_by(|a, b| a.id.cmp(&b.id));
    }
}

fn note_agent(known: &mut Vec<Access>, id: &str, optional: bool) {
    let id = if id.is_empty() { "default" } else { id };
    note(known, id, optional);
}

/// One that a step cannot do without is not optional.
fn note(known: &mut Vec<Access>, id: &str, optional: bool) {
    match known.iter_mut().find(|it| it.id == id) {
        Some(access) => access.optional &= optional,
        None => known.push(Access {
            id: id.to_owned(),
            optional,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_step_needs_is_not_optional() {
        let mut known = Vec::new();
        note(&mut known, "a", true);
        note(&mut known, "a", false);
        note_agent(&mut known, "", true);
        let shown: Vec<_> = known
            .iter()
            .map(|it| (it.id.as_str(), it.optional))
            .collect();
        assert_eq!(shown, [("a", false), ("default", true)]);
    }

    // T-E5
    #[test]
    fn secrets_are_told_by_name_and_networks_by_use() {
        let mut capture = Capture::default();
        let mut secret = pb::Mount {
            secret_opt: Some(pb::SecretOpt {
                id: "token".into(),
                optional: true,
                ..pb::SecretOpt::default()
            }),
            ..pb::Mount::default()
        };
        secret.set_mount_type(pb::MountType::Secret);
        let mut exec = pb::ExecOp {
            mounts: vec![secret],
            ..pb::ExecOp::default()
        };
        exec.set_network(pb::NetMode::None);
        capture.look_at_process(&exec);
        assert!(!capture.network);
        assert_eq!(capture.request.secrets[0].id, "token");
        exec.set_network(pb::NetMode::Unset);
        capture.look_at_process(&exec);
        assert!(capture.network);
    }
}
