use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, SessionId};
use cooper_core::ports::{
    ClientContent, Credentials, DirFilter, ExportTarget, ExportTargetRequest, LocalDir, Session,
    SshAgent,
};

use super::content::FolderContent;
use super::credentials::DockerCredentials;
use super::sink;
use super::ssh::ClientSocket;
use crate::command::build::{SecretSource, SshSource, Target};

/// Longest secret.
///
/// # Units
/// Bytes. Source: BuildKit's clients refuse longer ones (parity sheet D).
const MAX_SECRET: u64 = 500 << 10;

/// The name under which an exporter asks for the folder of an OCI layout (parity sheet C2).
const EXPORT_STORE: &str = "export";

/// What a session offers.
#[derive(Clone, Debug, Default)]
pub struct SessionParts {
    /// Folders by name.
    pub folders: BTreeMap<String, PathBuf>,
    /// Folders of OCI layouts by the name of their store.
    pub layouts: BTreeMap<String, PathBuf>,
    /// Folders of caches, by the names that requests use.
    pub caches: BTreeMap<String, PathBuf>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Sockets of SSH agents by id.
    pub ssh: BTreeMap<String, SshSource>,
    /// Variables of the environment, for secrets.
    pub variables: BTreeMap<String, String>,
    /// Where the result of each exporter goes, by its position in the request.
    pub targets: Vec<Target>,
    /// Which of these are folders whose other files go away (`mode=delete`).
    pub mirrors: Vec<bool>,
    /// The docker program, for results that go to the local Docker daemon.
    pub docker: Option<PathBuf>,
}

/// A session in the client's own process.
#[derive(Debug)]
pub struct ClientSession {
    id: SessionId,
    shared_key: String,
    parts: SessionParts,
}

impl ClientSession {
    /// A session with a random id.
    #[must_use]
    pub fn new(parts: SessionParts) -> Self {
        let id: [u8; 16] = rand::random();
        // The same folder of the same machine keeps its key, so that a daemon can send only what changed since.
        let context = parts.folders.get("context").cloned().unwrap_or_default();
        let key = cooper_proto::Digest::sha256_of(context.as_os_str().as_encoded_bytes());
        Self {
            id: SessionId(hex::encode(id)),
            shared_key: key.short().to_owned(),
            parts,
        }
    }

    /// The folder of a name.
    ///
    /// # Errors
    /// `NotFound` when the session offers none of that name.
    pub fn folder(&self, name: &str) -> Result<&Path, Failure> {
        self.parts
            .folders
            .get(name)
            .map(PathBuf::as_path)
            .ok_or_else(|| {
                Failure::new(
                    FailureKind::NotFound,
                    format!("no local directory {name:?} is offered to this build"),
                )
            })
    }

    /// The folder of the output that is an OCI layout; a command line has at most one.
    fn layout_target(&self) -> Option<&PathBuf> {
        self.parts.targets.iter().find_map(|target| match target {
            Target::Layout(folder) => Some(folder),
            _ => None,
        })
    }

    /// Whether the files of an exporter's folder that the result does not have go away.
    #[must_use]
    pub fn mirrors(&self, exporter: u32) -> bool {
        let index = usize::try_from(exporter).ok();
        let mirrors = index.and_then(|index| self.parts.mirrors.get(index));
        mirrors.copied().unwrap_or(false)
    }

    /// Where the result of an exporter goes.
    ///
    /// # Errors
    /// `NotFound` when the exporter was not asked for.
    pub fn target(&self, exporter: u32) -> Result<&Target, Failure> {
        let target = usize::try_from(exporter)
            .ok()
            .and_then(|index| self.parts.targets.get(index));
        target.ok_or_else(|| {
            Failure::new(
                FailureKind::NotFound,
                format!("there is no place for the output of exporter {exporter}"),
            )
        })
    }
}

#[async_trait]
impl Session for ClientSession {
    fn id(&self) -> &SessionId {
        &self.id
    }

    fn shared_key(&self) -> &str {
        &self.shared_key
    }

    async fn local_dir(&self, name: &str, _filter: &DirFilter) -> Result<LocalDir, Failure> {
        // The worker filters what it reads in place.
        Ok(LocalDir::OnDisk(self.folder(name)?.to_path_buf()))
    }

