use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::Credentials;
use docker_credential::{CredentialRetrievalError, DockerCredential};

/// Looks registries up in Docker's configuration of the user, credential helpers included.
#[derive(Clone, Copy, Debug, Default)]
pub struct DockerCredentials;

impl DockerCredentials {
    /// Name and password for a registry's host, `None` when the user has none.
    ///
    /// # Errors
    /// `Infrastructure` when the configuration is damaged or a helper fails.
    pub async fn find(self, host: &str) -> Result<Option<Credentials>, Failure> {
        let key = configuration_key(host).to_owned();
        let found = tokio::task::spawn_blocking(move || docker_credential::get_credential(&key))
            .await
            .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?;
        match found {
            Ok(DockerCredential::UsernamePassword(username, secret)) => {
                Ok(Some(Credentials { username, secret }))
            }
            Ok(DockerCredential::IdentityToken(secret)) => Ok(Some(Credentials {
                username: String::new(),
                secret,
            })),
            Err(
                CredentialRetrievalError::ConfigNotFound
                | CredentialRetrievalError::NoCredentialConfigured
                | CredentialRetrievalError::ConfigReadError,
            ) => Ok(None),
            Err(error) => Err(Failure::new(
                FailureKind::Infrastructure,
                format!("credentials for {host}: {error}"),
            )
            .with_hint("see the Docker configuration of the user, ~/.docker/config.json")),
        }
    }
}

/// Docker Hub goes by another name in the configuration than on the network.
fn configuration_key(host: &str) -> &str {
    match host {
        "registry-1.docker.io" | "docker.io" | "index.docker.io" => "https://index.docker.io/v1/",
        other => other,
    }
}
