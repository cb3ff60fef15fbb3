//! Command lines of RUN, CMD and ENTRYPOINT.

use crate::dockerfile::tree::Node;

/// A command line, not given to a shell yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The JSON array, or the plain text as one argument; empty if there is none.
    pub arguments: Vec<String>,
    /// Whether a shell has to run it: it was not a JSON array.
    pub shell: bool,
    /// Heredocs.
    pub files: Vec<InlineFile>,
}

/// A heredoc of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineFile {
    /// The word that ends it.
    pub name: String,
    /// The text as it stands in the Dockerfile.
    pub body: String,
    /// The text with leading tabs dropped, if they are to be dropped.
    pub content: String,
}

impl CommandLine {
    pub(super) fn of(node: &Node) -> Self {
        let json = node.arguments.is_json();
        let list = node.arguments.list();
        Self {
            arguments: if json { list.to_vec() } else { joined(list) },
            shell: !json,
            files: node
                .heredocs
                .iter()
                .map(|heredoc| InlineFile {
                    name: heredoc.name.clone(),
                    body: heredoc.body.clone(),
                    content: heredoc.content(),
                })
                .collect(),
        }
    }
}

/// Plain arguments are one text.
pub(super) fn joined(list: &[String]) -> Vec<String> {
    if list.is_empty() {
        Vec::new()
    } else {
        vec![list.join(" ")]
    }
}
