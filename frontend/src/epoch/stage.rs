use cooper_proto::pb;

use crate::context::git_source;
use crate::diagnostic::Fault;
use crate::environment::Environment;
use crate::expand::Expander;
use crate::instruction::{Add, Argument, Kind, Stage};
use crate::llb::{Graph, Notes, Output, git, http, marshal};
use crate::lower::file_name;
use crate::options::Texts;
use crate::platform::Platform;
use crate::source::{GitRef, is_http};

/// The source of a stage that stands for a time: `FROM scratch`, ARGs and one ADD from elsewhere.
///
/// # Errors
/// For every other stage, with its place.
pub(crate) fn stage_source(
    stage: &Stage,
    globals: &Environment,
    build_args: &Texts,
    expander: Expander,
    host: &Platform,
) -> Result<pb::Definition, Fault> {
    let mut graph = Graph::default();
    let found = Search {
        environment: globals.clone(),
        build_args,
        expander,
    }
    .source(stage, &mut graph);
    let output = found.map_err(|fault| fault.at(stage.lines))?;
    Ok(marshal(&graph, Some(output), host, None))
}

struct Search<'a> {
    environment: Environment,
    build_args: &'a Texts,
    expander: Expander,
}

impl Search<'_> {
    fn source(mut self, stage: &Stage, graph: &mut Graph) -> Result<Output, Fault> {
        if self.expanded(&stage.base)? != "scratch" {
            return Err(Fault::new("SOURCE_DATE_EPOCH stage must use FROM scratch"));
        }
        const ONE: &str = "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD";
        let mut found = None;
        for instruction in &stage.instructions {
            match &instruction.kind {
                Kind::Arg(arguments) => self.arguments(arguments)?,
                Kind::Add(_) if found.is_some() => return Err(Fault::new(ONE)),
                Kind::Add(add) => found = Some(self.add(add, graph)?),
                _ => {
                    return Err(Fault::new(format!(
                        "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported {} instruction",
                        instruction.keyword.to_lowercase()
                    )));
                }
            }
        }
        found.ok_or_else(|| Fault::new(ONE))
    }

    fn arguments(&mut self, arguments: &[Argument]) -> Result<(), Fault> {
        for argument in arguments {
            let value = match (self.build_args.get(&argument.key), &argument.value) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => self.expanded(default)?,
                (None, None) => continue,
            };
            self.environment.set(argument.key.as_str(), value);
        }
        Ok(())
    }

    fn add(&self, add: &Add, graph: &mut Graph) -> Result<Output, Fault> {
        let ([source], []) = (add.paths.sources.as_slice(), add.paths.inline.as_slice()) else {
            return Err(Fault::new(
                "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD source",
            ));
        };
        let source = self.expanded(source)?;
        let checksum = self.expanded(&add.checksum)?;
        if is_http(&source) {
            let name = file_name(&source);
            return Ok(http(graph, &source, &name, &checksum, Notes::default()));
        }
        match GitRef::parse(&source) {
            Some(Err(error)) => Err(Fault::new(error)),
            Some(Ok(mut found)) if !found.like_a_path => {
                if add.keep_git_dir == Some(true) {
                    found.keep_git_dir = Some(true);
                }
                if !checksum.is_empty() {
                    found.checksum = checksum;
                }
                Ok(git(graph, &git_source(found), Notes::default()))
            }
            _ => Err(Fault::new(
                "SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD",
            )),
        }
    }

    fn expanded(&self, word: &str) -> Result<String, Fault> {
        let expanded = self.expander.expand(word, &self.environment);
        Ok(expanded.map_err(Fault::new)?.text)
    }
}
