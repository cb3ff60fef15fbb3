//! Where the Dockerfile and the build context come from (features.md A6, A7).

use cooper_core::patterns::parse_ignore_file;
use cooper_proto::pb;

use crate::convert::{File, Input, Questions, Stop};
use crate::diagnostic::Fault;
use crate::epoch;
use crate::golang::path::{base, dir, join};
use crate::llb::{
    Action, CopySource, FileActions, GitSource, Graph, Local, Notes, Output, git, http, local,
    marshal,
};
use crate::options::Options;
use crate::source::GitRef;

const DOCKERFILE: &str = "Dockerfile";
const IGNORE_FILE: &str = ".dockerignore";
/// The name of a context that came by URL.
const DOWNLOADED: &str = "context";

/// The build context.
#[derive(Clone, Debug)]
pub(crate) struct MainContext {
    place: Place,
    /// The part of it that is the context, or empty.
    subdir: String,
}

#[derive(Clone, Debug)]
enum Place {
    /// A folder of the client's.
    Local,
    /// A repository.
    Git(Box<GitSource>, String),
    /// An archive by URL.
    Archive(String),
    /// A Dockerfile by URL.
    Download(String),
    /// A definition of the client's.
    Input(Box<pb::Definition>),
}

impl MainContext {
    /// Finds out where the context is. For a URL that needs a look at its first bytes.
    pub(crate) fn find(
        input: &Input,
        options: &Options,
        questions: &mut Questions<'_>,
    ) -> Result<Self, Stop> {
        let key = match options.text("contextkey") {
            "" => "context",
            key => key,
        };
        let given = options.text(key);
        let place = if let Some(parsed) = GitRef::parse(given) {
            Place::Git(
                Box::new(repository(parsed.map_err(Fault::new)?, options)),
                given.to_owned(),
            )
        } else if given.starts_with("http://") || given.starts_with("https://") {
            let definition = definition_of(input, |graph| Some(download(graph, given)));
            let head = questions.file(&definition, DOWNLOADED, Some(1024))?;
            let head = head.ok_or_else(|| Fault::new("failed to read downloaded context"))?;
            if is_archive(&head) {
                Place::Archive(given.to_owned())
            } else {
                Place::Download(given.to_owned())
            }
        } else {
            match input.inputs.get("context") {
                Some(definition) => Place::Input(Box::new(definition.clone())),
                None => Place::Local,
            }
        };
        Ok(Self {
            place,
            subdir: options.text("contextsubdir").to_owned(),
        })
    }

    fn is_local(&self) -> bool {
        matches!(self.place, Place::Local)
    }

    /// Patterns of a `.dockerignore` in the root of the client's folder; other contexts have none.
    pub(crate) fn ignore_file(
        &self,
        input: &Input,
        questions: &mut Questions<'_>,
    ) -> Result<Vec<String>, Stop> {
        if !self.is_local() {
            return Ok(Vec::new());
        }
        let definition = definition_of(input, |graph| {
            let folder = Local {
                name: "context",
                session: session_of(input, "context"),
                shared_key: format!("context-{IGNORE_FILE}"),
                follow: &[IGNORE_FILE.to_owned()],
                always: true,
                ..Local::default()
            };
            Some(local(
                graph,
                &folder,
                Notes::internal(&format!("load {IGNORE_FILE}")),
            ))
        });
        // A build that uses no context needs none.
        let content = questions.file_of_folder(&definition, IGNORE_FILE)?;
        Ok(content
            .map(|content| parse_ignore_file(&String::from_utf8_lossy(&content)))
            .unwrap_or_default())
    }

    /// Adds the context to a graph. `follow` limits what a client has to send.
    pub(crate) fn add(
        &self,
        graph: &mut Graph,
        input: &Input,
        exclude: &[String],
        follow: &[String],
    ) -> Result<Option<Output>, Fault> {
        if self.is_local() {
            let folder = Local {
                name: "context",
                session: session_of(input, "context"),
                shared_key: "context".to_owned(),
                follow,
                exclude,
                always: false,
            };
            return Ok(Some(local(
                graph,
                &folder,
                Notes::internal("load build context"),
            )));
        }
        let whole = self.add_whole(graph)?;
        if self.subdir.is_empty() {
            return Ok(whole);
        }
        let copy = pb::FileActionCopy {
            src: self.subdir.clone(),
            dest: "/".to_owned(),
            dir_copy_contents: true,
            ..plain_copy()
        };
        Ok(Some(copied(graph, whole, copy)))
    }

