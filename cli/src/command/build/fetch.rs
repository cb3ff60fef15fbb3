use std::path::Path;

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{Digest, pb};

use super::output::{Output, Target};
use super::plan::Plan;
use crate::client::{BuildRequest, Client, Subject};
use crate::command::follow::{follow, view};
use crate::command::{Interrupts, ProgressMode};
use crate::config::{Environment, now_ns};

/// The file that a fetched Dockerfile becomes.
pub(super) const FETCHED: &str = "Dockerfile";

/// Has the engine fetch a Dockerfile into a folder, so that the client needs no way to the URL.
///
/// # Errors
/// Those of the fetch.
pub(super) async fn dockerfile(
    (url, folder): (&str, &Path),
    client: &Client,
    environment: &Environment,
    interrupts: &Interrupts,
) -> Result<(), Failure> {
    let plan = Plan {
        outputs: vec![Output {
            kind: "local".to_owned(),
            attributes: [].into(),
            target: Target::Directory(folder.to_path_buf()),
            stage: None,
        }],
        ..Plan::default()
    };
    let request = BuildRequest {
        reference: BuildRequest::new_reference(),
        subject: Subject::Definition(download(url)),
        source_policy: None,
        proxy_network: false,
        plan,
        variables: environment.variables.clone(),
        docker: None,
    };
    let started = client.start(request).await?;
    let mut quiet = view(ProgressMode::Quiet, environment, now_ns());
    let fetched = follow(started, &mut quiet, interrupts).await;
    fetched.map_err(|failure| Failure {
        message: format!(
            "the Dockerfile {url} cannot be fetched: {}",
            failure.message
        ),
        ..failure
    })?;
    match folder.join(FETCHED).is_file() {
        true => Ok(()),
        false => Err(Failure::new(
            FailureKind::NotFound,
            format!("the Dockerfile {url} did not arrive"),
        )),
    }
}

/// The graph of one file by URL.
fn download(url: &str) -> pb::Definition {
    use prost::Message as _;
    let source = pb::SourceOp {
        identifier: url.to_owned(),
        attrs: [("http.filename".to_owned(), FETCHED.to_owned())].into(),
    };
    let source = pb::Op {
        op: Some(pb::op::Op::Source(source)),
        ..pb::Op::default()
    };
    let bytes = source.encode_to_vec();
    let end = pb::Op {
        inputs: vec![pb::Input {
            digest: Digest::sha256_of(&bytes).to_string(),
            index: 0,
        }],
        ..pb::Op::default()
    };
    pb::Definition {
        def: vec![bytes, end.encode_to_vec()],
        ..pb::Definition::default()
    }
}
