//! Named contexts: what `--build-context name=…` puts in the place of an image or a stage (features.md A7).

use base64::prelude::{BASE64_STANDARD, Engine as _};
use cooper_core::patterns::parse_ignore_file;
use cooper_core::ports::{ImageAnswer, ImageQuery};
use cooper_proto::Digest;
use cooper_proto::reference::Reference;
use serde_json::Value;

use crate::context::{definition_of, git_source, session_of};
use crate::convert::{Input, Questions, Stop};
use crate::diagnostic::Fault;
use crate::facts::{Fact, Need};
use crate::golang::quote::quote;
use crate::image::Image;
use crate::llb::{Graph, Local, Notes, Output, State, git, http, image, local, oci_layout};
use crate::options::Options;
use crate::platform::{self, Platform};
use crate::source::GitRef;

/// A named context that an option gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedContext {
    /// The name without platform.
    name: String,
    /// The name as the option has it.
    full_name: String,
    /// What it stands for.
    value: String,
    /// The platform it is wanted for.
    platform: Option<Platform>,
    /// How often a rule about sources has put another source in its place.
    changes: usize,
}

/// How often rules about sources may change one context; BuildKit's own bound.
const MOST_CHANGES: usize = 20;

/// A named context as a file system.
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) image: Option<Image>,
    /// A folder of the client's whose filter is known only when all steps are.
    pub(crate) folder: Option<Folder>,
}

/// A folder of the client's.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) placeholder: Output,
    name: String,
    full_name: String,
    exclude: Vec<String>,
}

/// Finds the context of a name, one for the platform first.
pub(crate) fn find(
    options: &Options,
    name: &str,
    platform: Option<&Platform>,
    host: &Platform,
) -> Result<Option<NamedContext>, Fault> {
    if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
        return Ok(None);
    }
    let reference = read_reference(name)
        .map_err(|error| Fault::new(format!("invalid context name {name}: {error}")))?;
    let familiar = reference.familiar();
    let name = familiar
        .strip_suffix(":latest")
        .unwrap_or(&familiar)
        .to_owned();
    let with_platform = format!(
        "{name}::{}",
        platform::full(&platform::normalize(platform.unwrap_or(host)))
    );
    Ok([with_platform, name.clone()]
        .into_iter()
        .find_map(|full_name| {
            let value = options.all.get(&format!("context:{full_name}"))?.clone();
            Some(NamedContext {
                name: name.clone(),
                full_name,
                value,
                platform: platform.cloned(),
                changes: 0,
            })
        }))
}

impl NamedContext {
    /// Adds what the context stands for to a graph.
    pub(crate) fn load(
        &self,
        graph: &mut Graph,
        input: &Input,
        options: &Options,
        questions: &mut Questions<'_>,
    ) -> Result<Loaded, Stop> {
        let Some((kind, rest)) = self.value.split_once(':') else {
            return Err(self.invalid("invalid context specifier"));
        };
        match if kind.starts_with("git@") {
            "git"
        } else {
            kind
        } {
            "docker-image" => {
                let text = rest.trim_start_matches("//");
                self.image(text, graph, input, options, questions)
            }
            "oci-layout" => self.layout(
                rest.trim_start_matches("//"),
                graph,
                input,
                options,
                questions,
            ),
            "local" => self.local(rest, graph, input, questions),
            "input" => self.input(rest, graph, input, options),
            "git" => self
                .git(graph)?
                .ok_or_else(|| self.invalid("invalid git context")),
            "http" | "https" => match self.git(graph)? {
                Some(loaded) => Ok(loaded),
                None => Ok(plain(State::of(Some(http(
                    graph,
                    &self.value,
                    "context",
                    "",
                    self.notes(&self.value),
                ))))),
            },
            other => Err(Fault::new(format!(
                "unsupported context source {other} for {}",
                self.full_name
            ))
            .suggest(
                other,
                [
                    "docker-image",
                    "oci-layout",
                    "local",
                    "input",
                    "git",
                    "https",
                ],
            )
            .into()),
        }
    }

    fn invalid(&self, what: &str) -> Stop {
        Fault::new(format!("{what} {} for {}", self.value, self.full_name)).into()
    }

    fn notes(&self, what: &str) -> Notes {
        Notes::named(format!("[context {}] {what}", self.full_name))
    }

