use std::collections::BTreeSet;
use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{
    Bridge, ContainerRequest, FrontendRequest, FrontendResult, ProcessInput, ProcessRequest,
};
use cooper_proto::pb::{self, file_action, op::Op as Kind};
use futures::StreamExt;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::source::{Config, Source, definition_of, find};
use super::talk::Talk;
use crate::bridge::BuildBridge;
use crate::engine::Parts;
use crate::job::GatewayReturn;
use crate::server::{frontend_service, worker_info_json};

/// Labels by which an image says what it can and needs.
const CAPS: &str = "moby.buildkit.frontend.caps";
const NO_NETWORK: &str = "moby.buildkit.frontend.network.none";
/// What a frontend must be able to do that is given inputs.
const INPUTS: &str = "moby.buildkit.frontend.inputs";
/// Where a frontend finds what it was made of itself.
const METADATA: &str = "/run/config/buildkit/metadata";

/// Has an image convert a request.
///
/// # Errors
/// The frontend's own, and where it cannot be run.
///
/// # Cancel
/// Dropping the future kills the frontend and all that it runs.
pub(crate) async fn solve(
    parts: &Arc<Parts>,
    bridge: Arc<BuildBridge>,
    request: FrontendRequest,
) -> Result<FrontendResult, Failure> {
    let Some(image) = request.options.get("source") else {
        return Err(invalid("no source specified for gateway"));
    };
    parts.frontend_images.check(image)?;
    let source = find(&bridge, image, &request).await?;
    check_caps(&source.config, &request)?;
    let wanted = container(&bridge, &source).await?;
    let container = parts.containers.create(wanted).await?;
    let process = process(parts, &source.config, &request)?;
    let (frontend, mut returned) = GatewayReturn::new(request);
    let frontend = Arc::new(frontend);
    let talk = Talk::new();
    let over = CancellationToken::new();
    let service = frontend_service(parts, &bridge, &frontend);
    // The stream of connections must not end before the one connection does.
    let connections = futures::stream::once(std::future::ready(talk.stream()))
        .map(|stream| stream.map_err(std::io::Error::other))
        .chain(futures::stream::pending());
    let serving = Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(connections, over.clone().cancelled_owned());
    let running = async {
        let started = container.start(process).await;
        let ended = match started {
            Ok(process) => talk.run(process.as_ref()).await,
            Err(failure) => Err(failure),
        };
        over.cancel();
        ended
    };
    let (served, ended) = tokio::join!(serving, running);
    frontend.containers.release_all().await;
    // Nothing runs in it any more.
    let _ran = container.release().await;
    if let Err(error) = served {
        tracing::debug!(%error, "the conversation with a frontend ended badly");
    }
    match (returned.try_recv(), ended) {
        // What it said itself tells more than its exit code.
        (Ok(Err(failure)), _) | (_, Err(failure)) => Err(failure),
        (Ok(Ok(result)), Ok(())) => Ok(result),
        (Err(_), Ok(())) => Err(invalid(
            "no result for incomplete build: the frontend returned none",
        )),
    }
}

fn check_caps(config: &Config, request: &FrontendRequest) -> Result<(), Failure> {
    let has = caps(label(config, CAPS).unwrap_or_default());
    let asked = request.options.get("frontend.caps");
    let mut needs = caps(asked.map(String::as_str).unwrap_or_default());
    if !request.inputs.is_empty() {
        needs.insert(INPUTS);
    }
    match needs.into_iter().find(|cap| !has.contains(cap)) {
        None => Ok(()),
        Some(cap) => Err(Failure::new(
            FailureKind::Unsupported,
            format!("unsupported frontend capability {cap}"),
        )),
    }
}

/// Names that are separated by commas; what follows a `+` is no part of them.
fn caps(text: &str) -> BTreeSet<&str> {
    let name = |part: &'_ str| part.split('+').next().unwrap_or_default().trim().len();
    text.split(',')
        .map(|part| part.trim_start())
        .map(|part| &part[..name(part)])
        .filter(|part| !part.is_empty())
        .collect()
}

