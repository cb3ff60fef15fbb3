use std::collections::BTreeMap;

use cooper_core::attest::{Detail, ProvenanceOptions, SlsaVersion};
use cooper_core::model::{Failure, FailureKind};
use cooper_proto::platform;
use serde_json::{Map, Value, json};

use super::capture::Capture;
use super::parameters::{ConfigSource, Local, Parameters, RequestProvenance};
use super::sources::Dependency;
use super::steps::Steps;

const BUILD_TYPE_V1: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const BUILD_TYPE_V02: &str = "https://mobyproject.org/buildkit@v1";

/// The output format that every build has (parity sheet C1).
const COMPATIBILITY: u32 = 30;

/// All that provenance tells but for when the build ended and what layers its steps have.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) version: SlsaVersion,
    builder_id: String,
    reproducible: bool,
    /// A name for this one build.
    pub(super) invocation: String,
    pub(super) started_ns: u64,
    pub(super) custom: Map<String, Value>,
    pub(super) steps: Option<Steps>,
    dependencies: Vec<Dependency>,
    config_source: ConfigSource,
    request: Parameters,
    request_is_complete: bool,
    dependencies_are_complete: bool,
    hermetic: bool,
    vcs: BTreeMap<String, String>,
}

impl Facts {
    /// What is told of a capture.
    ///
    /// # Errors
    /// `InvalidInput` when the client wants all materials pinned and they are not.
    pub(super) fn new(capture: &Capture, options: &ProvenanceOptions) -> Result<Self, Failure> {
        let mut request = capture.request.clone();
        let told = RequestProvenance::of(&request.frontend, &request.args, &capture.sources);
        request.args = told.request.map(|it| it.args).unwrap_or_default();
        let mut vcs = BTreeMap::new();
        request.args.retain(|key, value| {
            let Some(name) = key.strip_prefix("vcs:") else {
                return true;
            };
            if !value.is_empty() {
                vcs.insert(name.to_owned(), value.clone());
            }
            false
        });
        let locals = capture.sources.locals.iter().cloned();
        request.locals = locals.map(|name| Local { name }).collect();
        request.compatibility_version = Some(COMPATIBILITY);
        let incomplete = capture.incomplete || !request.locals.is_empty();
        if options.complete_materials && incomplete {
            return Err(incomplete_materials(&request.locals));
        }
        let mut request_is_complete = !request.frontend.is_empty();
        if options.detail == Detail::Min && request.keep_least() {
            request_is_complete = false;
        }
        Ok(Self {
            version: options.version,
            builder_id: options.builder_id.clone(),
            reproducible: options.reproducible,
            invocation: String::new(),
            started_ns: 0,
            custom: Map::new(),
            steps: None,
            dependencies: capture.sources.dependencies(),
            config_source: told.config_source,
            request,
            request_is_complete,
            dependencies_are_complete: !incomplete,
            hermetic: !incomplete && !capture.network,
            vcs,
        })
    }

    /// The predicate in the form that was asked for.
    pub(super) fn predicate(&self, finished_ns: u64, layers: Map<String, Value>) -> Value {
        match self.version {
            SlsaVersion::V1 => self.v1(finished_ns, layers),
            SlsaVersion::V02 => self.v02(finished_ns, layers),
        }
    }

    fn v1(&self, finished_ns: u64, layers: Map<String, Value>) -> Value {
        let definition = Object::default()
            .set("buildType", BUILD_TYPE_V1)
            .unless_empty("resolvedDependencies", self.dependencies())
            .set(
                "externalParameters",
                json!({"configSource": self.config_source, "request": self.request}),
            )
            .set(
                "internalParameters",
                self.environment("builderPlatform")
                    .unless_empty("buildConfig", self.build_config())
                    .done(),
            );
        let metadata = Object::default()
            .set("invocationId", self.invocation.as_str())
            .set("startedOn", time(self.started_ns))
            .set("finishedOn", time(finished_ns))
            .set("buildkit_metadata", self.metadata(layers))
            .unless_empty("buildkit_hermetic", self.hermetic)
            .set(
                "buildkit_completeness",
                json!({
                    "request": self.request_is_complete,
                    "resolvedDependencies": self.dependencies_are_complete,
                }),
            )
            .unless_empty("buildkit_reproducible", self.reproducible);
        json!({
            "buildDefinition": definition.done(),
            "runDetails": {"builder": {"id": self.builder_id}, "metadata": metadata.done()},
        })
    }

