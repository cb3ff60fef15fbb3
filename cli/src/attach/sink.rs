use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::ChunkSink;
use tempfile::{NamedTempFile, TempPath};
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, Stdout};
use tokio::process::{Child, ChildStdin, Command};

/// Writes an archive to a file. A file that is replaced keeps its content until the new one is whole.
pub(super) fn file(path: &Path) -> Result<Box<dyn ChunkSink>, Failure> {
    let cannot = |error: io::Error| cannot_write(path, &error);
    // Pipes and devices have no place to put a second file beside them.
    if path.exists() && !path.is_file() {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(cannot)?;
        return Ok(Box::new(FileSink {
            file: file.into(),
            temporary: None,
            path: path.to_path_buf(),
        }));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let temporary = NamedTempFile::with_prefix_in(".cooper-", folder).map_err(cannot)?;
    let (file, temporary) = temporary.into_parts();
    Ok(Box::new(FileSink {
        file: file.into(),
        temporary: Some(temporary),
        path: path.to_path_buf(),
    }))
}

struct FileSink {
    file: File,
    temporary: Option<TempPath>,
    path: PathBuf,
}

#[async_trait]
impl ChunkSink for FileSink {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.file
            .write_all(&chunk)
            .await
            .map_err(|error| cannot_write(&self.path, &error))
    }

    async fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        let cannot = |error: io::Error| cannot_write(&self.path, &error);
        self.file.flush().await.map_err(cannot)?;
        let Some(temporary) = self.temporary else {
            return Ok(());
        };
        // Private by default for temporary files; an archive is not a secret.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        self.file
            .set_permissions(permissions)
            .await
            .map_err(cannot)?;
        temporary
            .persist(&self.path)
            .map_err(|error| cannot(error.error))
    }
}

/// Writes an archive to standard output.
pub(super) fn stdout() -> Box<dyn ChunkSink> {
    Box::new(StdoutSink(tokio::io::stdout()))
}

struct StdoutSink(Stdout);

#[async_trait]
impl ChunkSink for StdoutSink {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        let written = self.0.write_all(&chunk).await;
        written.map_err(|error| cannot_write(Path::new("standard output"), &error))
    }

    async fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        let flushed = self.0.flush().await;
        flushed.map_err(|error| cannot_write(Path::new("standard output"), &error))
    }
}

/// Gives an archive to `docker load`.
pub(super) fn docker_load(docker: Option<&Path>) -> Result<Box<dyn ChunkSink>, Failure> {
    let docker = docker.ok_or_else(|| {
        Failure::new(
            FailureKind::NotFound,
            "the image should be loaded into Docker, and there is no docker program",
        )
        .with_hint("write it to a file: --output type=docker,dest=image.tar")
    })?;
    let mut child = Command::new(docker)
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| docker_failed(&error.to_string()))?;
    let stdin = child.stdin.take();
    Ok(Box::new(DockerLoad { child, stdin }))
}

struct DockerLoad {
    child: Child,
    stdin: Option<ChildStdin>,
}

#[async_trait]
impl ChunkSink for DockerLoad {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        // Docker stops reading at the archive's end marker; what it says tells whether that was right.
        if let Some(stdin) = &mut self.stdin
            && stdin.write_all(&chunk).await.is_err()
        {
            self.stdin = None;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        if let Some(mut stdin) = self.stdin.take() {
            // As above: the exit code tells.
            let _ = stdin.shutdown().await;
        }
        let Self { child, .. } = *self;
        let output = child
            .wait_with_output()
            .await
            .map_err(|error| docker_failed(&error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(docker_failed(said.trim()))
    }
}

fn docker_failed(why: &str) -> Failure {
    Failure::new(
        FailureKind::Infrastructure,
        format!("docker load failed: {why}"),
    )
    .with_hint("is the Docker daemon running?")
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        FailureKind::Infrastructure,
        format!("cannot write {}: {error}", path.display()),
    )
}
