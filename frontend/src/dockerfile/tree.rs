//! The tree: a list of instructions, since only ONBUILD nests.

use super::directive::Directive;
use crate::diagnostic::{Fault, Lines, Warning};

/// A Dockerfile that was read.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Instructions in the file's order.
    pub nodes: Vec<Node>,
    /// The character that escapes and continues lines.
    pub escape: char,
    /// The directives at the top.
    pub directives: Vec<Directive>,
    /// What is wrong, in the file's order. With a fault the tree is what could be read around it.
    pub faults: Vec<Fault>,
    /// What is legal but better avoided.
    pub warnings: Vec<Warning>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The keyword as written.
    pub keyword: String,
    /// Words that start with `--`, quotes removed.
    pub flags: Vec<String>,
    /// What follows.
    pub arguments: Arguments,
    /// The heredocs that the line announces, with their bodies.
    pub heredocs: Vec<Heredoc>,
    /// The whole instruction on one line: continuations joined, comments dropped.
    pub text: String,
    /// Lines in the file, heredocs included.
    pub lines: Lines,
    /// Comment lines directly above.
    pub comments: Vec<String>,
}

/// The arguments, split as the instruction wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Nothing, or an instruction that does not exist.
    None,
    /// Words, or one text.
    Words(Vec<String>),
    /// A JSON array of strings, or HEALTHCHECK's type with one after it.
    Json(Vec<String>),
    /// `key=value` pairs.
    Pairs(Vec<Pair>),
    /// ONBUILD's instruction.
    Trigger(Box<Node>),
}

/// A pair of ENV or LABEL, quotes not removed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub key: String,
    /// The value.
    pub value: String,
    /// Whether it was written without `=`: the legacy `KEY value` form.
    pub legacy: bool,
}

/// A heredoc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it.
    pub name: String,
    /// The file descriptor before `<<`; 0 if none was written.
    pub descriptor: u64,
    /// Whether variables in the body are expanded: no part of the word was quoted.
    pub expands: bool,
    /// Whether it was `<<-`: leading tabs are dropped.
    pub chomps: bool,
    /// The lines between, as they are.
    pub body: String,
}

impl Arguments {
    /// Words and JSON arrays as a plain list; nothing for the other forms.
    #[must_use]
    pub fn list(&self) -> &[String] {
        match self {
            Self::Words(list) | Self::Json(list) => list,
            Self::None | Self::Pairs(_) | Self::Trigger(_) => &[],
        }
    }

    /// Whether they were a JSON array.
    #[must_use]
    pub fn is_json(&self) -> bool {
        matches!(self, Self::Json(_))
    }
}

impl Heredoc {
    /// The body with leading tabs dropped, if they are to be dropped.
    #[must_use]
    pub fn content(&self) -> String {
        if !self.chomps {
            return self.body.clone();
        }
        self.body
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }
}
