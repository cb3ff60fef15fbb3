use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use cooper_core::model::{
    Failure, FailureKind, GitBundle, JobId, Material, Pin, ResultId, SessionId,
};
use cooper_core::ports::{
    Events, GitMeta, OpRequest, Sessions, SourceKey, SourceKeyRequest, SourceQuery,
};
use cooper_proto::pb;

use super::authorization::{agent, http_header};
use super::bundle::Staging;
use super::checkout::checkout;
use super::command::Git;
use super::fetch::{Objects, fetch, objects};
use super::resolve::{Advertised, Resolved, ask};
use super::store::{Repository, Scratch, Store, broken};
use super::wanted::GitWanted;
use crate::clock::now_ns;
use crate::gc::FolderRoom;
use crate::images::meta_failure;
use crate::limits::Limits;
use crate::op::exec::{SshSocket, serve_ssh};
use crate::snapshot::Snapshots;
use crate::source::Blobs;
use crate::source::builds::Builds;
use crate::source::request::{Asker, source_of};
use crate::state::StateDir;

/// Collection of the results of checkouts: key a cache key, value a result's id.
const CHECKOUTS: &str = "git-checkout-1";

const OBJECT: &str = "object";
const REFERENCE: &str = "reference";
const FULL_NAME: &str = "full-name";

/// What git is run with.
#[derive(Clone, Debug)]
pub struct GitSettings {
    /// The program.
    pub program: PathBuf,
    /// What of this machine's environment git may see: where programs are, and proxies.
    pub environment: BTreeMap<&'static str, OsString>,
}

impl GitSettings {
    /// Variables that git may see.
    pub const VARIABLES: [&'static str; 9] = [
        "PATH",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
    ];
}

/// Repositories as inputs of builds: `git://`.
///
/// # Model
/// A key asks the server what a reference is and fetches nothing, unless the source names a commit, which needs no
/// question. A run fetches that commit and writes its files. Within one build a reference is looked at once.
#[derive(Clone)]
pub struct GitSource {
    snapshots: Snapshots,
    limits: Limits,
    blobs: Blobs,
    sessions: Arc<dyn Sessions>,
    settings: GitSettings,
    store: Store,
    builds: Builds<Advertised>,
}

/// A git that can reach one repository's server.
struct Line {
    git: Git,
    sockets: Vec<SshSocket>,
    /// Holds the socket of the agent and the known hosts.
    _scratch: Option<Scratch>,
}

impl Line {
    /// Does something with git, with the agent at hand.
    async fn during<T>(
        self,
        work: impl AsyncFnOnce(Git) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Self {
            git,
            sockets,
            _scratch,
        } = self;
        tokio::select! {
            done = work(git) => done,
            () = serve_ssh(sockets) => Err(Failure::new(FailureKind::Internal, "nobody serves the agent")),
        }
    }
}

impl GitSource {
    /// Repositories, fetched from this machine; their bundles from who has those.
    pub(crate) fn new(
        (state, snapshots, limits): (&StateDir, &Snapshots, &Limits),
        blobs: Blobs,
        sessions: Arc<dyn Sessions>,
        settings: GitSettings,
    ) -> Self {
        Self {
            snapshots: snapshots.clone(),
            limits: limits.clone(),
            blobs,
            sessions,
            settings,
            store: Store::new(state.repositories(), snapshots.meta()),
            builds: Builds::default(),
        }
    }

    /// The repositories that are kept to fetch into, to be let go.
    #[must_use]
    pub fn room(&self) -> FolderRoom {
        self.store.room()
    }

    /// The key of a source: of its commit and what is wanted of it.
    ///
    /// # Errors
    /// `NotFound` when the repository has no such reference, `InvalidInput` with git's words when it cannot be asked.
    pub async fn key(
        &self,
        request: &SourceKeyRequest,
        events: &Events,
    ) -> Result<SourceKey, Failure> {
        let wanted = GitWanted::of(source_of(&request.op)?)?;
        let asker = Asker::of_key(request, events);
        let resolved = self.resolve(&wanted, asker).await?;
        if wanted.signature.is_some() {
            self.objects(&wanted, &resolved, asker).await?;
        }
        Ok(SourceKey {
            key: resolved.key(&wanted),
            pin: pin_of(&resolved),
            more: false,
        })
    }

