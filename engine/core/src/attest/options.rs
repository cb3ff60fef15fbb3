use std::collections::BTreeMap;

use cooper_proto::reference::Reference;

use crate::csv;
use crate::model::{Failure, FailureKind};

type Texts = BTreeMap<String, String>;

/// The program that is asked when nobody names another.
const DEFAULT_GENERATOR: &str = "docker/buildkit-syft-scanner:stable-1";

/// The statements that a client wants (parity sheet C4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Where the result came from.
    pub provenance: Option<ProvenanceOptions>,
    /// What is in it.
    pub sbom: Option<ScanOptions>,
}

/// How provenance is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenanceOptions {
    /// The form of the predicate.
    pub version: SlsaVersion,
    /// How much is told.
    pub detail: Detail,
    /// Who built it, as an address; empty when nobody says.
    pub builder_id: String,
    /// Whether the client claims that another build makes the same.
    pub reproducible: bool,
    /// Whether it goes only where there is an index of images anyway.
    pub inline_only: bool,
    /// Whether a build with materials that cannot be pinned is to fail.
    pub complete_materials: bool,
    /// The file's name where files are exported.
    pub filename: String,
}

/// A form of the predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlsaVersion {
    /// `https://slsa.dev/provenance/v1`
    #[default]
    V1,
    /// `https://slsa.dev/provenance/v0.2`
    V02,
}

/// How much provenance tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    /// Materials, and the request without arguments, labels and names of secrets.
    Min,
    /// The whole request, its source, the steps and their layers too.
    #[default]
    Max,
}

/// How a result is to be scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOptions {
    /// The image of the program that scans, by its full name.
    pub generator: String,
    /// What the program is told.
    pub parameters: Texts,
}

impl SlsaVersion {
    /// The predicate's type.
    #[must_use]
    pub fn predicate_type(self) -> &'static str {
        match self {
            Self::V1 => "https://slsa.dev/provenance/v1",
            Self::V02 => "https://slsa.dev/provenance/v0.2",
        }
    }
}

impl Default for ProvenanceOptions {
    fn default() -> Self {
        Self {
            version: SlsaVersion::default(),
            detail: Detail::default(),
            builder_id: String::new(),
            reproducible: false,
            inline_only: false,
            complete_materials: false,
            filename: "provenance.json".to_owned(),
        }
    }
}

impl Wanted {
    /// Reads options of a frontend: `attest:sbom`, `attest:provenance`, or the build arguments that stand for them.
    ///
    /// # Errors
    /// `InvalidInput` for a kind of statement or a value that does not exist, `Unsupported` for what is not built.
    pub fn read(options: &Texts) -> Result<Self, Failure> {
        let mut wanted = Self::default();
        // The argument first, so that the option of the same kind takes its place.
        for prefix in ["build-arg:BUILDKIT_ATTEST_", "attest:"] {
            for (key, value) in options {
                let Some(kind) = key.strip_prefix(prefix) else {
                    continue;
                };
                match kind.to_lowercase().as_str() {
                    "provenance" => wanted.provenance = Some(provenance(value)?),
                    "sbom" => wanted.sbom = Some(scan(value)?),
                    other => return Err(invalid(format!("unknown attestation type {other:?}"))),
                }
            }
        }
        Ok(wanted)
    }
}

fn provenance(text: &str) -> Result<ProvenanceOptions, Failure> {
    let mut read = ProvenanceOptions::default();
    for (key, value) in pairs("provenance", text)? {
        match key.as_str() {
            "version" => {
                read.version = match value.as_str() {
                    "v1" => SlsaVersion::V1,
                    "v0.2" => SlsaVersion::V02,
                    "" => return Err(invalid("provenance SLSA version cannot be empty".into())),
                    other => {
                        return Err(invalid(format!("invalid provenance SLSA version: {other}")));
                    }
                }
            }
            "mode" => {
                read.detail = match value.as_str() {
                    "min" => Detail::Min,
                    "max" | "full" => Detail::Max,
                    other => return Err(invalid(format!("invalid mode {other:?}"))),
                }
            }
            "builder-id" => read.builder_id = value,
            "reproducible" | "complete-materials" => {
                let set = flag(&value)
                    .ok_or_else(|| invalid(format!("failed to parse {key} flag {value:?}")))?;
                match key.as_str() {
                    "reproducible" => read.reproducible = set,
                    _ => read.complete_materials = set,
                }
            }
            "inline-only" => read.inline_only = flag(&value) == Some(true),
            "filename" => read.filename = value,
            "capture-usage" if flag(&value) == Some(true) => {
                return Err(Failure::unsupported(
                    "provenance with the resources that steps used (capture-usage)",
                ));
            }
            // What else there is, BuildKit passes over too.
            _ => {}
        }
    }
    Ok(read)
}