    fn on_platform(&self, notes: Notes) -> Notes {
        match &self.platform {
            Some(platform) => notes.on(platform),
            None => notes,
        }
    }

    /// What a rule about sources puts in the image's place.
    fn replaced(&self, by: &str) -> Result<Self, Fault> {
        let (kind, rest) = by
            .split_once("://")
            .ok_or_else(|| Fault::new(format!("could not parse ref: {by}")))?;
        if self.changes == MOST_CHANGES {
            return Err(Fault::new(format!(
                "context recursion limit exceeded for {} at {by}",
                self.full_name
            )));
        }
        Ok(Self {
            value: format!("{kind}:{rest}"),
            changes: self.changes + 1,
            ..self.clone()
        })
    }

    fn image(
        &self,
        text: &str,
        graph: &mut Graph,
        input: &Input,
        options: &Options,
        questions: &mut Questions<'_>,
    ) -> Result<Loaded, Stop> {
        if text == "scratch" {
            return Ok(plain(State::of(None)));
        }
        let reference = read_reference(text)
            .map_err(Fault::new)?
            .with_default_tag()
            .to_string();
        let resolved = match self.resolve(reference, text, None, options, questions)? {
            ImageAnswer::Image(resolved) => resolved,
            ImageAnswer::Replaced { by, .. } => {
                return self.replaced(&by)?.load(graph, input, options, questions);
            }
        };
        let name = read_reference(&resolved.reference)
            .map_err(Fault::new)?
            .with_default_tag()
            .to_string();
        let notes = self.on_platform(self.notes(text));
        let mode = cooper_core::ports::ResolveMode::Default;
        let output = image(graph, &name, mode, notes.clone());
        let mut loaded = self.with_config(output, notes.platform.as_ref(), &resolved.config)?;
        if let Some(image) = &mut loaded.image {
            image.created = None;
        }
        Ok(loaded)
    }

    fn layout(
        &self,
        text: &str,
        graph: &mut Graph,
        input: &Input,
        options: &Options,
        questions: &mut Questions<'_>,
    ) -> Result<Loaded, Stop> {
        let wrong = |why: &str| Fault::new(format!("oci-layout reference {} {why}", quote(text)));
        let (store, digest) = text.split_once('@').ok_or_else(|| wrong("has no digest"))?;
        if store.is_empty() {
            return Err(wrong("has no name").into());
        }
        let digest: Digest = digest
            .parse()
            .map_err(|error| Fault::new(format!("{error}")))?;
        let store = store.split(':').next().unwrap_or_default();
        let shown = read_reference(&self.name)
            .map_err(Fault::new)?
            .with_digest(digest)
            .to_string();
        let resolved = self.resolve(
            shown.clone(),
            &shown,
            Some(store.to_owned()),
            options,
            questions,
        )?;
        let resolved = resolved.into_image().map_err(|failure| Fault {
            kind: failure.kind,
            ..Fault::new(failure.message)
        })?;
        let notes = self.on_platform(self.notes("OCI load from client"));
        let output = oci_layout(graph, &shown, &input.session, store, notes.clone());
        self.with_config(output, notes.platform.as_ref(), &resolved.config)
    }

    /// What is known of the image.
    fn resolve(
        &self,
        reference: String,
        shown: &str,
        store: Option<String>,
        options: &Options,
        questions: &mut Questions<'_>,
    ) -> Result<ImageAnswer, Stop> {
        let query = ImageQuery {
            reference,
            platform: self.platform.clone(),
            mode: options.resolve_mode,
            log_name: format!("[context {}] load metadata for {shown}", self.full_name),
            oci_layout_store: store,
        };
        match questions.ask(Need::Image(query))? {
            Fact::Image(Ok(answer)) => Ok(answer),
            Fact::Image(Err(failure)) => Err(Fault {
                kind: failure.kind,
                ..Fault::new(failure.message)
            }
            .into()),
            Fact::File(_) | Fact::Source(_) => {
                Err(Fault::new(format!("the answer about {shown} is no image")).into())
            }
        }
    }

    /// A state as an image's configuration describes it.
    fn with_config(
        &self,
        output: Output,
        platform: Option<&Platform>,
        config: &[u8],
    ) -> Result<Loaded, Stop> {
        let image = Image::parse(config).map_err(Fault::new)?;
        let mut state = State::of(Some(output));
        if let Some(platform) = platform {
            state.set_platform(platform);
        }
        describe(&mut state, &image);
        Ok(Loaded {
            state,
            image: Some(image),
            folder: None,
        })
    }

