use std::collections::BTreeMap;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{Bridge, FrontendRequest, ImageQuery, RefId, ResolveMode};
use cooper_proto::pb::{self, op::Op as Kind};
use cooper_proto::{Digest, reference::Reference};
use prost::Message;
use serde::Deserialize;

use super::settings::parse;
use crate::bridge::BuildBridge;

/// A frontend's image.
pub(super) struct Source {
    /// What makes its file system.
    pub(super) definition: pb::Definition,
    /// Its file system.
    pub(super) result: RefId,
    /// How its program is run.
    pub(super) config: Config,
}

/// The parts of an image's configuration that say how a frontend is run.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Config {
    pub(super) env: Option<Vec<String>>,
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) working_dir: String,
    pub(super) labels: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    config: Option<Config>,
}

/// Finds the image that a request names, or what a named context puts in its place.
pub(super) async fn find(
    bridge: &BuildBridge,
    source: &str,
    request: &FrontendRequest,
) -> Result<Source, Failure> {
    let asked = parse(source)?;
    let (definition, config) = match replaced(&asked, &request.options) {
        None => image(bridge, asked).await?,
        Some(context) => context_of(bridge, context, request).await?,
    };
    let result = bridge.solve(definition.clone()).await?;
    Ok(Source {
        definition,
        result,
        config,
    })
}

/// The named context that stands for the image, if there is one.
fn replaced<'a>(asked: &Reference, options: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let familiar = asked.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    options.get(&format!("context:{name}")).map(String::as_str)
}

async fn context_of(
    bridge: &BuildBridge,
    context: &str,
    request: &FrontendRequest,
) -> Result<(pb::Definition, Config), Failure> {
    if let Some(image_name) = context.strip_prefix("docker-image://") {
        return image(bridge, parse(image_name)?).await;
    }
    if let Some(name) = context.strip_prefix("input:") {
        let definition = request.inputs.get(name).cloned().ok_or_else(|| {
            Failure::new(
                FailureKind::NotFound,
                format!("no input named {name} for the frontend's image"),
            )
        })?;
        let metadata = request.options.get(&format!("input-metadata:{name}"));
        return Ok((definition, input_config(metadata)?));
    }
    Err(Failure::unsupported(format!(
        "a frontend's image from the named context {context:?}"
    )))
}

async fn image(
    bridge: &BuildBridge,
    reference: Reference,
) -> Result<(pb::Definition, Config), Failure> {
    let reference = reference.with_default_tag();
    let query = ImageQuery {
        log_name: format!("resolve image config for docker-image://{reference}"),
        reference: reference.to_string(),
        platform: None,
        mode: ResolveMode::Default,
        oci_layout_store: None,
    };
    let found = bridge.resolve_image(query).await?.into_image()?;
    let pinned = parse(&found.reference)?.with_digest(found.digest);
    Ok((source_definition(&pinned), read_config(&found.config)?))
}

/// A definition of one image and nothing else.
fn source_definition(image: &Reference) -> pb::Definition {
    let source = pb::Op {
        op: Some(Kind::Source(pb::SourceOp {
            identifier: format!("docker-image://{image}"),
            ..pb::SourceOp::default()
        })),
        ..pb::Op::default()
    };
    definition_of(&source, &format!("docker-image://{image}"))
}

/// A definition of one op and nothing else.
pub(super) fn definition_of(op: &pb::Op, name: &str) -> pb::Definition {
    let bytes = op.encode_to_vec();
    let digest = Digest::sha256_of(&bytes).to_string();
    let terminal = pb::Op {
        inputs: vec![pb::Input {
            digest: digest.clone(),
            index: 0,
        }],
        ..pb::Op::default()
    };
    let description = [(String::from("llb.customname"), name.to_owned())];
    let metadata = pb::OpMetadata {
        description: description.into_iter().collect(),
        ..pb::OpMetadata::default()
    };
    pb::Definition {
        def: vec![bytes, terminal.encode_to_vec()],
        metadata: [(digest, metadata)].into_iter().collect(),
        ..pb::Definition::default()
    }
}

fn read_config(json: &[u8]) -> Result<Config, Failure> {
    let document: Document = serde_json::from_slice(json).map_err(|error| unreadable(&error))?;
    Ok(document.config.unwrap_or_default())
}

/// The configuration that a client sends along with an input.
fn input_config(metadata: Option<&String>) -> Result<Config, Failure> {
    const KEY: &str = "containerimage.config";
    let Some(metadata) = metadata else {
        return Ok(Config::default());
    };
    let all: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(metadata).map_err(|error| unreadable(&error))?;
    match all.get(KEY) {
        None => Ok(Config::default()),
        // Go writes bytes as base64.
        Some(serde_json::Value::String(text)) => {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|error| unreadable(&error))?;
            read_config(&bytes)
        }
        Some(document) => read_config(document.to_string().as_bytes()),
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        FailureKind::InvalidInput,
        format!("the configuration of the frontend's image cannot be read: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_context_stands_for_the_image_in_its_short_form() {
        let options = BTreeMap::from([(
            String::from("context:docker/dockerfile"),
            String::from("docker-image://example.com/mine"),
        )]);
        let found = |source: &str| replaced(&parse(source).expect("a reference"), &options);
        let mine = Some("docker-image://example.com/mine");
        assert_eq!(found("docker.io/docker/dockerfile:latest"), mine);
        assert_eq!(found("docker/dockerfile"), mine);
        assert_eq!(found("docker/dockerfile:1"), None);
    }
}