    /// Makes a result of a source's files, pinned once.
    ///
    /// # Errors
    /// As [`Self::key`]; `InvalidInput` when the folder that is wanted is none.
    pub async fn run(
        &self,
        request: &OpRequest,
        events: &Events,
    ) -> Result<Vec<ResultId>, Failure> {
        let wanted = GitWanted::of(source_of(&request.op)?)?;
        let asker = Asker::of_run(request, events);
        let resolved = match request.pin.as_ref().and_then(pinned) {
            Some(resolved) => resolved,
            None => {
                let resolved = self.resolve(&wanted, asker).await?;
                if wanted.signature.is_some() {
                    self.objects(&wanted, &resolved, asker).await?;
                }
                resolved
            }
        };
        let key = resolved.key(&wanted);
        if let Some(known) = self.known(&key)? {
            return Ok(vec![known]);
        }
        let line = self.line(&wanted, asker).await?;
        let result = line
            .during(async |git| {
                let repository = self.fetched(&git, &wanted, &resolved, asker).await?;
                // Who waited for the same checkout finds it now.
                match self.known(&key)? {
                    Some(known) => Ok(known),
                    None => checkout(&self.snapshots, &repository, &wanted, &resolved).await,
                }
            })
            .await?;
        let saved = self.snapshots.meta().save_document(
            CHECKOUTS,
            &key,
            Some(result.0.clone().into_bytes()),
        );
        if let Err(error) = saved {
            self.snapshots.meta().pins().unpin(&result);
            return Err(meta_failure(&error));
        }
        Ok(vec![result])
    }

    /// What a reference is now, for frontends.
    ///
    /// # Errors
    /// As [`Self::key`].
    pub async fn meta(
        &self,
        query: &SourceQuery,
        sessions: &[SessionId],
        events: &Events,
    ) -> Result<GitMeta, Failure> {
        let wanted = GitWanted::of(&query.source)?;
        let asker = Asker::of_query(query, sessions, events);
        let resolved = self.resolve(&wanted, asker).await?;
        let mut meta = GitMeta {
            checksum: resolved.object.clone(),
            reference: resolved.full_name.clone(),
            commit_checksum: resolved.commit.clone().unwrap_or_default(),
            ..GitMeta::default()
        };
        if query.git_objects || wanted.signature.is_some() {
            let Objects { commit, tag } = self.objects(&wanted, &resolved, asker).await?;
            if query.git_objects {
                meta.commit_object = commit.into();
            }
            if let Some((bytes, commit)) = tag.filter(|_| query.git_objects) {
                meta.tag_object = bytes.into();
                meta.commit_checksum = commit;
            }
        }
        Ok(meta)
    }

    /// Forgets what a build saw.
    pub fn end_build(&self, build: &JobId) {
        self.builds.end(build);
    }

    async fn resolve(&self, wanted: &GitWanted, asker: Asker<'_>) -> Result<Resolved, Failure> {
        if let Some(known) = Resolved::without_asking(wanted) {
            return Ok(known);
        }
        let source = format!("{}#{}", wanted.address.remote, wanted.reference);
        let place = self.builds.place(asker.build, &source);
        let mut place = place.lock().await;
        let said = match &*place {
            Some(said) => Arc::clone(said),
            None => {
                let line = self.line(wanted, asker).await?;
                let remote = wanted.address.remote.as_str();
                let said = line
                    .during(async |git| ask(&git, wanted, remote).await)
                    .await?;
                Arc::new(said)
            }
        };
        *place = Some(Arc::clone(&said));
        Resolved::of(wanted, &said)
    }

    /// The repository with the source's commit in it.
    async fn fetched(
        &self,
        git: &Git,
        wanted: &GitWanted,
        resolved: &Resolved,
        asker: Asker<'_>,
    ) -> Result<Repository, Failure> {
        let opened = self.store.open(git, &wanted.address, resolved.is_sha256());
        let repository = opened.await?;
        match &wanted.bundle {
            Some(place) if !repository.git.has_commit(&resolved.object).await => {
                let staging = Staging {
                    snapshots: &self.snapshots,
                    limits: &self.limits,
                    blobs: &self.blobs,
                    sessions: asker.sessions,
                };
                let staged = staging.stage(git, place, resolved).await?;
                fetch(&repository, wanted, resolved, &staged.address).await?;
            }
            _ => fetch(&repository, wanted, resolved, &wanted.address.remote).await?,
        }
        Ok(repository)
    }

