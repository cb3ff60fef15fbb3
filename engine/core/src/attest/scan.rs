use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cooper_proto::pb::op::Op as Kind;
use cooper_proto::{Digest, oci::ImageConfig, pb};
use prost::Message;

use crate::model::{
    ATTESTATION_REASON, ATTESTATION_SBOM_CORE, Attestation, AttestationKind, Failure, FailureKind,
    SPDX_PREDICATE,
};

/// Where the program finds what to scan and puts what it found (BuildKit's protocol of scanners).
const CORE: &str = "/run/src/core/sbom";
const EXTRAS: &str = "/run/src/extras";
const OUT: &str = "/run/out";

/// A program in an image that says what is in a file system.
#[derive(Debug, Clone, PartialEq)]
pub struct Scanner {
    reference: String,
    platform: pb::Platform,
    args: Vec<String>,
    env: Vec<(String, String)>,
    folder: String,
    parameters: BTreeMap<String, String>,
}

impl Scanner {
    /// The name of the statement about a result itself, up to its first dot.
    const CORE_NAME: &'static str = "sbom";

    /// What a scanner leaves: a folder of statements, one of them about the result itself.
    pub fn statements<S>(source: S) -> Attestation<S> {
        let text =
            |key: &str, value: &'static str| (key.to_owned(), Bytes::from_static(value.as_bytes()));
        Attestation {
            kind: AttestationKind::Bundle,
            metadata: [
                text(ATTESTATION_REASON, "sbom"),
                text(ATTESTATION_SBOM_CORE, Self::CORE_NAME),
            ]
            .into(),
            source,
            path: String::new(),
            predicate_type: SPDX_PREDICATE.to_owned(),
            subjects: Vec::new(),
        }
    }

