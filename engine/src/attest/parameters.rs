use std::collections::BTreeMap;

use cooper_core::model::redacted;
use serde::Serialize;

use super::git_address;
use super::sources::{DigestSet, Sources};

type Texts = BTreeMap<String, String>;

/// What a request was made of, as provenance tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Parameters {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) frontend: String,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub(super) args: Texts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) secrets: Vec<Access>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ssh: Vec<Access>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) locals: Vec<Local>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) inputs: BTreeMap<String, RequestProvenance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) root: Option<Box<RequestProvenance>>,
    #[serde(
        rename = "compatibilityVersion",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) compatibility_version: Option<u32>,
}

/// A secret or an agent that steps could use. Never what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Access {
    pub(super) id: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) optional: bool,
}

/// A folder of the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Local {
    pub(super) name: String,
}

/// What the build is described by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct ConfigSource {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) uri: String,
    #[serde(skip_serializing_if = "DigestSet::is_empty")]
    pub(super) digest: DigestSet,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) path: String,
}

/// A request and what it was described by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct RequestProvenance {
    #[serde(rename = "configSource")]
    pub(super) config_source: ConfigSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<Box<Parameters>>,
}

/// Options that are about this machine and not about the build.
const OF_MACHINE: [&str; 4] = [
    "cgroup-parent",
    "image-resolve-mode",
    "platform",
    "cache-imports",
];

/// The options of a request that are told, without the passwords of addresses.
pub(super) fn told_options(options: &Texts) -> Texts {
    options
        .iter()
        .filter(|(key, _)| !OF_MACHINE.contains(&key.as_str()) && !key.starts_with("attest:"))
        .map(|(key, value)| (key.clone(), redacted(value).into_owned()))
        .collect()
}

impl RequestProvenance {
    /// What a request says of itself; the address of its main source is pinned where it is among the sources.
    pub(super) fn of(frontend: &str, options: &Texts, sources: &Sources) -> Self {
        let mut args = options.clone();
        let has = |key: &str| args.get(key).is_some_and(|value| !value.is_empty());
        let context = match args.get("contextkey") {
            Some(key) if !key.is_empty() => key.clone(),
            _ if has("input:context") => "input:context".to_owned(),
            _ => "context".to_owned(),
        };
        let mut config_source = ConfigSource::default();
        if let Some(address) = args.get(&context).filter(|it| !it.is_empty()).cloned() {
            (config_source.uri, config_source.digest) = located(&address, sources);
            args.remove(&context);
        }
        if let Some(path) = args.get("filename").filter(|it| !it.is_empty()).cloned() {
            config_source.path = path;
            args.remove("filename");
        }
        Self {
            config_source,
            request: Some(Box::new(Parameters {
                frontend: frontend.to_owned(),
                args,
                ..Parameters::default()
            })),
        }
    }

    /// The same without what the client asked above it, for who uses its result as an input.
    pub(super) fn without_root(mut self) -> Self {
        if let Some(request) = &mut self.request {
            request.root = None;
        }
        self
    }
}

/// An address in its one form with the digest of what it led to, if the build used it.
fn located(address: &str, sources: &Sources) -> (String, DigestSet) {
    let address = redacted(address).into_owned();
    let (whole, repository) = match git_address::in_fragments(&address) {
        Some(git) => (git.whole, git.repository),
        None => (address.clone(), address.clone()),
    };
    if let Some(commit) = sources.commit_of(&repository) {
        return (whole, commit);
    }
    match sources.digest_of(&repository) {
        Some(digest) => (repository, digest),
        None => (address, DigestSet::new()),
    }
}

impl Parameters {
    /// Leaves out arguments, labels and the names of secrets; whether arguments were left out.
    pub(super) fn keep_least(&mut self) -> bool {
        let before = self.args.len();
        self.args
            .retain(|key, _| !key.starts_with("build-arg:") && !key.starts_with("label:"));
        let mut left_out = self.args.len() < before;
        self.secrets.clear();
        self.ssh.clear();
        let inputs = self.inputs.values_mut();
        let others = inputs.chain(self.root.as_deref_mut());
        for other in others.filter_map(|it| it.request.as_mut()) {
            left_out |= other.keep_least();
        }
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> Texts {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    }

    // T-A2
    #[test]
    fn options_are_told_without_passwords_and_without_what_is_of_the_machine() {
        let told = told_options(&texts(&[
            ("attest:sbom", ""),
            ("build-arg:A", "http://u:CANARY@h/x"),
            ("context:foo", "https://u:CANARY@h/x.git"),
            ("platform", "linux/amd64"),
            ("target", "t"),
            ("vcs:source", "https://u:CANARY@h/x"),
        ]));
        assert_eq!(
            told,
            texts(&[
                ("build-arg:A", "http://xxxxx:xxxxx@h/x"),
                ("context:foo", "https://xxxxx:xxxxx@h/x.git"),
                ("target", "t"),
                ("vcs:source", "https://xxxxx:xxxxx@h/x"),
            ])
        );
    }

    #[test]
    fn the_main_source_is_no_argument() {
        let options = texts(&[
            ("context", "https://h/x"),
            ("filename", "D"),
            ("target", "t"),
        ]);
        let told = RequestProvenance::of("dockerfile.v0", &options, &Sources::default());
        assert_eq!(told.config_source.uri, "https://h/x");
        assert_eq!(told.config_source.path, "D");
        assert_eq!(told.request.unwrap().args, texts(&[("target", "t")]));
    }

    #[test]
    fn least_is_told_of_inputs_too() {
        let mut asked = Parameters {
            args: texts(&[("target", "t")]),
            secrets: vec![Access {
                id: "s".into(),
                optional: false,
            }],
            ..Parameters::default()
        };
        assert!(!asked.clone().keep_least());
        let input = RequestProvenance::of("", &texts(&[("label:a", "b")]), &Sources::default());
        asked.inputs.insert("in".into(), input);
        assert!(asked.keep_least());
        assert!(asked.secrets.is_empty());
        let input = asked.inputs["in"].request.as_ref().unwrap();
        assert!(input.args.is_empty());
    }
}