    /// The objects that a source is, with the signature that it must have.
    async fn objects(
        &self,
        wanted: &GitWanted,
        resolved: &Resolved,
        asker: Asker<'_>,
    ) -> Result<Objects, Failure> {
        let line = self.line(wanted, asker).await?;
        let found = line
            .during(async |git| {
                let repository = self.fetched(&git, wanted, resolved, asker).await?;
                objects(&repository, &resolved.object).await
            })
            .await?;
        if let Some(signature) = &wanted.signature {
            signature.check(&found, now_ns() / 1_000_000_000)?;
        }
        Ok(found)
    }

    /// A checkout that was made before and is still here, pinned once.
    fn known(&self, key: &str) -> Result<Option<ResultId>, Failure> {
        let meta = self.snapshots.meta();
        let kept = meta.document(CHECKOUTS, key);
        let kept = kept.map_err(|error| meta_failure(&error))?;
        let Some(id) = kept.and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return Ok(None);
        };
        let held = meta.pins().hold(&ResultId(id));
        Ok(meta.result(held.result()).is_ok().then(|| held.again()))
    }

    async fn line(&self, wanted: &GitWanted, asker: Asker<'_>) -> Result<Line, Failure> {
        let settings = &self.settings;
        let mut git = Git::new(
            &settings.program,
            &settings.environment,
            Arc::clone(asker.events),
        );
        let header = http_header(wanted, self.sessions.as_ref(), asker.sessions).await?;
        if let Some((key, value)) = header {
            git = git.with_config(key, value);
        }
        let mut sockets = Vec::new();
        let mut scratch = None;
        let mut hosts = String::from("StrictHostKeyChecking=no");
        if !(wanted.ssh_agent.is_empty() && wanted.known_hosts.is_empty()) {
            let folder = Scratch::new(&self.snapshots)?;
            if !wanted.ssh_agent.is_empty() {
                let agent = agent(&wanted.ssh_agent, self.sessions.as_ref(), asker.sessions);
                let path = folder.path.join("agent");
                let bound = SshSocket::at(&path, agent.await?);
                sockets.push(bound.map_err(|error| broken("the agent's socket", &error))?);
                git = git.with_variable("SSH_AUTH_SOCK", path.into());
            }
            if !wanted.known_hosts.is_empty() {
                let path = folder.path.join("known_hosts");
                std::fs::write(&path, &wanted.known_hosts)
                    .map_err(|error| broken("known hosts", &error))?;
                hosts = format!("UserKnownHostsFile={}", path.display());
            }
            scratch = Some(folder);
        }
        // Git gives this to a shell.
        let hosts = hosts.replace('\'', r"'\''");
        let ssh = format!("ssh -F /dev/null -o BatchMode=yes -o '{hosts}'");
        git = git.with_variable("GIT_SSH_COMMAND", ssh.into());
        Ok(Line {
            git,
            sockets,
            _scratch: scratch,
        })
    }
}

fn pin_of(resolved: &Resolved) -> Pin {
    let mut pin = Pin::default();
    for (key, value) in [
        (OBJECT, Some(&resolved.object)),
        (REFERENCE, Some(&resolved.reference)),
        (FULL_NAME, Some(&resolved.full_name)),
        (COMMIT, resolved.commit.as_ref()),
    ] {
        if let Some(value) = value {
            pin.0.insert(key.to_owned(), value.clone());
        }
    }
    pin
}

/// What a repository brought into a build.
pub(crate) fn git_material(op: &pb::Op, pin: &Pin) -> Option<Material> {
    let wanted = GitWanted::of(source_of(op).ok()?).ok()?;
    // A bundle's branch goes by the name that it was given, as in BuildKit's provenance.
    let reference = match wanted.bundle {
        Some(_) => &wanted.named,
        None => &wanted.reference,
    };
    let mut url = wanted.address.shown;
    if !reference.is_empty() {
        url.push('#');
        url.push_str(reference);
    }
    let secrets = [wanted.token_secret, wanted.header_secret].into_iter();
    Some(Material::Git {
        url,
        commit: pin.0.get(OBJECT)?.clone(),
        bundle: wanted.bundle.map(GitBundle::from),
        secrets: secrets.filter(|id| !id.is_empty()).collect(),
        ssh: Some(wanted.ssh_agent).filter(|id| !id.is_empty()),
    })
}

const COMMIT: &str = "commit";

fn pinned(pin: &Pin) -> Option<Resolved> {
    Some(Resolved {
        object: pin.0.get(OBJECT)?.clone(),
        reference: pin.0.get(REFERENCE)?.clone(),
        full_name: pin.0.get(FULL_NAME)?.clone(),
        commit: pin.0.get(COMMIT).cloned(),
    })
}