    /// Reads how the program of an image is run.
    ///
    /// # Errors
    /// `InvalidInput` for an image without a program.
    pub fn read(
        reference: &str,
        config: &[u8],
        platform: pb::Platform,
        parameters: BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let invalid = |what: String| Failure::new(FailureKind::InvalidInput, what);
        let config = ImageConfig::parse(config)
            .map_err(|error| invalid(format!("scanner {reference}: {error}")))?
            .config;
        let args: Vec<_> = config.entrypoint.into_iter().chain(config.cmd).collect();
        if args.is_empty() {
            return Err(invalid(format!("scanner {reference} does not have cmd")));
        }
        let pair = |text: &String| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (text.clone(), String::new()),
        };
        Ok(Self {
            reference: reference.to_owned(),
            platform,
            args,
            env: config.env.iter().map(pair).collect(),
            folder: match config.working_dir.as_str() {
                "" => "/".to_owned(),
                folder => folder.to_owned(),
            },
            parameters,
        })
    }

    /// What makes a folder of statements about `target`, whose platform is `name`; `extras` are shown to the program
    /// beside it.
    ///
    /// # Errors
    /// `InvalidInput` for a definition that has no result.
    pub fn definition(
        &self,
        name: &str,
        target: &pb::Definition,
        extras: &BTreeMap<String, pb::Definition>,
        ignore_cache: bool,
    ) -> Result<pb::Definition, Failure> {
        let mut all = Joined::default();
        let image = all.add(
            pb::Op {
                op: Some(Kind::Source(pb::SourceOp {
                    identifier: format!("docker-image://{}", self.reference),
                    attrs: BTreeMap::new(),
                })),
                platform: Some(self.platform.clone()),
                ..pb::Op::default()
            },
            pb::OpMetadata::default(),
        );
        let mut shown = vec![(CORE.to_owned(), all.join(target)?)];
        for (extra, definition) in extras {
            let path = format!("{EXTRAS}/{}-{extra}", Self::CORE_NAME);
            shown.push((path, all.join(definition)?));
        }
        let (exec, inputs) = self.exec(image, shown, !extras.is_empty());
        let description = format!("[{name}] generating sbom using {}", self.reference);
        let scan = all.add(
            pb::Op {
                inputs,
                op: Some(Kind::Exec(exec)),
                platform: Some(self.platform.clone()),
                ..pb::Op::default()
            },
            pb::OpMetadata {
                ignore_cache,
                description: [("llb.customname".to_owned(), description)].into(),
                ..pb::OpMetadata::default()
            },
        );
        let mut definition = all.definition;
        let end = pb::Op {
            inputs: vec![pb::Input {
                digest: scan.digest,
                index: 1,
            }],
            ..pb::Op::default()
        };
        definition.def.push(end.encode_to_vec());
        definition.source.clone_from(&target.source);
        Ok(definition)
    }

    fn exec(
        &self,
        image: pb::Input,
        shown: Vec<(String, Option<pb::Input>)>,
        has_extras: bool,
    ) -> (pb::ExecOp, Vec<pb::Input>) {
        let mut inputs = vec![image];
        let mount = |dest: &str, input, output| pb::Mount {
            dest: dest.to_owned(),
            input,
            output,
            ..pb::Mount::default()
        };
        let mut mounts = vec![mount("/", 0, 0), mount(OUT, -1, 1)];
        for (path, input) in shown {
            let position = input.map_or(-1, |input| {
                let known = inputs.iter().position(|it| *it == input);
                let position = known.unwrap_or_else(|| {
                    inputs.push(input);
                    inputs.len() - 1
                });
                i64::try_from(position).unwrap_or(-1)
            });
            mounts.push(pb::Mount {
                readonly: true,
                ..mount(&path, position, -1)
            });
        }
        let mut temporary = mount("/tmp", -1, -1);
        temporary.set_mount_type(pb::MountType::Tmpfs);
        temporary.tmpfs_opt = Some(pb::TmpfsOpt::default());
        mounts.push(temporary);
        let exec = pb::ExecOp {
            meta: Some(pb::Meta {
                args: self.args.clone(),
                env: self.environment(has_extras),
                cwd: self.folder.clone(),
                ..pb::Meta::default()
            }),
            mounts,
            ..pb::ExecOp::default()
        };
        (exec, inputs)
    }

    /// The image's variables and those of the protocol; of two of one name the later counts, in the earlier's place.
    fn environment(&self, has_extras: bool) -> Vec<String> {
        let mut told = self.env.clone();
        let mut set = |name: String, value: String| match told.iter_mut().find(|it| it.0 == name) {
            Some(known) => known.1 = value,
            None => told.push((name, value)),
        };
        set("BUILDKIT_SCAN_DESTINATION".into(), format!("{OUT}/"));
        set("BUILDKIT_SCAN_SOURCE".into(), CORE.into());
        if has_extras {
            set("BUILDKIT_SCAN_SOURCE_EXTRAS".into(), format!("{EXTRAS}/"));
        }
        for (name, value) in &self.parameters {
            set(format!("BUILDKIT_SCAN_{name}"), value.clone());
        }
        let line = |(name, value)| format!("{name}={value}");
        told.into_iter().map(line).collect()
    }
}

/// Definitions that become one.
#[derive(Default)]
struct Joined {
    definition: pb::Definition,
    known: BTreeSet<Digest>,
}

impl Joined {
    /// Adds an op; the input that its first output is.
    fn add(&mut self, op: pb::Op, metadata: pb::OpMetadata) -> pb::Input {
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256_of(&bytes);
        self.definition
            .metadata
            .insert(digest.to_string(), metadata);
        if self.known.insert(digest.clone()) {
            self.definition.def.push(bytes);
        }
        pb::Input {
            digest: digest.to_string(),
            index: 0,
        }
    }

