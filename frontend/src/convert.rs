//! The pure seam: text and facts to definitions and image configs, or to questions.

use std::collections::BTreeMap;

use cooper_core::attest::Scanner;
use cooper_core::ports::{ImageAnswer, ImageQuery, SourceMeta, SourceQuery};
use cooper_proto::pb;

use crate::context::{self, MainContext};
use crate::diagnostic::{Fault, Warning};
use crate::dockerfile::{directive, parse};
use crate::facts::{Fact, Facts, Need};
use crate::image::Image;
use crate::include;
use crate::instruction::stages;
use crate::lint::Linter;
use crate::llb::SourceMap;
use crate::lower::Shown;
use crate::options::{Options, Texts};
use crate::platform::{self, Platform};
use crate::stage::{Conversion, Made, Purpose};
use crate::subrequest::{self, Answer, LintResult, Request};

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Frontend options.
    pub options: Texts,
    /// Definitions that the client offers by name.
    pub inputs: BTreeMap<String, pb::Definition>,
    /// The client's session.
    pub session: String,
    /// The platform that the first worker runs.
    pub host: Platform,
}

/// How far a conversion came.
#[derive(Clone, Debug)]
pub enum Step {
    /// These must be answered first.
    Need(Vec<Need>),
    /// It is over.
    Done(Box<Outcome>),
    /// It was no build that was asked for.
    Answered(Box<Answer>),
    /// The Dockerfile is for another frontend.
    Forward(Box<Forward>),
    /// It cannot be done.
    Failed(Box<Failed>),
}

/// What a Dockerfile became.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// One part a platform.
    pub parts: Vec<Part>,
    /// Whether the result is a map by platform even if there is one part only.
    pub multi_platform: bool,
    /// Findings, those of the first platform.
    pub warnings: Vec<Warning>,
    /// The Dockerfile.
    pub file: File,
}

/// One platform's result.
#[derive(Clone, Debug)]
pub struct Part {
    /// The platform asked for, or the host's.
    pub platform: Platform,
    /// What makes the file system; no ops for the empty one.
    pub definition: pb::Definition,
    /// The configuration.
    pub image: Image,
    /// The configuration of the base image, as it was found.
    pub base_image: Option<Image>,
    /// The time that takes the place of "now".
    ///
    /// # Units
    /// Seconds since 1970.
    pub epoch: Option<i64>,
    /// What a scanner is shown beside the file system, when one is asked for.
    pub(crate) shown: Option<Shown>,
    /// What makes the statements of what is in the file system, when they are asked for.
    pub scan: Option<pb::Definition>,
}

/// A Dockerfile for a frontend that is an image.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The image.
    pub image: String,
    /// What was said about it: its reference and what follows.
    pub command_line: String,
    /// Where in the Dockerfile it is asked for; `None` where a build argument does.
    pub lines: Option<crate::diagnostic::Lines>,
    /// The Dockerfile.
    pub file: File,
}

/// Why a conversion failed, with the text that its lines refer to.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What is wrong.
    pub fault: Fault,
    /// What was found before.
    pub warnings: Vec<Warning>,
    /// The Dockerfile, if it could be read.
    pub file: Option<File>,
}

/// A Dockerfile and how it came in.
#[derive(Clone, Debug)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub data: Vec<u8>,
    /// The definition that brought it in.
    pub definition: pb::Definition,
    /// Whether it came from a folder of the client's, of which only what is asked for is sent.
    pub is_local: bool,
}

/// Why a conversion stops before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A question is open.
    Wait,
    /// It cannot be done.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Stop {
    /// Adds a place to a fault.
    pub(crate) fn at(self, lines: crate::diagnostic::Lines) -> Self {
        match self {
            Self::Wait => Self::Wait,
            Self::Fault(fault) => Self::Fault(fault.at(lines)),
        }
    }
}

/// Facts, and the questions that they leave open.
pub(crate) struct Questions<'a> {
    facts: &'a Facts,
    open: Vec<Need>,
}