    fn v02(&self, finished_ns: u64, layers: Map<String, Value>) -> Value {
        let config_source = Object::default()
            .unless_empty("uri", self.config_source.uri.as_str())
            .unless_empty("digest", json!(self.config_source.digest))
            .unless_empty("entryPoint", self.config_source.path.as_str());
        let invocation = json!({
            "configSource": config_source.done(),
            "parameters": self.request,
            "environment": self.environment("platform").done(),
        });
        let metadata = Object::default()
            .set("buildInvocationID", self.invocation.as_str())
            .set("buildStartedOn", time(self.started_ns))
            .set("buildFinishedOn", time(finished_ns))
            .set(
                "completeness",
                json!({
                    "parameters": self.request_is_complete,
                    "environment": true,
                    "materials": self.dependencies_are_complete,
                }),
            )
            .set("reproducible", self.reproducible)
            .set(
                "https://mobyproject.org/buildkit@v1#metadata",
                self.metadata(layers),
            )
            .unless_empty(
                "https://mobyproject.org/buildkit@v1#hermetic",
                self.hermetic,
            );
        Object::default()
            .set("builder", json!({"id": self.builder_id}))
            .set("buildType", BUILD_TYPE_V02)
            .unless_empty("materials", self.dependencies())
            .set("invocation", invocation)
            .unless_empty("buildConfig", self.build_config())
            .set("metadata", metadata.done())
            .done()
    }

    fn dependencies(&self) -> Vec<Value> {
        let one = |it: &Dependency| json!({"uri": it.uri, "digest": it.digest});
        self.dependencies.iter().map(one).collect()
    }

    fn build_config(&self) -> Value {
        self.steps.as_ref().map_or(Value::Null, Steps::config)
    }

    /// Where it was built. What this machine's owner adds takes the place of nothing.
    fn environment(&self, platform_key: &str) -> Object {
        let mut environment = Object(self.custom.clone()).set(
            platform_key,
            platform::format(&platform::normalize(&platform::host())),
        );
        if self.request.frontend == "dockerfile.v0" {
            environment = environment.set("dockerfileVersion", crate::server::DOCKERFILE_VERSION);
        }
        environment
    }

    fn metadata(&self, layers: Map<String, Value>) -> Value {
        let source = self.steps.as_ref().map(|steps| steps.source.clone());
        Object::default()
            .unless_empty("vcs", json!(self.vcs))
            .unless_empty("source", source.unwrap_or_default())
            .unless_empty("layers", layers)
            .done()
    }
}

/// A JSON object whose keys stay in the order in which they were set.
#[derive(Debug, Default)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    pub(super) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// Leaves out what Go calls empty.
    pub(super) fn unless_empty(self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let is_empty = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Bool(true) | Value::Number(_) => false,
        };
        match is_empty {
            true => self,
            false => self.set(key, value),
        }
    }

    pub(super) fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn time(ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(ns));
    time.map_or_else(|_| String::new(), |time| time.to_string())
}

/// In BuildKit's words, which its clients' users know.
fn incomplete_materials(locals: &[Local]) -> Failure {
    let mut words = String::from(
        "provenance materials are incomplete\n\nThe build requested complete provenance materials, \
         but not all dependencies could be captured.",
    );
    if !locals.is_empty() {
        words.push_str("\n\nUncaptured local sources:");
    }
    for local in locals {
        let name = match local.name.as_str() {
            "" => "<unnamed>",
            name => name,
        };
        words.push_str(&format!("\n  - {name}\n    reason: local_source"));
    }
    Failure::new(FailureKind::InvalidInput, words)
}

#[cfg(test)]
mod tests {
    use cooper_core::model::Material;
    use cooper_proto::Digest;

    use super::*;

    fn capture() -> Capture {
        let mut capture = Capture::default();
        capture.request.frontend = "dockerfile.v0".into();
        for (key, value) in [
            ("build-arg:FOO", "bar"),
            ("filename", "Dockerfile"),
            ("target", "t"),
            ("vcs:revision", "123"),
        ] {
            capture.request.args.insert(key.into(), value.into());
        }
        capture.sources.add(Material::Image {
            reference: "docker.io/library/a:1".into(),
            platform: None,
            digest: Digest::sha256_of("a"),
            local: false,
        });
        capture
    }

