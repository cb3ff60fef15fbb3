//! Instructions to stages.

use super::build;
use super::extension::Extensions;
use super::flags::{Flags, Takes};
use super::kinds::{Argument, Instruction, Kind};
use crate::diagnostic::{Fault, Lines};
use crate::dockerfile::tree::{Node, Tree};
use crate::golang::quote::quote;
use crate::lint::{Linter, Rule};

/// A FROM and what follows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The name after AS in lower case, or empty.
    pub name: String,
    /// What it is built on, not expanded yet.
    pub base: String,
    /// `--platform`, not expanded yet, or empty.
    pub platform: String,
    /// The instructions after FROM.
    pub instructions: Vec<Instruction>,
    /// FROM as written.
    pub keyword: String,
    /// The whole FROM on one line.
    pub text: String,
    /// Where FROM stands.
    pub lines: Lines,
    /// Comments directly above FROM.
    pub comments: Vec<String>,
}

/// An ARG before the first FROM.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalArgument {
    /// Its names.
    pub arguments: Vec<Argument>,
    /// Comments directly above.
    pub comments: Vec<String>,
    /// Where it stands.
    pub lines: Lines,
}

/// A Dockerfile as stages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stages {
    /// ARGs before the first FROM.
    pub globals: Vec<GlobalArgument>,
    /// Stages in the file's order.
    pub stages: Vec<Stage>,
}

/// Types all instructions.
///
/// # Errors
/// The first fault of the text, else of an instruction, with its lines.
pub fn stages(tree: &Tree, linter: &mut Linter) -> Result<Stages, Fault> {
    if let Some(fault) = tree.faults.first() {
        return Err(fault.clone());
    }
    let extensions = Extensions::of(&tree.directives)?;
    let mut all = Stages::default();
    for node in &tree.nodes {
        linter.enter(&node.comments);
        let outcome = add(&mut all, node, extensions, linter);
        linter.leave();
        outcome?;
    }
    if all.stages.is_empty() {
        return Err(Fault::new("dockerfile contains no stages to build"));
    }
    Ok(all)
}

fn add(
    all: &mut Stages,
    node: &Node,
    extensions: Extensions,
    linter: &mut Linter,
) -> Result<(), Fault> {
    let placed = |fault: Fault| {
        fault
            .within(format_args!(
                "dockerfile parse error on line {}",
                node.lines.start
            ))
            .or_at(node.lines)
    };
    if node.keyword.eq_ignore_ascii_case("from") {
        lint_from(node, linter);
        let stage = from(node).map_err(placed)?;
        lint_description("FROM", &[stage.name.as_str()], node, linter);
        all.stages.push(stage);
        return Ok(());
    }
    if node.keyword.eq_ignore_ascii_case("maintainer") {
        let message = "Maintainer instruction is deprecated in favor of using label";
        linter.warn(Rule::MaintainerDeprecated, node.lines, message);
    }
    let instruction = build(node, extensions).map_err(placed)?;
    if let Kind::Arg(arguments) = &instruction.kind {
        let keys: Vec<&str> = arguments
            .iter()
            .map(|argument| argument.key.as_str())
            .collect();
        lint_description("ARG", &keys, node, linter);
    }
    match (all.stages.last_mut(), instruction.kind) {
        (None, Kind::Arg(arguments)) => all.globals.push(GlobalArgument {
            arguments,
            comments: node.comments.clone(),
            lines: node.lines,
        }),
        (None, _) => return Err(Fault::new("no build stage in current context").at(node.lines)),
        (Some(stage), kind) => stage.instructions.push(Instruction {
            kind,
            ..instruction
        }),
    }
    Ok(())
}

fn from(node: &Node) -> Result<Stage, Fault> {
    let list = node.arguments.list();
    let (base, name) = match list {
        [base] => (base, String::new()),
        [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => (base, stage_name(name)?),
        _ => return Err(Fault::new("FROM requires either one or three arguments")),
    };
    let flags = Flags::read(&node.flags, &[("platform", Takes::Text)])?;
    Ok(Stage {
        name,
        base: base.clone(),
        platform: flags.text("platform"),
        instructions: Vec::new(),
        keyword: node.keyword.clone(),
        text: node.text.trim().to_owned(),
        lines: node.lines,
        comments: node.comments.clone(),
    })
}

fn stage_name(given: &str) -> Result<String, Fault> {
    let name = given.to_lowercase();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    if valid {
        return Ok(name);
    }
    Err(Fault::new(format!(
        "invalid name for build stage: {}, name can't start with a number or contain symbols",
        quote(given)
    )))
}

/// What comments above a stage or an argument say about it: what follows its name; empty if nothing does.
#[must_use]
pub fn description<'a>(comments: &'a [String], name: &str) -> &'a str {
    let described = |comment: &'a String| comment.strip_prefix(name)?.strip_prefix(' ');
    if name.is_empty() {
        return "";
    }
    comments.iter().find_map(described).unwrap_or_default()
}

fn lint_from(node: &Node, linter: &mut Linter) {
    let [_, keyword, name] = node.arguments.list() else {
        return;
    };
    if *name != name.to_lowercase() {
        let message = format!("Stage name '{name}' should be lowercase");
        linter.warn(Rule::StageNameCasing, node.lines, message);
    }
    let from = &node.keyword;
    let matches = if *from == from.to_lowercase() {
        *keyword == keyword.to_lowercase()
    } else if *from == from.to_uppercase() {
        *keyword == keyword.to_uppercase()
    } else {
        true
    };
    if !matches {
        let message = format!("'{keyword}' and '{from}' keywords' casing do not match");
        linter.warn(Rule::FromAsCasing, node.lines, message);
    }
}

fn lint_description(keyword: &str, names: &[&str], node: &Node, linter: &mut Linter) {
    let (Some(comment), Some(first)) = (node.comments.last(), names.first()) else {
        return;
    };
    let described = comment.split(' ').next().unwrap_or_default();
    if first.is_empty() || names.contains(&described) {
        return;
    }
    let example = if names.len() > 1 { "<arg_key>" } else { first };
    let message =
        format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    linter.warn(Rule::InvalidDefinitionDescription, node.lines, message);
}