    fn git(&self, graph: &mut Graph) -> Result<Option<Loaded>, Stop> {
        let Some(found) = GitRef::parse(&self.value) else {
            return Ok(None);
        };
        let source = git_source(found.map_err(Fault::new)?);
        let notes = Notes::internal(&format!("load git source {}", self.value));
        Ok(Some(plain(State::of(Some(git(graph, &source, notes))))))
    }

    fn local(
        &self,
        name: &str,
        graph: &mut Graph,
        input: &Input,
        questions: &mut Questions<'_>,
    ) -> Result<Loaded, Stop> {
        const IGNORE_FILE: &str = ".dockerignore";
        let definition = definition_of(input, |graph| {
            let folder = Local {
                name,
                session: session_of(input, name),
                shared_key: format!("context:{}-{IGNORE_FILE}", self.full_name),
                follow: &[IGNORE_FILE.to_owned()],
                always: true,
                ..Local::default()
            };
            Some(local(
                graph,
                &folder,
                self.notes(&format!("load {IGNORE_FILE}")),
            ))
        });
        let content = questions.file(&definition, IGNORE_FILE, None)?;
        let exclude = content.map(|content| parse_ignore_file(&String::from_utf8_lossy(&content)));
        let placeholder = graph.placeholder();
        Ok(Loaded {
            state: State::of(Some(placeholder)),
            image: None,
            folder: Some(Folder {
                placeholder,
                name: name.to_owned(),
                full_name: self.full_name.clone(),
                exclude: exclude.unwrap_or_default(),
            }),
        })
    }

    fn input(
        &self,
        name: &str,
        graph: &mut Graph,
        input: &Input,
        options: &Options,
    ) -> Result<Loaded, Stop> {
        let Some(definition) = input.inputs.get(name) else {
            let names = input.inputs.keys().map(String::as_str);
            return Err(
                Fault::new(format!("invalid input {name} for {}", self.full_name))
                    .suggest(name, names)
                    .into(),
            );
        };
        let mut state = State::of(graph.embed(definition)?);
        let Some(metadata) = options.all.get(&format!("input-metadata:{name}")) else {
            return Ok(plain(state));
        };
        let wrong =
            |why: &str| Fault::new(format!("failed to parse input metadata {metadata}: {why}"));
        let metadata: Value =
            serde_json::from_str(metadata).map_err(|error| wrong(&error.to_string()))?;
        let image = match metadata.get("containerimage.config") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => {
                let config = BASE64_STANDARD.decode(text).map_err(|error| {
                    wrong(&format!("containerimage.config is not base64: {error}"))
                })?;
                Some(Image::parse(&config).map_err(Fault::new)?)
            }
            Some(_) => return Err(wrong("containerimage.config is not a text").into()),
        };
        if let Some(image) = &image {
            describe(&mut state, image);
        }
        Ok(Loaded {
            state,
            image,
            folder: None,
        })
    }
}

impl Folder {
    /// Adds the folder now that it is known which of its paths are used.
    pub(crate) fn add(
        &self,
        graph: &mut Graph,
        input: &Input,
        options: &Options,
        follow: &[String],
    ) {
        let key = options.text(&format!("sharedkey:localdir:{}", self.full_name));
        let folder = Local {
            name: &self.name,
            session: session_of(input, &self.name),
            shared_key: format!("context:{}-{key}", self.full_name),
            follow,
            exclude: &self.exclude,
            always: false,
        };
        let notes = Notes::named(format!("[context {}] load from client", self.full_name));
        let output = local(graph, &folder, notes);
        graph.resolve(self.placeholder, Some(output));
    }
}

fn plain(state: State) -> Loaded {
    Loaded {
        state,
        image: None,
        folder: None,
    }
}

fn read_reference(text: &str) -> Result<Reference, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// Environment, folder and platform of an image's configuration.
fn describe(state: &mut State, image: &Image) {
    for entry in &image.config.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        if !name.is_empty() {
            state.set(name, value);
        }
    }
    state.directory = crate::golang::path::join(&["/", &image.config.working_dir]);
    if !image.platform.architecture.is_empty() && !image.platform.os.is_empty() {
        state.set_platform(&image.platform);
    }
}
