use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::csv;
use super::error::UsageError;

/// One place where the result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exporter: `image`, `oci`, `docker`, `local`, `tar`, or `cacheonly`, which is none.
    pub kind: String,
    /// What the exporter is told (parity sheet C2).
    pub attributes: BTreeMap<String, String>,
    /// Where the client puts what the exporter sends.
    pub target: Target,
    /// The stage whose result it is, where several are built.
    pub stage: Option<String>,
}

/// What buildx calls a build that keeps nothing but the cache.
const CACHE_ONLY: &str = "cacheonly";

impl Output {
    /// Whether an exporter is asked for it.
    #[must_use]
    pub fn is_exported(&self) -> bool {
        self.kind != CACHE_ONLY
    }

    /// Whether the files of its folder that the result does not have go away.
    #[must_use]
    pub fn mirrors(&self) -> bool {
        self.attributes
            .get("mode")
            .is_some_and(|mode| mode == "delete")
    }
}

/// Where the client puts what an exporter sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The exporter sends nothing.
    #[default]
    None,
    /// Files below a folder.
    Directory(PathBuf),
    /// The blobs of an OCI layout in a folder.
    Layout(PathBuf),
    /// One file.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Standard input of `docker load`.
    DockerLoad,
}

/// What stands around the outputs on the command line.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputContext<'a> {
    /// Folder that relative paths start from.
    pub folder: Option<&'a Path>,
    /// Whether standard output is a terminal, which archives are not written to.
    pub stdout_is_terminal: bool,
}

impl OutputContext<'_> {
    /// The context of this process.
    #[must_use]
    pub fn of(folder: &Path) -> OutputContext<'_> {
        OutputContext {
            folder: Some(folder),
            stdout_is_terminal: std::io::stdout().is_terminal(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.map_or_else(|| path.into(), |f| f.join(path))
    }
}

/// Reads the values of `--output`.
///
/// # Errors
/// When a value has no known type, lacks its destination or would write an archive to a terminal.
pub(in crate::command) fn parse(
    texts: &[String],
    context: OutputContext<'_>,
) -> Result<Vec<Output>, UsageError> {
    let outputs: Vec<Output> = texts
        .iter()
        .map(|text| parse_one(text, context))
        .collect::<Result<_, _>>()?;
    let stdouts = outputs.iter().filter(|o| o.target == Target::Stdout);
    if stdouts.count() > 1 {
        return Err(UsageError::new(
            "only one output can go to standard output",
            "give the others a dest=PATH",
        ));
    }
    let layouts = outputs
        .iter()
        .filter(|o| matches!(o.target, Target::Layout(_)));
    if layouts.count() > 1 {
        return Err(UsageError::new(
            "only one output can have tar=false",
            "copy the folder, or write the others as archives",
        ));
    }
    Ok(outputs)
}

fn parse_one(text: &str, context: OutputContext<'_>) -> Result<Output, UsageError> {
    let fields = csv::fields(text)
        .ok_or_else(|| UsageError::plain(format!("invalid value {text:?} of --output")))?;
    let mut attributes = BTreeMap::new();
    if let [path] = fields.as_slice()
        && !path.starts_with("type=")
        && !path.contains('=')
    {
        let kind = if path == "-" { "tar" } else { "local" };
        attributes.insert("type".to_owned(), kind.to_owned());
        attributes.insert("dest".to_owned(), path.clone());
    } else {
        for field in &fields {
            let (key, value) = field.split_once('=').ok_or_else(|| {
                UsageError::new(
                    format!("invalid value {text:?} of --output: {field:?} is no NAME=VALUE"),
                    "for example type=local,dest=out",
                )
            })?;
            attributes.insert(key.trim().to_lowercase(), value.to_owned());
        }
    }
    let kind = attributes.remove("type").ok_or_else(|| {
        UsageError::new(
            format!("invalid value {text:?} of --output: it has no type"),
            "for example type=local,dest=out",
        )
    })?;
    let stage = attributes.remove("target");
    let dest = attributes.remove("dest");
    let (kind, target) = target(kind, dest.as_deref(), &mut attributes, context)?;
    Ok(Output {
        kind,
        attributes,
        target,
        stage,
    })
}

