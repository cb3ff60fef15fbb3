//! One Dockerfile on its way to one platform.

use std::collections::{BTreeSet, HashMap};

use cooper_core::patterns::PatternList;

use super::outline::Noted;
use super::{Node, args, target};
use crate::context::MainContext;
use crate::convert::{Input, Part, Questions, Stop};
use crate::diagnostic::Fault;
use crate::dockerfile::parse;
use crate::environment::Environment;
use crate::epoch;
use crate::expand::{Expander, Variables};
use crate::instruction::{Stage, Stages, stages};
use crate::lint::{self, Linter};
use crate::llb::{Graph, Output, SourceMap, marshal};
use crate::named;
use crate::options::{Options, Texts};
use crate::platform::Platform;
use crate::subrequest::Outline;

/// Looking for the nearest name takes time that grows with their number; so many findings get a suggestion.
const SUGGESTIONS: usize = 100;

/// What a conversion is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Ops and an image.
    Build,
    /// Findings only. Without a target all stages count.
    Lint,
    /// What can be passed to the target.
    Outline,
}

/// What a conversion came to.
#[derive(Debug)]
pub(crate) enum Made {
    /// Ops and an image.
    Part(Box<Part>),
    /// What can be passed to the target.
    Outline(Outline),
    /// Nothing but findings.
    Findings,
}

/// A conversion and all it knows so far.
pub(crate) struct Conversion<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) input: &'a Input,
    pub(crate) options: &'a Options,
    pub(super) context: &'a MainContext,
    pub(super) exclude: &'a [String],
    /// The same, ready to match; `None` if there is nothing that can be said for sure.
    pub(crate) ignored: Option<PatternList>,
    pub(super) source: &'a SourceMap,
    /// Whether the client asked for a platform.
    pub(super) explicit_target: bool,
    pub(crate) target_platform: Platform,
    pub(crate) build_args: Texts,
    pub(crate) expander: Expander,
    pub(crate) globals: Environment,
    /// What all stages start with, if somebody asked what can be passed to them.
    pub(crate) noted: Option<Noted>,
    /// ARGs declared before the first FROM.
    pub(super) declared: BTreeSet<String>,
    pub(crate) epoch: Option<i64>,
    pub(crate) linter: Linter,
    /// How many more findings get a suggestion.
    pub(crate) suggestions: usize,
    pub(crate) graph: Graph,
    /// The build context: a placeholder until all steps are known.
    pub(crate) build_context: Output,
    pub(crate) nodes: Vec<Node>,
    /// How many stages still have to take over what a stage became.
    pub(super) heirs: Vec<usize>,
    pub(super) by_name: HashMap<String, usize>,
    /// Paths of stages that are used.
    pub(crate) paths: Vec<BTreeSet<String>>,
    /// Paths of the build context that are used.
    pub(crate) context_paths: BTreeSet<String>,
}

impl<'a> Conversion<'a> {
    pub(crate) fn new(
        input: &'a Input,
        options: &'a Options,
        context: &'a MainContext,
        exclude: &'a [String],
        source: &'a SourceMap,
        target: Option<&Platform>,
        purpose: Purpose,
    ) -> Self {
        let mut graph = Graph::default();
        let build_context = graph.placeholder();
        Self {
            purpose,
            input,
            options,
            context,
            exclude,
            ignored: PatternList::new(exclude)
                .ok()
                .filter(|list| !list.is_empty() && !list.has_exceptions()),
            source,
            explicit_target: target.is_some(),
            target_platform: target.unwrap_or(&input.host).clone(),
            build_args: options.build_args.clone(),
            expander: Expander::new('\\'),
            globals: Environment::default(),
            noted: None,
            declared: BTreeSet::new(),
            epoch: None,
            linter: Linter::default(),
            suggestions: SUGGESTIONS,
            graph,
            build_context,
            nodes: Vec::new(),
            heirs: Vec::new(),
            by_name: HashMap::new(),
            paths: Vec::new(),
            context_paths: BTreeSet::new(),
        }
    }