    async fn secret(&self, id: &str) -> Result<Option<Bytes>, Failure> {
        match self.parts.secrets.get(id) {
            None => Ok(None),
            Some(SecretSource::Variable(name)) => match self.parts.variables.get(name) {
                Some(value) => Ok(Some(Bytes::from(value.clone()))),
                None => Err(Failure::new(
                    FailureKind::NotFound,
                    format!("the secret {id} should be in the variable {name}, which is not set"),
                )),
            },
            Some(SecretSource::File(path)) => read_secret(id, path).map(Some),
        }
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, Failure> {
        DockerCredentials.find(host).await
    }

    async fn oci_layout(&self, store: &str) -> Result<PathBuf, Failure> {
        let folder = self.parts.layouts.get(store).cloned();
        folder.ok_or_else(|| {
            Failure::new(
                FailureKind::NotFound,
                format!("no OCI layout {store:?} is offered to this build"),
            )
        })
    }

    async fn ssh_agent(&self, id: &str) -> Result<Box<dyn SshAgent>, Failure> {
        let id = if id.is_empty() { "default" } else { id };
        let source = self.parts.ssh.get(id).ok_or_else(|| {
            Failure::new(FailureKind::NotFound, format!("unset ssh forward key {id}"))
                .with_hint(format!("--ssh {id} forwards this user's agent"))
        })?;
        Ok(Box::new(ClientSocket::new(source)))
    }

    async fn content(&self, store: &str) -> Result<Box<dyn ClientContent>, Failure> {
        let folder = match store.split_once(':') {
            Some(("oci", name)) => self.parts.layouts.get(name),
            Some(("local", name)) => self.parts.caches.get(name),
            _ if store == EXPORT_STORE => self.layout_target(),
            _ => self.parts.caches.get(store),
        };
        match folder {
            Some(folder) => Ok(Box::new(FolderContent::new(folder.clone()))),
            None => Err(Failure::new(
                FailureKind::NotFound,
                format!("no content store {store:?} is offered to this build"),
            )),
        }
    }

    async fn export_target(&self, request: ExportTargetRequest) -> Result<ExportTarget, Failure> {
        match (self.target(request.exporter)?, request.directory) {
            (Target::Directory(path), true) => {
                fs::create_dir_all(path).map_err(|error| {
                    Failure::new(
                        FailureKind::Infrastructure,
                        format!("cannot make the folder {}: {error}", path.display()),
                    )
                })?;
                Ok(ExportTarget::Directory(path.clone()))
            }
            (Target::File(path), false) => sink::file(path).map(ExportTarget::Stream),
            (Target::Stdout, false) => Ok(ExportTarget::Stream(sink::stdout())),
            (Target::DockerLoad, false) => {
                sink::docker_load(self.parts.docker.as_deref()).map(ExportTarget::Stream)
            }
            (target, _) => Err(Failure::new(
                FailureKind::Internal,
                format!(
                    "exporter {} cannot send its output to {target:?}",
                    request.exporter
                ),
            )),
        }
    }
}

fn read_secret(id: &str, path: &Path) -> Result<Bytes, Failure> {
    let unreadable = |error: std::io::Error| {
        let kind = if error.kind() == std::io::ErrorKind::NotFound {
            FailureKind::NotFound
        } else {
            FailureKind::Infrastructure
        };
        Failure::new(
            kind,
            format!("the secret {id} in {}: {error}", path.display()),
        )
    };
    let mut value = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_SECRET + 1).read_to_end(&mut value))
        .map_err(unreadable)?;
    if value.len() as u64 > MAX_SECRET {
        return Err(Failure::new(
            FailureKind::InvalidInput,
            format!("the secret {id} is longer than {MAX_SECRET} bytes"),
        ));
    }
    Ok(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn secrets_come_from_files_and_variables_and_have_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("token"), "s3cret").unwrap();
        fs::write(path("long"), vec![0; 600 << 10]).unwrap();
        let secrets = [
            ("file", SecretSource::File(path("token"))),
            ("long", SecretSource::File(path("long"))),
            ("gone", SecretSource::File(path("gone"))),
            ("variable", SecretSource::Variable("TOKEN".into())),
            ("unset", SecretSource::Variable("UNSET".into())),
        ];
        let session = ClientSession::new(SessionParts {
            secrets: secrets.map(|(id, s)| (id.to_owned(), s)).into(),
            variables: [("TOKEN".to_owned(), "v".to_owned())].into(),
            ..SessionParts::default()
        });
        assert_eq!(session.secret("file").await, Ok(Some("s3cret".into())));
        assert_eq!(session.secret("variable").await, Ok(Some("v".into())));
        assert_eq!(session.secret("other").await, Ok(None));
        for (id, kind) in [
            ("long", FailureKind::InvalidInput),
            ("gone", FailureKind::NotFound),
            ("unset", FailureKind::NotFound),
        ] {
            assert_eq!(session.secret(id).await.unwrap_err().kind, kind, "{id}");
        }
    }

    #[tokio::test]
    async fn archive_appears_under_its_name_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let session = ClientSession::new(SessionParts {
            targets: vec![Target::File(path.clone())],
            ..SessionParts::default()
        });
        let open = || session.export_target(ExportTargetRequest::default());
        let Ok(ExportTarget::Stream(mut sink)) = open().await else {
            panic!("a file takes a stream");
        };
        sink.send("half".into()).await.unwrap();
        drop(sink);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let Ok(ExportTarget::Stream(mut sink)) = open().await else {
            panic!("a file takes a stream");
        };
        sink.send("who".into()).await.unwrap();
        sink.send("le".into()).await.unwrap();
        assert!(!path.exists());
        sink.finish().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