    fn add_whole(&self, graph: &mut Graph) -> Result<Option<Output>, Fault> {
        Ok(match &self.place {
            Place::Local => None,
            Place::Git(source, given) => Some(git(
                graph,
                source,
                Notes::internal(&format!("load git source {given}")),
            )),
            Place::Download(url) => Some(download(graph, url)),
            Place::Archive(url) => {
                let archive = download(graph, url);
                let copy = pb::FileActionCopy {
                    src: format!("/{DOWNLOADED}"),
                    dest: "/".to_owned(),
                    attempt_unpack_docker_compatibility: true,
                    ..plain_copy()
                };
                Some(copied(graph, Some(archive), copy))
            }
            Place::Input(definition) => graph.embed(definition)?,
        })
    }

    /// The epoch that `SOURCE_DATE_EPOCH=context` stands for; `None` where the context has no time of its own.
    pub(crate) fn epoch(
        &self,
        input: &Input,
        questions: &mut Questions<'_>,
    ) -> Result<Option<i64>, Stop> {
        let definition = match &self.place {
            Place::Local | Place::Input(_) => return Ok(None),
            Place::Git(source, _) => {
                definition_of(input, |graph| Some(git(graph, source, Notes::default())))
            }
            Place::Archive(url) | Place::Download(url) => {
                definition_of(input, |graph| Some(download(graph, url)))
            }
        };
        epoch::of_definition(
            &definition,
            "[internal] resolve main build context metadata",
            input,
            questions,
        )
    }
}

/// Reads the Dockerfile, and the ignore file beside it if there is one.
pub(crate) fn dockerfile(
    input: &Input,
    options: &Options,
    context: &MainContext,
    questions: &mut Questions<'_>,
) -> Result<(File, Option<Vec<String>>), Stop> {
    let key = options.all.get("dockerfilekey").map(String::as_str);
    let folder = key.unwrap_or("dockerfile");
    let name = match context.place {
        Place::Download(_) => DOWNLOADED,
        _ => options.filename.as_str(),
    };
    let lower = (base(name) == DOCKERFILE).then(|| join(&[&dir(name), &DOCKERFILE.to_lowercase()]));
    let ignore_name = format!("{name}.dockerignore");
    let mut is_local = false;
    let definition = match (key, input.inputs.get(folder), context.is_local()) {
        (None, Some(definition), _)
            if !matches!(
                context.place,
                Place::Git(..) | Place::Archive(_) | Place::Download(_)
            ) =>
        {
            definition.clone()
        }
        (None, _, false) if !matches!(context.place, Place::Input(_)) => {
            let mut graph = Graph::default();
            let output = context.add_whole(&mut graph)?;
            marshal(&graph, output, &input.host, None)
        }
        _ => {
            is_local = true;
            let mut follow = vec![name.to_owned(), ignore_name.clone()];
            follow.extend(lower.clone());
            definition_of(input, |graph| {
                let folder = Local {
                    name: folder,
                    session: session_of(input, folder),
                    shared_key: folder.to_owned(),
                    follow: &follow,
                    always: true,
                    ..Local::default()
                };
                Some(local(
                    graph,
                    &folder,
                    Notes::internal(&format!("load build definition from {name}")),
                ))
            })
        }
    };
    let mut data = questions.file(&definition, name, None)?;
    if data.is_none()
        && let Some(lower) = lower
    {
        data = questions.file(&definition, &lower, None)?;
    }
    let Some(data) = data else {
        return Err(Fault {
            kind: cooper_core::model::FailureKind::NotFound,
            ..Fault::new(format!(
                "failed to read dockerfile: open {name}: no such file or directory"
            ))
        }
        .into());
    };
    let ignored = questions.file(&definition, &ignore_name, None)?;
    let file = File {
        name: name.to_owned(),
        data,
        definition,
        is_local,
    };
    Ok((
        file,
        ignored.map(|content| parse_ignore_file(&String::from_utf8_lossy(&content))),
    ))
}