    /// Converts. What was found on the way is in `linter`, however it ends.
    pub(crate) fn run(&mut self, questions: &mut Questions<'_>) -> Result<Made, Stop> {
        let text = self.source.data.as_slice();
        if text.is_empty() {
            return Err(Fault::new("the Dockerfile cannot be empty").into());
        }
        let tree = parse(text);
        self.expander = Expander::new(tree.escape);
        self.linter = Linter::new(self.lint_options(&tree.directives)?);
        self.linter.adopt(&tree.warnings);
        let file = stages(&tree, &mut self.linter)?;
        lint_stages(&file, &mut self.linter);
        self.arguments(&file, questions)?;
        self.plan(file.stages)?;
        let target = target::find(self.options, &self.nodes, &self.by_name)?;
        self.link()?;
        let everything = self.purpose == Purpose::Lint && self.options.target.is_empty();
        let reachable = self.settle(target, everything, questions)?;
        self.count_heirs(&reachable);
        for at in 0..self.nodes.len() {
            if reachable.contains(&at) && !self.nodes[at].progress.done {
                self.lower_stage(at)?;
            }
        }
        if let Some(fault) = self.linter.failure() {
            // Findings have their own places where they are the answer.
            let lines = self.linter.warnings()[0].lines;
            return Err(match self.purpose {
                Purpose::Lint => fault,
                Purpose::Build | Purpose::Outline => fault.at(lines),
            }
            .into());
        }
        Ok(match self.purpose {
            Purpose::Build => Made::Part(Box::new(self.finish(target)?)),
            Purpose::Outline => Made::Outline(self.outline(target)),
            Purpose::Lint => Made::Findings,
        })
    }

    fn count_heirs(&mut self, reachable: &BTreeSet<usize>) {
        // What a scanner may be shown stays with its own stage.
        let scanner = usize::from(self.options.sbom.is_some());
        self.heirs = vec![scanner; self.nodes.len()];
        for &at in reachable {
            if let (Some(base), false) = (self.nodes[at].base, self.nodes[at].progress.done) {
                self.heirs[base] += 1;
            }
        }
    }

    pub(crate) fn has_explicit_target(&self) -> bool {
        self.explicit_target
    }

    pub(crate) fn source_map(&self) -> &SourceMap {
        self.source
    }

    /// Adds the build context to the graph, as far as it is used.
    pub(crate) fn add_build_context(&mut self, follow: &[String]) -> Result<Option<Output>, Fault> {
        self.context
            .add(&mut self.graph, self.input, self.exclude, follow)
    }

    /// Options of a build-arg, else of the `check` directive.
    fn lint_options(
        &self,
        directives: &[crate::dockerfile::directive::Directive],
    ) -> Result<lint::Options, Fault> {
        if let Some(options) = &self.options.lint {
            return Ok(options.clone());
        }
        match directives
            .iter()
            .find(|directive| directive.name == "check")
        {
            None => Ok(lint::Options::default()),
            Some(directive) => {
                let text = &directive.value;
                lint::Options::parse(text.split(' ').next().unwrap_or_default()).map_err(|error| {
                    Fault::new(format!("failed to parse check options: {error}"))
                        .at(directive.lines)
                })
            }
        }
    }

    fn arguments(&mut self, file: &Stages, questions: &mut Questions<'_>) -> Result<(), Stop> {
        let stage = match self.options.target.as_str() {
            "" => file.stages.last().map_or("", |stage| stage.name.as_str()),
            target => target,
        };
        self.globals = args::automatic(
            &self.input.host,
            &self.target_platform,
            stage,
            &self.build_args,
        );
        let mut defaults = self.globals.clone();
        if args::declared(&mut defaults, &file.globals, self.expander, &Texts::new()).is_ok() {
            lint_defaults(file, &defaults, self.expander, &mut self.linter);
        }
        let declared = args::declared(
            &mut self.globals,
            &file.globals,
            self.expander,
            &self.build_args,
        )?;
        if self.purpose == Purpose::Outline {
            self.noted = Some(Noted::of(&declared));
        }
        self.declared = declared.into_iter().map(|global| global.name).collect();
        self.resolve_epoch(file, questions)
    }