    /// Adds all ops of a definition; the input that its result is, `None` for the empty file system.
    fn join(&mut self, other: &pb::Definition) -> Result<Option<pb::Input>, Failure> {
        let Some((last, ops)) = other.def.split_last() else {
            return Ok(None);
        };
        for bytes in ops {
            if self.known.insert(Digest::sha256_of(bytes)) {
                self.definition.def.push(bytes.clone());
            }
        }
        for (digest, metadata) in &other.metadata {
            let known = self.definition.metadata.entry(digest.clone());
            known.or_insert_with(|| metadata.clone());
        }
        let end = pb::Op::decode(last.as_slice()).ok();
        let input = end.and_then(|end| end.inputs.into_iter().next());
        input.map(Some).ok_or_else(|| {
            Failure::new(
                FailureKind::InvalidInput,
                "a definition that is to be scanned has no result",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Limits};

    fn scanner() -> Scanner {
        let config = br#"{"os":"linux","architecture":"amd64","config":{"Entrypoint":["/scan"],"Cmd":["-v"],"Env":["A=1","BUILDKIT_SCAN_X=old"]},"rootfs":{"type":"layers"}}"#;
        let parameters = [("X".to_owned(), "new".to_owned())].into();
        Scanner::read(
            "docker.io/a/b:1",
            config,
            pb::Platform::default(),
            parameters,
        )
        .unwrap()
    }

    fn local(name: &str) -> pb::Definition {
        let op = pb::Op {
            op: Some(Kind::Source(pb::SourceOp {
                identifier: format!("local://{name}"),
                attrs: BTreeMap::new(),
            })),
            ..pb::Op::default()
        };
        let bytes = op.encode_to_vec();
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

    #[test]
    fn a_scan_is_a_sound_graph_that_sees_the_target_and_what_else_there_is() {
        let extras = [
            ("context".to_owned(), local("context")),
            ("same".to_owned(), local("a")),
        ];
        let definition = scanner()
            .definition("linux/amd64", &local("a"), &extras.into(), true)
            .unwrap();
        let graph = Graph::load(&definition, &Limits::default()).unwrap();
        let target = graph.target.unwrap();
        assert_eq!((target.output, graph.vertices.len()), (1, 4));
        let scan = &graph.vertices[&target.vertex];
        assert!(scan.ignore_cache);
        assert_eq!(
            scan.name,
            "[linux/amd64] generating sbom using docker.io/a/b:1"
        );
        let Some(Kind::Exec(exec)) = &scan.op.op else {
            panic!("{:?}", scan.op);
        };
        let meta = exec.meta.as_ref().unwrap();
        assert_eq!(meta.args, ["/scan", "-v"]);
        assert_eq!(
            meta.env,
            [
                "A=1",
                "BUILDKIT_SCAN_X=new",
                "BUILDKIT_SCAN_DESTINATION=/run/out/",
                "BUILDKIT_SCAN_SOURCE=/run/src/core/sbom",
                "BUILDKIT_SCAN_SOURCE_EXTRAS=/run/src/extras/",
            ]
        );
        let seen: Vec<_> = exec
            .mounts
            .iter()
            .map(|it| (it.dest.as_str(), it.input, it.output, it.readonly))
            .collect();
        assert_eq!(
            seen,
            [
                ("/", 0, 0, false),
                ("/run/out", -1, 1, false),
                ("/run/src/core/sbom", 1, -1, true),
                ("/run/src/extras/sbom-context", 2, -1, true),
                ("/run/src/extras/sbom-same", 1, -1, true),
                ("/tmp", -1, -1, false),
            ]
        );
    }

    #[test]
    fn the_empty_file_system_can_be_scanned() {
        let definition = scanner().definition(
            "linux/amd64",
            &pb::Definition::default(),
            &BTreeMap::new(),
            false,
        );
        let graph = Graph::load(&definition.unwrap(), &Limits::default()).unwrap();
        assert_eq!(graph.vertices.len(), 2);
    }

    #[test]
    fn an_image_without_a_program_is_no_scanner() {
        let config = br#"{"os":"linux","architecture":"amd64"}"#;
        let read = Scanner::read("x", config, pb::Platform::default(), BTreeMap::new());
        assert_eq!(read.unwrap_err().message, "scanner x does not have cmd");
    }
}