fn label<'a>(config: &'a Config, name: &str) -> Option<&'a str> {
    config.labels.as_ref()?.get(name).map(String::as_str)
}

async fn container(bridge: &BuildBridge, source: &Source) -> Result<ContainerRequest, Failure> {
    let mkfile = pb::FileActionMkFile {
        path: String::from("/frontend.bin"),
        mode: 0o400,
        data: source.definition.encode_to_vec(),
        timestamp: -1,
        ..pb::FileActionMkFile::default()
    };
    let metadata = pb::Op {
        op: Some(Kind::File(pb::FileOp {
            actions: vec![pb::FileAction {
                input: -1,
                secondary_input: -1,
                output: 0,
                action: Some(file_action::Action::Mkfile(mkfile)),
            }],
        })),
        ..pb::Op::default()
    };
    let name = "[internal] telling the frontend what it is made of";
    let metadata = bridge.solve(definition_of(&metadata, name)).await?;
    let (root, metadata) =
        futures::future::try_join(bridge.result(&source.result), bridge.result(&metadata)).await?;
    let mount = |input, dest: &str, readonly| pb::Mount {
        input,
        dest: dest.to_owned(),
        readonly,
        output: -1,
        ..pb::Mount::default()
    };
    let no_network = label(&source.config, NO_NETWORK);
    let is_alone =
        no_network.is_some_and(|it| matches!(it, "1" | "t" | "T" | "true" | "TRUE" | "True"));
    let network = match is_alone {
        true => pb::NetMode::None,
        false => pb::NetMode::Unset,
    };
    Ok(ContainerRequest {
        mounts: vec![mount(0, "/", false), mount(1, METADATA, true)],
        inputs: vec![root, metadata],
        network: network as i32,
        sessions: bridge.sessions(),
        ..ContainerRequest::default()
    })
}

fn process(
    parts: &Parts,
    config: &Config,
    request: &FrontendRequest,
) -> Result<ProcessRequest, Failure> {
    let mut env = config.env.clone().unwrap_or_default();
    for (index, (key, value)) in request.options.iter().enumerate() {
        env.push(format!("BUILDKIT_FRONTEND_OPT_{index}={key}={value}"));
    }
    env.push(format!("BUILDKIT_SESSION_ID={}", request.session));
    env.push(format!("BUILDKIT_WORKERS={}", worker_info_json(parts)?));
    env.push(String::from("BUILDKIT_EXPORTEDPRODUCT="));
    let entrypoint = config.entrypoint.clone().filter(|it| !it.is_empty());
    Ok(ProcessRequest {
        meta: pb::Meta {
            args: entrypoint.unwrap_or_else(|| vec![String::from("/run")]),
            env,
            cwd: match config.working_dir.as_str() {
                "" => String::from("/"),
                directory => directory.to_owned(),
            },
            ..pb::Meta::default()
        },
        input: ProcessInput::Pipe,
        ..ProcessRequest::default()
    })
}

fn invalid(words: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, words)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_frontend_must_have_what_is_asked_of_it() {
        let config = Config {
            labels: Some(BTreeMap::from([(
                CAPS.to_owned(),
                String::from(
                    "moby.buildkit.frontend.inputs, moby.buildkit.frontend.subrequests+forward",
                ),
            )])),
            ..Config::default()
        };
        let asking = |caps: &str| FrontendRequest {
            options: BTreeMap::from([(String::from("frontend.caps"), caps.to_owned())]),
            ..FrontendRequest::default()
        };
        assert!(check_caps(&config, &FrontendRequest::default()).is_ok());
        assert!(check_caps(&config, &asking("moby.buildkit.frontend.subrequests")).is_ok());
        let refused = check_caps(&config, &asking("moby.buildkit.frontend.contexts"));
        assert_eq!(refused.map_err(|it| it.kind), Err(FailureKind::Unsupported));
        let with_inputs = FrontendRequest {
            inputs: BTreeMap::from([(String::from("a"), pb::Definition::default())]),
            ..FrontendRequest::default()
        };
        assert!(check_caps(&config, &with_inputs).is_ok());
        assert!(check_caps(&Config::default(), &with_inputs).is_err());
    }
}
