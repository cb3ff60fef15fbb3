use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::DirFilter;
use cooper_proto::{Digest, pb};
use serde::Serialize;

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
        for (key, value) in &source.attrs {
            wanted.read(key, value)?;
        }
        Ok(wanted)
    }

    fn read(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let list = || {
            serde_json::from_str::<Option<Vec<String>>>(value)
                .map(Option::unwrap_or_default)
                .map_err(|error| invalid(&format!("{key}: {error}")))
        };
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
            "local.metadatatransfer"
                if matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False") => {}
            "local.metadatatransfer" | "local.metadatatransferexclude" => {
                return Err(Failure::unsupported(
                    "sending a directory's metadata without its content (local.metadatatransfer)",
                ));
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
        }
        fn list(list: &Vec<String>) -> Option<&Vec<String>> {
            (!list.is_empty()).then_some(list)
        }
        let key = Key {
            session_id: session,
            include_patterns: list(&self.filter.include_patterns),
            exclude_patterns: list(&self.filter.exclude_patterns),
            follow_paths: list(&self.filter.follow_paths),
        };
        let text = serde_json::to_vec(&key).expect("texts are always JSON");
        format!("session:{}:{}", self.name, Digest::sha256_of(text))
    }
}

fn invalid(what: &str) -> Failure {
    Failure::new(
        FailureKind::InvalidInput,
        format!("invalid local source: {what}"),
    )
}
