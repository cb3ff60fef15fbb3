//! The answer to a question.

use std::collections::BTreeMap;

use super::Request;
use crate::convert::File;
use crate::diagnostic::Warning;
use crate::golang::indent::indented;

/// An answer, as a result's metadata.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Names and values.
    pub metadata: BTreeMap<String, String>,
    /// Findings on the way, which the client is told as in a build.
    pub warnings: Vec<Warning>,
    /// The Dockerfile.
    pub file: File,
}

/// The metadata of an answer in JSON (written here without blanks) and, for most questions, in text.
pub(super) fn metadata(
    request: Request,
    compact: &str,
    text: Option<String>,
) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::from([
        ("result.json".to_owned(), indented(compact)),
        ("version".to_owned(), request.version().to_owned()),
    ]);
    if let Some(text) = text {
        metadata.insert("result.txt".to_owned(), text);
    }
    metadata
}