fn scan(text: &str) -> Result<ScanOptions, Failure> {
    let mut parameters = pairs("sbom", text)?;
    let generator = parameters.remove("generator");
    let generator = generator.as_deref().unwrap_or(DEFAULT_GENERATOR);
    if generator.is_empty() {
        return Err(invalid("sbom generator cannot be empty".into()));
    }
    let reference: Reference = generator.parse().map_err(|error| {
        invalid(format!(
            "failed to parse sbom generator {generator}: {error}"
        ))
    })?;
    Ok(ScanOptions {
        generator: reference.with_default_tag().to_string(),
        parameters,
    })
}

fn pairs(what: &str, text: &str) -> Result<Texts, Failure> {
    if text.is_empty() {
        return Ok(Texts::new());
    }
    let fields = csv::fields(text);
    let fields = fields.map_err(|error| invalid(format!("failed to parse {what}: {error}")))?;
    let pair = |field: &String| {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        (key.to_owned(), value.to_owned())
    };
    Ok(fields.iter().map(pair).collect())
}

/// What Go's `strconv.ParseBool` reads.
fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn invalid(what: String) -> Failure {
    Failure::new(FailureKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Wanted, Failure> {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Wanted::read(&pairs.iter().map(pair).collect())
    }

    #[test]
    fn nothing_is_told_that_nobody_asked_for() {
        assert_eq!(read(&[("target", "x")]).unwrap(), Wanted::default());
    }

    #[test]
    fn provenance_is_of_the_newest_form_and_whole_unless_said_otherwise() {
        let provenance = |value| read(&[("attest:provenance", value)]).unwrap().provenance;
        assert_eq!(provenance(""), Some(ProvenanceOptions::default()));
        let told = provenance("mode=min,version=v0.2,builder-id=https://b,reproducible=1").unwrap();
        assert_eq!((told.detail, told.version), (Detail::Min, SlsaVersion::V02));
        assert_eq!(told.builder_id, "https://b");
        assert!(told.reproducible && !told.inline_only);
        assert_eq!(provenance("mode=full").unwrap().detail, Detail::Max);
    }

    #[test]
    fn a_scanner_is_named_in_full_and_told_the_rest() {
        let scan = |value| read(&[("attest:sbom", value)]).unwrap().sbom.unwrap();
        let default = scan("");
        assert_eq!(
            default.generator,
            "docker.io/docker/buildkit-syft-scanner:stable-1"
        );
        assert!(default.parameters.is_empty());
        let told = scan(r#""generator=a/b","ARG1=foo","ARG2=hello,world""#);
        assert_eq!(told.generator, "docker.io/a/b:latest");
        assert_eq!(told.parameters["ARG2"], "hello,world");
    }

    #[test]
    fn an_argument_of_the_build_asks_too() {
        let wanted = read(&[("build-arg:BUILDKIT_ATTEST_PROVENANCE", "mode=min")]).unwrap();
        assert_eq!(wanted.provenance.unwrap().detail, Detail::Min);
    }

    #[test]
    fn what_does_not_exist_is_named() {
        for (key, value, words) in [
            ("attest:foo", "", "unknown attestation type \"foo\""),
            ("attest:provenance", "version=v9", "v9"),
            ("attest:provenance", "mode=some", "invalid mode \"some\""),
            ("attest:provenance", "reproducible=maybe", "reproducible"),
            ("attest:provenance", "capture-usage=true", "capture-usage"),
            ("attest:sbom", "generator=", "cannot be empty"),
            ("attest:sbom", "generator=A B", "A B"),
            ("attest:sbom", "\"generator", "failed to parse sbom"),
        ] {
            let failure = read(&[(key, value)]).unwrap_err();
            assert!(failure.message.contains(words), "{failure}");
        }
    }
}