    /// `SOURCE_DATE_EPOCH` from a build-arg, else from a global ARG.
    fn resolve_epoch(&mut self, file: &Stages, questions: &mut Questions<'_>) -> Result<(), Stop> {
        const NAME: &str = "SOURCE_DATE_EPOCH";
        let from_globals = self.globals.get(NAME).filter(|value| !value.is_empty());
        let Some(given) = self
            .build_args
            .get(NAME)
            .map(String::as_str)
            .or(from_globals)
        else {
            return Ok(());
        };
        self.epoch = match given {
            "" => None,
            "context" => self.context.epoch(self.input, questions)?,
            text => match text.parse() {
                Ok(seconds) => Some(seconds),
                Err(_) => self.named_epoch(text, file, questions)?,
            },
        };
        match self.epoch {
            None => {
                self.build_args.remove(NAME);
                self.globals.remove(NAME);
            }
            Some(seconds) => {
                crate::lower::rfc3339(seconds)?;
                if let Some(value) = self.build_args.get_mut(NAME) {
                    *value = seconds.to_string();
                }
                if self.globals.get(NAME).is_some() {
                    self.globals.set(NAME, seconds.to_string());
                }
            }
        }
        Ok(())
    }

    /// The time of a named context or of a stage that is nothing but a source.
    fn named_epoch(
        &self,
        name: &str,
        file: &Stages,
        questions: &mut Questions<'_>,
    ) -> Result<Option<i64>, Stop> {
        let host = &self.input.host;
        if self.options.all.contains_key(&format!("context:{name}"))
            && let Some(context) = named::find(self.options, name, None, host)?
        {
            let mut graph = Graph::default();
            let loaded = context.load(&mut graph, self.input, self.options, questions)?;
            let definition = marshal(&graph, loaded.state.output, host, None);
            let log_name = format!("[internal] resolve SOURCE_DATE_EPOCH named context {name}");
            return epoch::of_definition(&definition, &log_name, self.input, questions);
        }
        let named = |stage: &&Stage| stage.name.eq_ignore_ascii_case(name);
        let Some(stage) = file.stages.iter().find(named) else {
            return Err(Fault::new(format!("invalid SOURCE_DATE_EPOCH: {name}")).into());
        };
        let mut globals = self.globals.clone();
        globals.remove("SOURCE_DATE_EPOCH");
        let definition =
            epoch::stage_source(stage, &globals, &self.build_args, self.expander, host)?;
        let log_name = format!(
            "[internal] resolve SOURCE_DATE_EPOCH source stage {}",
            stage.name
        );
        epoch::of_definition(&definition, &log_name, self.input, questions)
    }
}

/// Rules about names and keywords of the whole file.
fn lint_stages(file: &Stages, linter: &mut Linter) {
    let mut names = BTreeSet::new();
    for stage in file.stages.iter().filter(|stage| !stage.name.is_empty()) {
        if matches!(stage.name.as_str(), "context" | "scratch") {
            let message = format!(
                "Stage name should not use the same name as reserved stage \"{}\"",
                stage.name
            );
            linter.warn(lint::Rule::ReservedStageName, stage.lines, message);
        }
        if !names.insert(stage.name.as_str()) {
            let message = format!(
                "Duplicate stage name \"{}\", stage names should be unique",
                stage.name
            );
            linter.warn(lint::Rule::DuplicateStageName, stage.lines, message);
        }
    }
    let mut keywords = Vec::new();
    for stage in &file.stages {
        keywords.push((stage.keyword.as_str(), stage.lines));
        keywords.extend(
            stage
                .instructions
                .iter()
                .map(|instruction| (instruction.keyword.as_str(), instruction.lines)),
        );
    }
    let lower = keywords
        .iter()
        .filter(|(word, _)| *word == word.to_lowercase())
        .count();
    let upper = keywords
        .iter()
        .filter(|(word, _)| *word == word.to_uppercase() && *word != word.to_lowercase())
        .count();
    for (word, lines) in keywords {
        let (right, name) = if lower > upper {
            (word.to_lowercase(), "lowercase")
        } else {
            (word.to_uppercase(), "uppercase")
        };
        if word != right {
            let message =
                format!("Command '{word}' should match the case of the command majority ({name})");
            linter.warn(lint::Rule::ConsistentInstructionCasing, lines, message);
        }
    }
}

/// Bases must have a name even if no build-arg is given.
fn lint_defaults(file: &Stages, defaults: &Environment, expander: Expander, linter: &mut Linter) {
    for stage in &file.stages {
        let Ok(name) = expander.expand(&stage.base, defaults) else {
            return;
        };
        if name
            .text
            .parse::<cooper_proto::reference::Reference>()
            .is_err()
        {
            let message = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                stage.base
            );
            linter.warn(lint::Rule::InvalidDefaultArgInFrom, stage.lines, message);
        }
    }
}