fn target(
    kind: String,
    dest: Option<&str>,
    attributes: &mut BTreeMap<String, String>,
    context: OutputContext<'_>,
) -> Result<(String, Target), UsageError> {
    let target = match (kind.as_str(), dest) {
        ("registry", None) => {
            attributes
                .entry("push".to_owned())
                .or_insert_with(|| "true".to_owned());
            return Ok(("image".into(), Target::None));
        }
        ("image", None) => Target::None,
        ("image" | "registry", Some(_)) => {
            return Err(UsageError::new(
                format!("an output of the type {kind} has no dest"),
                "it goes to the local image store or, with push=true, to a registry",
            ));
        }
        ("local", None | Some("" | "-")) => {
            return Err(UsageError::new(
                "an output of the type local needs a folder",
                "for example type=local,dest=out",
            ));
        }
        ("local", Some(path)) => Target::Directory(context.path(path)),
        ("oci" | "docker", dest) if is_layout(attributes) => match dest {
            Some(path) if !matches!(path, "" | "-") => Target::Layout(context.path(path)),
            _ => {
                return Err(UsageError::new(
                    format!("an output of the type {kind} with tar=false needs a folder"),
                    format!("for example type={kind},tar=false,dest=out"),
                ));
            }
        },
        ("docker", None) => Target::DockerLoad,
        ("tar" | "oci" | "docker", None | Some("-")) if context.stdout_is_terminal => {
            return Err(UsageError::new(
                format!("an output of the type {kind} is not written to a terminal"),
                format!("redirect standard output, or write type={kind},dest=FILE"),
            ));
        }
        ("tar" | "oci" | "docker", None | Some("-")) => Target::Stdout,
        ("tar" | "oci" | "docker", Some(path)) => {
            let path = context.path(path);
            if path.is_dir() {
                return Err(UsageError::plain(format!(
                    "cannot write an archive to {}: it is a folder",
                    path.display()
                )));
            }
            Target::File(path)
        }
        (CACHE_ONLY, None) => Target::None,
        (CACHE_ONLY, Some(_)) => {
            return Err(UsageError::new(
                "an output of the type cacheonly has no dest",
                "it builds and keeps nothing but the cache",
            ));
        }
        _ => {
            return Err(UsageError::new(
                format!("unknown output type {kind:?}"),
                "known are image, registry, local, tar, oci, docker and cacheonly",
            ));
        }
    };
    Ok((kind, target))
}

/// Whether an image goes into a folder and not into an archive.
fn is_layout(attributes: &BTreeMap<String, String>) -> bool {
    let off = ["false", "0", "f", "F", "FALSE", "False"];
    attributes
        .get("tar")
        .is_some_and(|tar| off.contains(&tar.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Output, UsageError> {
        let context = OutputContext {
            folder: Some(Path::new("/here")),
            stdout_is_terminal: false,
        };
        parse(&[text.to_owned()], context).map(|mut outputs| outputs.remove(0))
    }

    #[test]
    fn short_forms_are_files_and_an_archive() {
        let files = one("out").unwrap();
        assert_eq!(files.kind, "local");
        assert_eq!(files.target, Target::Directory("/here/out".into()));
        assert_eq!(files.attributes, BTreeMap::new());
        let archive = one("-").unwrap();
        assert_eq!(
            (archive.kind.as_str(), archive.target),
            ("tar", Target::Stdout)
        );
    }

    #[test]
    fn attributes_reach_the_exporter_and_the_destination_does_not() {
        let output = one(r#"type=oci,dest=a.tar,"name=a,b",compression=zstd"#).unwrap();
        assert_eq!(output.target, Target::File("/here/a.tar".into()));
        let expected = [("name", "a,b"), ("compression", "zstd")];
        assert_eq!(
            output.attributes,
            expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
        );
    }

    #[test]
    fn docker_without_a_file_is_loaded_and_registry_is_a_pushed_image() {
        assert_eq!(one("type=docker").unwrap().target, Target::DockerLoad);
        let pushed = one("type=registry").unwrap();
        assert_eq!(pushed.kind, "image");
        assert_eq!(pushed.attributes["push"], "true");
    }

    #[test]
    fn cacheonly_asks_for_no_exporter() {
        let output = one("type=cacheonly").unwrap();
        assert!(!output.is_exported() && output.target == Target::None);
        assert!(one("type=image").unwrap().is_exported());
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for text in [
            "type=cacheonly,dest=x",
            "type=local",
            "type=local,dest=-",
            "type=image,dest=x",
            "type=nothing",
            "dest=x",
            "type=tar,dest",
            "type=oci,dest=/",
            "",
        ] {
            assert!(one(text).is_err(), "{text}");
        }
        let terminal = OutputContext {
            folder: None,
            stdout_is_terminal: true,
        };
        assert!(parse(&["type=tar".into()], terminal).is_err());
        let twice = ["-".to_owned(), "type=oci".to_owned()];
        assert!(parse(&twice, OutputContext::default()).is_err());
    }
}