    fn told(capture: &Capture, options: &ProvenanceOptions) -> Value {
        let mut facts = Facts::new(capture, options).unwrap();
        facts.invocation = "one".into();
        facts.started_ns = 1_500_000_000;
        facts.custom.insert("ours".into(), json!([1]));
        facts.custom.insert("builderPlatform".into(), json!("no"));
        facts.predicate(2_000_000_000, Map::new())
    }

    #[test]
    fn the_newest_form_is_buildkits() {
        let told = told(&capture(), &ProvenanceOptions::default());
        let host = platform::format(&platform::normalize(&platform::host()));
        assert_eq!(
            told,
            json!({
                "buildDefinition": {
                    "buildType": BUILD_TYPE_V1,
                    "resolvedDependencies": [{
                        "uri": "pkg:docker/a@1",
                        "digest": {"sha256": Digest::sha256_of("a").hex()},
                    }],
                    "externalParameters": {
                        "configSource": {"path": "Dockerfile"},
                        "request": {
                            "frontend": "dockerfile.v0",
                            "args": {"build-arg:FOO": "bar", "target": "t"},
                            "compatibilityVersion": 30,
                        },
                    },
                    "internalParameters": {
                        "ours": [1],
                        "builderPlatform": host,
                        "dockerfileVersion": crate::server::DOCKERFILE_VERSION,
                    },
                },
                "runDetails": {
                    "builder": {"id": ""},
                    "metadata": {
                        "invocationId": "one",
                        "startedOn": "1970-01-01T00:00:01.5Z",
                        "finishedOn": "1970-01-01T00:00:02Z",
                        "buildkit_metadata": {"vcs": {"revision": "123"}},
                        "buildkit_hermetic": true,
                        "buildkit_completeness": {"request": true, "resolvedDependencies": true},
                    },
                },
            })
        );
    }

    #[test]
    fn the_old_form_says_the_same_in_other_words() {
        let options = ProvenanceOptions {
            version: SlsaVersion::V02,
            detail: Detail::Min,
            builder_id: "https://b".into(),
            reproducible: true,
            ..ProvenanceOptions::default()
        };
        let told = told(&capture(), &options);
        assert_eq!(told["builder"]["id"], "https://b");
        assert_eq!(told["buildType"], BUILD_TYPE_V02);
        assert_eq!(told["materials"][0]["uri"], "pkg:docker/a@1");
        let invocation = &told["invocation"];
        assert_eq!(
            invocation["configSource"],
            json!({"entryPoint": "Dockerfile"})
        );
        assert_eq!(invocation["parameters"]["args"], json!({"target": "t"}));
        assert_eq!(invocation["environment"]["ours"], json!([1]));
        let metadata = &told["metadata"];
        assert_eq!(
            metadata["completeness"],
            json!({"parameters": false, "environment": true, "materials": true})
        );
        assert_eq!(metadata["reproducible"], true);
        assert_eq!(metadata["buildInvocationID"], "one");
        assert_eq!(
            metadata["https://mobyproject.org/buildkit@v1#hermetic"],
            true
        );
    }

    #[test]
    fn folders_of_the_client_make_materials_incomplete() {
        let mut capture = capture();
        capture.sources.add(Material::Local {
            name: "context".into(),
        });
        let told = told(&capture, &ProvenanceOptions::default());
        let metadata = &told["runDetails"]["metadata"];
        assert_eq!(
            metadata["buildkit_completeness"]["resolvedDependencies"],
            false
        );
        assert_eq!(metadata.get("buildkit_hermetic"), None);
        let request = &told["buildDefinition"]["externalParameters"]["request"];
        assert_eq!(request["locals"], json!([{"name": "context"}]));
        let complete = ProvenanceOptions {
            complete_materials: true,
            ..ProvenanceOptions::default()
        };
        let failure = Facts::new(&capture, &complete).unwrap_err();
        assert!(
            failure
                .message
                .ends_with("- context\n    reason: local_source")
        );
    }
}
