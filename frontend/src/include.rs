//! `INCLUDE path`, an extension: the text of another file beside the Dockerfile takes the instruction's place.
//!
//! What comes out is one text, marked where a file begins and ends, and everything after works on that: lines in errors,
//! warnings and answers are the text's own, and so are the excerpts that show them.

use cooper_proto::pb;

use crate::convert::{File, Questions, Stop};
use crate::diagnostic::{Fault, Lines};
use crate::dockerfile::parse;
use crate::dockerfile::tree::{Node, Tree};
use crate::golang::path::{dir, is_absolute, join};
use crate::instruction::Extensions;

/// Files within files within files: deeper is a mistake.
const DEPTH: usize = 10;

/// A Dockerfile with all it includes is read up to this size.
const BYTES: usize = 8 << 20;

/// A Dockerfile with the files that it includes in their places.
///
/// `beside` makes the definition that brings a file in, by its path from the Dockerfile's folder.
///
/// # Errors
/// A file that is not there or includes itself, too many of them, or a path that leaves the folder.
pub(crate) fn expand(
    file: File,
    beside: impl Fn(&str) -> pb::Definition,
    questions: &mut Questions<'_>,
) -> Result<File, Stop> {
    // Most files have none: they are not read twice.
    if !contains_keyword(&file.data) {
        return Ok(file);
    }
    let tree = parse(&file.data);
    if !tree.faults.is_empty() || !Extensions::of(&tree.directives)?.on {
        return Ok(file);
    }
    let mut including = Including {
        beside: &beside,
        questions,
        open: vec![file.name.clone()],
        bytes: file.data.len(),
    };
    let text = String::from_utf8_lossy(&file.data).into_owned();
    match including.expanded(&text, &tree)? {
        None => Ok(file),
        Some(text) => Ok(File {
            name: format!("{} with what it includes", file.name),
            data: text.into_bytes(),
            ..file
        }),
    }
}

fn contains_keyword(text: &[u8]) -> bool {
    text.windows(7)
        .any(|word| word.eq_ignore_ascii_case(b"include"))
}

struct Including<'a, 'q, F> {
    beside: &'a F,
    questions: &'a mut Questions<'q>,
    /// The files that are being read, the outermost first.
    open: Vec<String>,
    /// What was read so far.
    bytes: usize,
}

impl<F: Fn(&str) -> pb::Definition> Including<'_, '_, F> {
    /// The text with what it includes; `None` where it includes nothing.
    fn expanded(&mut self, text: &str, tree: &Tree) -> Result<Option<String>, Stop> {
        let mut lines = text.split_inclusive('\n');
        let mut done = 0;
        let mut out = String::new();
        for node in tree.nodes.iter().filter(|node| is_include(node)) {
            let before = usize::try_from(node.lines.start).unwrap_or(usize::MAX) - 1;
            out.extend(lines.by_ref().take(before - done));
            let after = usize::try_from(node.lines.end).unwrap_or(usize::MAX);
            lines.by_ref().take(after - before).for_each(drop);
            done = after;
            let included = self.included(node).map_err(|stop| stop.at(node.lines))?;
            out.push_str(&included);
        }
        if done == 0 {
            return Ok(None);
        }
        out.extend(lines);
        Ok(Some(out))
    }

    /// The text of the file that an instruction names, between marks.
    fn included(&mut self, node: &Node) -> Result<String, Stop> {
        let path = self.path(node)?;
        if self.open.contains(&path) {
            let way = self.open.join(" -> ");
            return Err(Fault::new(format!("{path} includes itself: {way} -> {path}")).into());
        }
        if self.open.len() > DEPTH {
            let message = format!(
                "files are included more than {DEPTH} deep: {}",
                self.open.join(" -> ")
            );
            return Err(Fault::new(message).into());
        }
        let definition = (self.beside)(&path);
        let Some(content) = self.questions.file(&definition, &path, None)? else {
            return Err(Fault {
                kind: cooper_core::model::FailureKind::NotFound,
                ..Fault::new(format!(
                    "INCLUDE {path}: no such file beside the Dockerfile"
                ))
            }
            .into());
        };
        self.bytes += content.len();
        if self.bytes > BYTES {
            return Err(Fault::new(format!("what is included is more than {BYTES} bytes")).into());
        }
        let text = String::from_utf8_lossy(&content).into_owned();
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let tree = parse(text.as_bytes());
        if let Some(fault) = tree.faults.first() {
            let line = fault.lines.first().map_or(0, |lines| lines.start);
            return Err(Fault::new(format!("{path}:{line}: {}", fault.message)).into());
        }
        self.open.push(path.clone());
        let deeper = self.expanded(text, &tree);
        self.open.pop();
        // Lines of the outer text are added by the caller; those of this file are in the words.
        let deeper = deeper.map_err(|stop| placed(stop, &path))?;
        let text = deeper.as_deref().unwrap_or(text);
        // A bare mark after a comment keeps it from describing the instruction that follows.
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        Ok(format!(
            "# INCLUDE {path}\n#\n{text}{newline}# end of {path}\n#\n"
        ))
    }

    /// The path from the Dockerfile's folder: an instruction names it from the folder of its own file.
    fn path(&self, node: &Node) -> Result<String, Fault> {
        let mut words = node.text.split_whitespace().skip(1);
        let (Some(path), None) = (words.next(), words.next()) else {
            return Err(Fault::new("INCLUDE requires exactly one argument"));
        };
        if path.contains('$') {
            return Err(Fault::new(format!(
                "INCLUDE {path}: files are included before variables have values"
            )));
        }
        let folder = self.open.last().map(|file| dir(file)).unwrap_or_default();
        let joined = join(&[&folder, path]);
        if is_absolute(path) || joined == ".." || joined.starts_with("../") {
            return Err(Fault::new(format!(
                "INCLUDE {path}: the file has to be in the Dockerfile's folder or below"
            )));
        }
        Ok(joined)
    }
}

fn is_include(node: &Node) -> bool {
    node.keyword.eq_ignore_ascii_case("include")
}

/// A fault in an included file, with the place in its words and no lines: those would be of another text.
fn placed(stop: Stop, path: &str) -> Stop {
    match stop {
        Stop::Wait => Stop::Wait,
        Stop::Fault(mut fault) => {
            let line = fault.lines.first().map_or(0, |lines: &Lines| lines.start);
            fault.message = format!("{path}:{line}: {}", fault.message);
            fault.lines.clear();
            Stop::Fault(fault)
        }
    }
}