impl Questions<'_> {
    /// The answer; an open question is noted.
    pub(crate) fn ask(&mut self, need: Need) -> Result<Fact, Stop> {
        if let Some(fact) = self.facts.get(&need) {
            return Ok(fact.clone());
        }
        let key = need.key();
        if self.open.iter().all(|known| known.key() != key) {
            self.open.push(need);
        }
        Err(Stop::Wait)
    }

    /// What a file by URL or a repository's reference is.
    pub(crate) fn source(&mut self, query: SourceQuery) -> Result<SourceMeta, Stop> {
        let name = query.source.identifier.clone();
        match self.ask(Need::Source(query))? {
            Fact::Source(meta) => Ok(meta),
            Fact::File(_) | Fact::Image(_) => {
                Err(Fault::new(format!("the answer about {name} is none")).into())
            }
        }
    }

    /// A file's content, `None` if there is no such file.
    pub(crate) fn file(
        &mut self,
        definition: &pb::Definition,
        path: &str,
        limit: Option<u64>,
    ) -> Result<Option<Vec<u8>>, Stop> {
        self.file_if(definition, path, limit, false)
    }

    /// The same of a folder that need not be there.
    pub(crate) fn file_of_folder(
        &mut self,
        definition: &pb::Definition,
        path: &str,
    ) -> Result<Option<Vec<u8>>, Stop> {
        self.file_if(definition, path, None, true)
    }

    fn file_if(
        &mut self,
        definition: &pb::Definition,
        path: &str,
        limit: Option<u64>,
        lenient: bool,
    ) -> Result<Option<Vec<u8>>, Stop> {
        let need = Need::File {
            definition: definition.clone(),
            path: path.to_owned(),
            limit,
            lenient,
        };
        match self.ask(need)? {
            Fact::File(content) => Ok(content.map(|bytes| bytes.to_vec())),
            Fact::Image(_) | Fact::Source(_) => {
                Err(Fault::new(format!("the answer about {path} is no file")).into())
            }
        }
    }
}

/// Converts as far as the facts go. Equal arguments give equal answers, byte for byte.
#[must_use]
pub fn convert(input: &Input, facts: &Facts) -> Step {
    let mut questions = Questions {
        facts,
        open: Vec::new(),
    };
    let mut seen = Seen::default();
    match attempt(input, &mut questions, &mut seen) {
        Ok(step) => step,
        Err(Stop::Wait) => Step::Need(questions.open),
        Err(Stop::Fault(fault)) => Step::Failed(Box::new(Failed {
            fault,
            warnings: seen.warnings,
            file: seen.file,
        })),
    }
}

/// What is told even if the conversion fails.
#[derive(Default)]
struct Seen {
    file: Option<File>,
    warnings: Vec<Warning>,
}

fn attempt(input: &Input, questions: &mut Questions<'_>, seen: &mut Seen) -> Result<Step, Stop> {
    let options = Options::read(&input.options, &input.host)?;
    let given = ["context", "dockerfile"].map(|name| input.inputs.get(name));
    if given
        .into_iter()
        .flatten()
        .any(|definition| definition.def.is_empty())
    {
        return Err(Fault::new("invalid nil input definition to definition op").into());
    }
    let context = MainContext::find(input, &options, questions)?;
    let (file, ignore) = context::dockerfile(input, &options, &context, questions)?;
    seen.file = Some(file.clone());
    if let Some(forward) = other_frontend(&options, &file) {
        return Ok(Step::Forward(Box::new(forward)));
    }
    let beside = |path: &str| context::beside(input, &options, &file, path);
    let file = include::expand(file.clone(), beside, questions)?;
    seen.file = Some(file.clone());
    let request = Request::of(&options)?;
    if let Some(metadata) = answer_from_text(request, &file.data)? {
        return Ok(answered(metadata, Vec::new(), file));
    }
    let exclude = match ignore {
        Some(exclude) => exclude,
        None => context.ignore_file(input, questions)?,
    };
    let work = Work {
        input,
        options: &options,
        context: &context,
        exclude: &exclude,
        source: &SourceMap {
            filename: file.name.clone(),
            data: file.data.clone(),
            definition: Some(file.definition.clone()),
        },
    };
    match request {
        Some(request) => work.answer(request, file, questions, seen),
        None => work.build(file, questions, seen),
    }
}

fn scan(scanner: &Scanner, part: &Part) -> Result<pb::Definition, Fault> {
    let name = platform::full(&platform::normalize(&part.platform));
    let shown = part.shown.clone().unwrap_or_default();
    let scan = scanner.definition(&name, &part.definition, &shown.extras, shown.ignore_cache);
    scan.map_err(Fault::from)
}

/// Answers that no stage has to be converted for.
fn answer_from_text(
    request: Option<Request>,
    text: &[u8],
) -> Result<Option<BTreeMap<String, String>>, Fault> {
    match request {
        Some(Request::Describe) => Ok(Some(subrequest::describe())),
        Some(Request::Targets) => {
            if text.is_empty() {
                return Err(Fault::new("the Dockerfile cannot be empty"));
            }
            let mut off = Linter::default();
            let file = stages(&parse(text), &mut off)?;
            Ok(Some(subrequest::targets(&file, text)))
        }
        _ => Ok(None),
    }
}

fn answered(metadata: BTreeMap<String, String>, warnings: Vec<Warning>, file: File) -> Step {
    Step::Answered(Box::new(Answer {
        metadata,
        warnings,
        file,
    }))
}

/// A Dockerfile and what stands around it.
struct Work<'a> {
    input: &'a Input,
    options: &'a Options,
    context: &'a MainContext,
    exclude: &'a [String],
    source: &'a SourceMap,
}

