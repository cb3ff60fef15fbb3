//! Physical lines to instructions.

use super::directive::{Directive, Reader};
use super::tree::{Heredoc, Node, Tree};
use super::{heredoc, line};
use crate::diagnostic::{Fault, Lines, Warning};
use crate::lint::Rule;

/// A physical line holds at most this many bytes, as in BuildKit.
const LONGEST_LINE: usize = 64 * 1024 - 1;

/// Reads a Dockerfile. See the module for how faults are told.
#[must_use]
pub fn parse(text: &[u8]) -> Tree {
    let mut parser = Parser {
        text: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text),
        line: 0,
        directives: Reader::new("#"),
        comments: Vec::new(),
        tree: Tree {
            nodes: Vec::new(),
            escape: '\\',
            directives: Vec::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
        },
    };
    while parser.instruction() {}
    let Parser { mut tree, line, .. } = parser;
    if tree.nodes.is_empty() && tree.faults.is_empty() {
        tree.faults
            .push(Fault::new("file with no instructions").at(Lines::one(line)));
    }
    tree
}

struct Parser<'a> {
    text: &'a [u8],
    /// The number of the line that was read last.
    line: u32,
    directives: Reader,
    comments: Vec<String>,
    tree: Tree,
}

impl<'a> Parser<'a> {
    /// The next physical line with its line end; `None` at the end or after a line that is too long.
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.text.is_empty() {
            return None;
        }
        let end = self
            .text
            .iter()
            .position(|&b| b == b'\n')
            .map_or(self.text.len(), |at| at + 1);
        let (line, rest) = self.text.split_at(end);
        self.text = rest;
        if line.len() > LONGEST_LINE {
            self.text = &[];
            self.fault(
                format!("dockerfile line greater than max allowed size of {LONGEST_LINE}"),
                Lines::one(self.line + 1),
            );
            return None;
        }
        self.line += 1;
        Some(line)
    }

    fn fault(&mut self, message: impl Into<String>, lines: Lines) {
        self.tree.faults.push(Fault::new(message).at(lines));
    }

    /// Reads one instruction, or one line without any. False at the end of the file.
    fn instruction(&mut self) -> bool {
        let Some(raw) = self.next() else {
            return false;
        };
        let start = self.line;
        let decoded = String::from_utf8_lossy(raw);
        let is_directive = self.directive(decoded.trim_start());
        if decoded.trim_start().starts_with('#') {
            self.comment(&decoded, is_directive);
            return true;
        }
        let (first, mut ended) =
            continued(without_line_end(decoded.trim_start()), self.tree.escape);
        if ended && first.is_empty() {
            return true;
        }
        let mut valid = std::str::from_utf8(raw).is_ok();
        let mut text = first.to_owned();
        let mut blank_inside = false;
        while !ended {
            let Some(raw) = self.next() else {
                break;
            };
            let decoded = String::from_utf8_lossy(raw);
            self.directive(without_line_end(&decoded));
            if decoded.trim_start().starts_with('#') {
                continue;
            }
            valid &= std::str::from_utf8(raw).is_ok();
            let line = without_line_end(&decoded);
            if line.trim_start().is_empty() {
                blank_inside = true;
                continue;
            }
            let (more, last) = continued(line, self.tree.escape);
            text.push_str(more);
            ended = last;
        }
        if blank_inside {
            self.warn_of_blank_line();
        }
        if !valid {
            self.fault(
                "the instruction is not valid UTF-8",
                Lines::new(start, self.line),
            );
        }
        self.finish(&text, start);
        true
    }

    fn warn_of_blank_line(&mut self) {
        self.tree.warnings.push(Warning {
            rule: Rule::NoEmptyContinuation,
            message: "Empty continuation line".to_owned(),
            lines: Lines::one(self.line),
        });
    }

    /// Remembers a comment for the instruction below it; an empty one starts over.
    fn comment(&mut self, line: &str, is_directive: bool) {
        // The first byte is dropped even where blanks stand before the hash, as BuildKit does.
        let mut chars = line.chars();
        chars.next();
        let comment = chars.as_str().trim();
        if comment.is_empty() {
            self.comments.clear();
        } else if !is_directive {
            self.comments.push(comment.to_owned());
        }
    }

    fn directive(&mut self, line: &str) -> bool {
        match self.directives.line(without_line_end(line)) {
            Ok(None) => false,
            Ok(Some(directive)) => {
                self.apply(&directive);
                self.tree.directives.push(directive);
                true
            }
            Err(message) => {
                self.fault(message, Lines::one(self.line));
                false
            }
        }
    }

    fn apply(&mut self, directive: &Directive) {
        if directive.name != "escape" {
            return;
        }
        match directive.value.as_str() {
            "\\" => self.tree.escape = '\\',
            "`" => self.tree.escape = '`',
            other => self.fault(
                format!("invalid escape token '{other}' does not match ` or \\"),
                directive.lines,
            ),
        }
    }

    fn finish(&mut self, text: &str, start: u32) {
        let comments = std::mem::take(&mut self.comments);
        let mut node = match line::read(text, self.tree.escape) {
            Ok(node) => node,
            Err(message) => return self.fault(message, Lines::new(start, self.line)),
        };
        if takes_heredocs(&node) && text.contains("<<") {
            match heredoc::from_line(text) {
                Ok(announced) => node.heredocs = self.bodies(announced, start),
                Err(message) => return self.fault(message, Lines::new(start, self.line)),
            }
        }
        node.comments = comments;
        node.lines = Lines::new(start, self.line);
        self.tree.nodes.push(node);
    }

    /// Reads the body of each heredoc.
    fn bodies(&mut self, mut heredocs: Vec<Heredoc>, start: u32) -> Vec<Heredoc> {
        for heredoc in &mut heredocs {
            let mut closed = false;
            let mut valid = true;
            while let Some(raw) = self.next() {
                let line = String::from_utf8_lossy(raw);
                let ending = line.trim_end_matches(['\r', '\n']);
                let ending = if heredoc.chomps {
                    ending.trim_start_matches('\t')
                } else {
                    ending
                };
                if ending == heredoc.name {
                    closed = true;
                    break;
                }
                valid &= matches!(line, std::borrow::Cow::Borrowed(_));
                heredoc.body.push_str(&line);
            }
            if !closed {
                self.fault("unterminated heredoc", Lines::new(start, self.line));
                break;
            }
            if !valid {
                self.fault(
                    "the heredoc is not valid UTF-8",
                    Lines::new(start, self.line),
                );
            }
        }
        heredocs
    }
}

/// ADD, COPY and RUN in their plain form, and ONBUILD of those.
fn takes_heredocs(node: &Node) -> bool {
    let node = match &node.arguments {
        super::tree::Arguments::Trigger(trigger) => trigger,
        _ => node,
    };
    let keyword = node.keyword.to_lowercase();
    matches!(keyword.as_str(), "add" | "copy" | "run") && !node.arguments.is_json()
}

fn without_line_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// The line without its continuation, and whether the instruction ends with it. An escape that is itself escaped does not
/// continue a line.
fn continued(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, false),
        _ => (line, true),
    }
}