/// What brings in a file beside the Dockerfile: of a client's folder only what is asked for is sent.
pub(crate) fn beside(
    input: &Input,
    options: &Options,
    dockerfile: &File,
    path: &str,
) -> pb::Definition {
    if !dockerfile.is_local {
        return dockerfile.definition.clone();
    }
    let key = options.all.get("dockerfilekey").map(String::as_str);
    let folder = key.unwrap_or("dockerfile");
    definition_of(input, |graph| {
        let from = Local {
            name: folder,
            session: session_of(input, folder),
            shared_key: folder.to_owned(),
            follow: &[path.to_owned()],
            always: true,
            ..Local::default()
        };
        Some(local(
            graph,
            &from,
            Notes::internal(&format!("load {path}")),
        ))
    })
}

/// A definition of its own.
pub(crate) fn definition_of(
    input: &Input,
    build: impl FnOnce(&mut Graph) -> Option<Output>,
) -> pb::Definition {
    let mut graph = Graph::default();
    let output = build(&mut graph);
    marshal(&graph, output, &input.host, None)
}

/// The session that a folder comes from: the client's, unless an option says another.
pub(crate) fn session_of<'a>(input: &'a Input, folder: &str) -> &'a str {
    input
        .options
        .get(&format!("local-sessionid:{folder}"))
        .map_or(&input.session, String::as_str)
}

/// A repository as a context; build-args have a say.
fn repository(found: GitRef, options: &Options) -> GitSource {
    let kept = options
        .build_args
        .get("BUILDKIT_CONTEXT_KEEP_GIT_DIR")
        .and_then(|value| crate::golang::number::parse_bool(value));
    let mut source = git_source(found);
    source.keep_dir |= kept == Some(true);
    let epoch = options.build_args.get("SOURCE_DATE_EPOCH");
    if source.mtime.is_empty() && epoch.is_some_and(|epoch| !epoch.is_empty()) {
        "commit".clone_into(&mut source.mtime);
    }
    source
}

/// A repository as a source.
pub(crate) fn git_source(found: GitRef) -> GitSource {
    GitSource {
        remote: found.remote,
        reference: found.reference,
        subdir: found.subdir,
        checksum: found.checksum,
        keep_dir: found.keep_git_dir == Some(true),
        skip_submodules: found.submodules == Some(false),
        mtime: found.mtime,
        fetch_by_commit: found.fetch_by_commit,
    }
}

fn download(graph: &mut Graph, url: &str) -> Output {
    http(
        graph,
        url,
        DOWNLOADED,
        "",
        Notes::internal("load remote build context"),
    )
}

/// A copy with nothing but defaults: mode and time as they are.
pub(crate) fn plain_copy() -> pb::FileActionCopy {
    pb::FileActionCopy {
        mode: -1,
        timestamp: -1,
        ..pb::FileActionCopy::default()
    }
}

fn copied(graph: &mut Graph, from: Option<Output>, copy: pb::FileActionCopy) -> Output {
    let actions = FileActions {
        base: None,
        directory: "/".to_owned(),
        actions: vec![Action::Copy(CopySource(from), Box::new(copy))],
    };
    graph.file(actions, Notes::default())
}

/// Whether the first bytes are those of an archive: bzip2, gzip, xz or a plain tar.
fn is_archive(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 3] = [
        b"BZh",
        &[0x1f, 0x8b, 0x08],
        &[0xfd, b'7', b'z', b'X', b'Z', 0],
    ];
    MAGIC.iter().any(|magic| head.starts_with(magic)) || is_tar(head)
}

/// A tar header sums up its own bytes, the sum's field counted as blanks.
fn is_tar(head: &[u8]) -> bool {
    const SUM: std::ops::Range<usize> = 148..156;
    let Some(header) = head.get(..512) else {
        return false;
    };
    let text = String::from_utf8_lossy(&header[SUM]).into_owned();
    let Ok(claimed) = u32::from_str_radix(text.trim_matches([' ', '\0']), 8) else {
        return false;
    };
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if SUM.contains(&at) {
                0x20
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    sum == claimed
}