impl<'a> Work<'a> {
    fn conversion(&self, target: Option<&Platform>, purpose: Purpose) -> Conversion<'a> {
        Conversion::new(
            self.input,
            self.options,
            self.context,
            self.exclude,
            self.source,
            target,
            purpose,
        )
    }

    fn build(
        &self,
        file: File,
        questions: &mut Questions<'_>,
        seen: &mut Seen,
    ) -> Result<Step, Stop> {
        let targets: Vec<Option<&Platform>> = match self.options.platforms.as_slice() {
            [] => vec![None],
            several => several.iter().map(Some).collect(),
        };
        let mut parts = Vec::new();
        let mut waiting = false;
        let scanner = match self.scanner(questions) {
            Err(Stop::Wait) => {
                waiting = true;
                None
            }
            scanner => scanner?,
        };
        for (at, target) in targets.into_iter().enumerate() {
            let mut conversion = self.conversion(target, Purpose::Build);
            let outcome = conversion.run(questions);
            if at == 0 {
                seen.warnings = conversion.linter.warnings().to_vec();
            }
            match outcome {
                Ok(Made::Part(part)) => parts.push(*part),
                Ok(Made::Outline(_) | Made::Findings) => {}
                Err(Stop::Wait) => waiting = true,
                Err(fault) => return Err(fault),
            }
        }
        if waiting {
            return Err(Stop::Wait);
        }
        if let Some(scanner) = scanner {
            for part in &mut parts {
                part.scan = Some(scan(&scanner, part)?);
            }
        }
        Ok(Step::Done(Box::new(Outcome {
            parts,
            multi_platform: self.options.multi_platform,
            warnings: std::mem::take(&mut seen.warnings),
            file,
        })))
    }

    /// The program that says what is in the result, if that is wanted.
    fn scanner(&self, questions: &mut Questions<'_>) -> Result<Option<Scanner>, Stop> {
        let Some(wanted) = &self.options.sbom else {
            return Ok(None);
        };
        let platform = self.input.host.clone();
        let query = ImageQuery {
            reference: wanted.generator.clone(),
            platform: Some(platform.clone()),
            mode: self.options.resolve_mode,
            log_name: String::new(),
            oci_layout_store: None,
        };
        let Fact::Image(image) = questions.ask(Need::Image(query))? else {
            return Err(Fault::new("the answer about the scanner is no image").into());
        };
        let parameters = wanted.parameters.clone();
        let scanner = image
            .and_then(ImageAnswer::into_image)
            .and_then(|image| Scanner::read(&image.reference, &image.config, platform, parameters));
        Ok(Some(scanner.map_err(Fault::from)?))
    }

    fn answer(
        &self,
        request: Request,
        file: File,
        questions: &mut Questions<'_>,
        seen: &mut Seen,
    ) -> Result<Step, Stop> {
        let purpose = match request {
            Request::Lint => Purpose::Lint,
            Request::Outline => Purpose::Outline,
            _ => Purpose::Build,
        };
        let mut conversion = self.conversion(None, purpose);
        let outcome = conversion.run(questions);
        let warnings = conversion.linter.warnings().to_vec();
        if request == Request::Lint {
            let fault = match &outcome {
                Ok(_) => None,
                Err(Stop::Wait) => return Err(Stop::Wait),
                Err(Stop::Fault(fault)) => Some(fault),
            };
            let found = LintResult {
                warnings: &warnings,
                fault,
                source: self.source,
            };
            return Ok(answered(subrequest::lint(&found), Vec::new(), file));
        }
        seen.warnings.clone_from(&warnings);
        let metadata = match outcome? {
            Made::Outline(outline) => subrequest::outline(&outline, &self.source.data),
            Made::Part(part) => subrequest::convert_llb(&part.definition)?,
            Made::Findings => BTreeMap::new(),
        };
        Ok(answered(metadata, warnings, file))
    }
}

/// Docker's own frontend images stand for what is built in; other frontends run in containers.
fn other_frontend(options: &Options, file: &File) -> Option<Forward> {
    if !options.text("cmdline").is_empty() {
        return None;
    }
    let (image, command_line, lines) = match options.build_args.get("BUILDKIT_SYNTAX") {
        Some(given) => {
            let image = given.split_whitespace().next().unwrap_or_default();
            (image.to_owned(), given.clone(), None)
        }
        None => {
            let found = directive::syntax(&String::from_utf8_lossy(&file.data))?;
            (found.image, found.command_line, Some(found.lines))
        }
    };
    let name = image.strip_prefix("docker.io/").unwrap_or(&image);
    let name = name.split(['@', ':']).next().unwrap_or_default();
    let is_built_in = matches!(
        name,
        "dockerfile.v0" | "docker/dockerfile" | "docker/dockerfile-upstream"
    );
    (!is_built_in).then(|| Forward {
        image,
        command_line,
        lines,
        file: file.clone(),
    })
}
