use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::DirFilter;
use cooper_proto::{Digest, pb};
use serde::Serialize;

use super::number::parse_bool;
use crate::fsync::Differ;

/// A client's directory that a source op wants (parity sheet B3, `local://`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LocalWanted {
    /// The name under which the client offers it.
    pub(super) name: String,
    /// The session that has it, if the op says.
    pub(super) session: Option<String>,
    pub(super) filter: DirFilter,
    /// Tells directories of one name apart.
    pub(super) shared_key_hint: String,
    pub(super) differ: Differ,
    /// Set when no content is sent but of paths that these patterns match.
    pub(super) metadata_but: Option<Vec<String>>,
}

impl LocalWanted {
    /// Reads a source op.
    ///
    /// # Errors
    /// `InvalidInput` for an attribute that cannot be read, `Unsupported` for one that is not built or not known.
    pub(super) fn of_op(op: &pb::Op) -> Result<Self, Failure> {
        let Some(pb::op::Op::Source(source)) = &op.op else {
            return Err(invalid("the op is no source"));
        };
        let name = source.identifier.strip_prefix("local://");
        let mut wanted = Self {
            name: name
                .ok_or_else(|| invalid("the source is not local://"))?
                .to_owned(),
            ..Self::default()
        };
        let mut but = Vec::new();
        for (key, value) in &source.attrs {
            match key.as_str() {
                "local.metadatatransfer" => {
                    let given = parse_bool(value);
                    let given = given
                        .ok_or_else(|| invalid(&format!("invalid value for {key} {value:?}")))?;
                    wanted.metadata_but = given.then(Vec::new);
                }
                "local.metadatatransferexclude" => but = list(key, value)?,
                _ => wanted.read(key, value)?,
            }
        }
        if let Some(patterns) = &mut wanted.metadata_but {
            *patterns = but;
        }
        Ok(wanted)
    }

    fn read(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let list = || list(key, value);
        match key {
            "local.session" => match value.split_once(':') {
                // A directory of another client's session has that one's name before it.
                Some((prefix, session)) => {
                    self.name = format!("{prefix}-{}", self.name);
                    self.session = Some(session.to_owned());
                }
                None => self.session = (!value.is_empty()).then(|| value.to_owned()),
            },
            // Only keeps ops of different builds apart.
            "local.unique" => {}
            "local.includepattern" => self.filter.include_patterns = list()?,
            "local.excludepatterns" => self.filter.exclude_patterns = list()?,
            "local.followpaths" => self.filter.follow_paths = list()?,
            "local.sharedkeyhint" => value.clone_into(&mut self.shared_key_hint),
            "local.differ" => {
                self.differ = match value {
                    "" | "metadata" => Differ::Metadata,
                    "none" => Differ::None,
                    other => return Err(invalid(&format!("local.differ {other:?}"))),
                }
            }
            other => {
                return Err(Failure::unsupported(format!(
                    "the attribute {other:?} of a local source"
                )));
            }
        }
        Ok(())
    }

    /// The text that the cache key is made of; it never matches another session's.
    pub(super) fn key(&self, session: &str) -> String {
        // The fields and their order are BuildKit's; empty lists are null as in Go.
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Key<'a> {
            #[serde(rename = "SessionID")]
            session_id: &'a str,
            include_patterns: Option<&'a Vec<String>>,
            exclude_patterns: Option<&'a Vec<String>>,
            follow_paths: Option<&'a Vec<String>>,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            metadata_transfer: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            metadata_exceptions: Option<&'a Vec<String>>,
        }
        fn list(list: &Vec<String>) -> Option<&Vec<String>> {
            (!list.is_empty()).then_some(list)
        }
        let key = Key {
            session_id: session,
            include_patterns: list(&self.filter.include_patterns),
            exclude_patterns: list(&self.filter.exclude_patterns),
            follow_paths: list(&self.filter.follow_paths),
            metadata_transfer: self.metadata_but.is_some(),
            metadata_exceptions: self.metadata_but.as_ref().and_then(list),
        };
        let text = serde_json::to_vec(&key).expect("texts are always JSON");
        format!("session:{}:{}", self.name, Digest::sha256_of(text))
    }
}

fn list(key: &str, value: &str) -> Result<Vec<String>, Failure> {
    serde_json::from_str::<Option<Vec<String>>>(value)
        .map(Option::unwrap_or_default)
        .map_err(|error| invalid(&format!("{key}: {error}")))
}

fn invalid(what: &str) -> Failure {
    Failure::new(
        FailureKind::InvalidInput,
        format!("invalid local source: {what}"),
    )
}
