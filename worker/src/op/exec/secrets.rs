use std::collections::BTreeMap;

use bytes::Bytes;
use cooper_core::model::{FailureKind, SessionId};
use cooper_core::ports::Sessions;

use super::request::{ExecRequest, MountKind};
use super::stop::Stop;

/// The values of an op's secrets by id. They are in this process's memory and, mounted, in a container's; nowhere else.
#[derive(Default)]
pub(super) struct Secrets {
    values: BTreeMap<String, Bytes>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets")
            .field("ids", &self.values.keys())
            .finish_non_exhaustive()
    }
}

impl Secrets {
    /// Asks the sessions, the best first, for every secret that the op names.
    pub(super) async fn load(
        request: &ExecRequest,
        sessions: &dyn Sessions,
        ids: &[SessionId],
    ) -> Result<Self, Stop> {
        let mounted = request.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Secret(options) => Some((&options.id, options.optional)),
            _ => None,
        });
        let in_environment = request
            .secret_env
            .iter()
            .map(|secret| (&secret.id, secret.optional));
        if let Some(unnamed) = request
            .secret_env
            .iter()
            .find(|secret| secret.id.is_empty())
        {
            return Err(Stop::invalid(format!(
                "secret ID missing for {:?} environment variable",
                unnamed.name
            )));
        }
        let mut values = BTreeMap::new();
        for (id, optional) in mounted.chain(in_environment) {
            if values.contains_key(id) {
                continue;
            }
            match ask(sessions, ids, id).await? {
                Some(value) => drop(values.insert(id.clone(), value)),
                None if optional => {}
                None => {
                    return Err(Stop::failed(
                        FailureKind::NotFound,
                        format!("secret {id}: not found"),
                    ));
                }
            }
        }
        Ok(Self { values })
    }

    /// A value; `None` where it is optional and nobody has it.
    pub(super) fn get(&self, id: &str) -> Option<&Bytes> {
        self.values.get(id)
    }

    /// The variables that secrets are given in.
    pub(super) fn environment(&self, request: &ExecRequest) -> Result<Vec<String>, Stop> {
        let mut variables = Vec::new();
        for secret in &request.secret_env {
            // One that is optional and missing is an empty variable, as BuildKit has it.
            let value = self.get(&secret.id).map_or(&[][..], |value| value);
            let value = std::str::from_utf8(value)
                .ok()
                .filter(|value| !value.contains('\0'));
            let value = value.ok_or_else(|| {
                Stop::invalid(format!(
                    "secret {} is not text and cannot be given in a variable",
                    secret.id
                ))
            })?;
            variables.push(format!("{}={value}", secret.name));
        }
        Ok(variables)
    }
}

async fn ask(
    sessions: &dyn Sessions,
    ids: &[SessionId],
    secret: &str,
) -> Result<Option<Bytes>, Stop> {
    let mut unreachable = None;
    for id in ids {
        match sessions.session(id).await {
            Err(failure) => unreachable = Some(failure),
            Ok(session) => {
                if let Some(value) = session.secret(secret).await.map_err(Stop::Failed)? {
                    return Ok(Some(value));
                }
            }
        }
    }
    unreachable.map_or(Ok(None), |failure| Err(Stop::Fault(failure)))
}
