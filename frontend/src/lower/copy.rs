//! COPY and ADD.

use cooper_proto::{Digest, pb};

use super::chmod::{self, Mode};
use super::name::shown;
use super::system::portable;
use crate::context::{git_source, plain_copy};
use crate::diagnostic::Fault;
use crate::golang::path::{base, clean, is_absolute, join};
use crate::instruction::{Add, Copy, InlineSource, Instruction, Paths};
use crate::lint::Rule;
use crate::llb::{Action, CopySource, FileActions, Notes, Output, git, http, owner};
use crate::source::git_url::GitUrl;
use crate::source::{GitRef, is_http};
use crate::stage::Conversion;

/// A copy under way: one instruction, any number of sources.
struct Job<'a> {
    at: usize,
    instruction: &'a Instruction,
    paths: Paths,
    /// Where plain sources come from.
    from: Option<Output>,
    /// What ADD adds to COPY.
    add: Option<Add>,
    parents: bool,
    /// The step's name.
    name: String,
    /// Owner, mode, excludes and destination, the same for all sources.
    template: pb::FileActionCopy,
    actions: Vec<Action>,
}

impl Conversion<'_> {
    pub(super) fn add(
        &mut self,
        at: usize,
        instruction: &Instruction,
        add: &Add,
    ) -> Result<(), Fault> {
        let paths = self.paths(at, instruction.lines, &add.paths)?;
        let checksum = self.word(at, instruction.lines, &add.checksum)?;
        check_checksum(&checksum, &paths)?;
        let local = paths
            .sources
            .iter()
            .filter(|source| !(source.starts_with("http://") || source.starts_with("https://")));
        let used: Vec<String> = local.map(|source| join(&["/", source])).collect();
        let job = Job {
            at,
            instruction,
            paths,
            from: Some(self.build_context),
            add: Some(Add {
                checksum,
                ..add.clone()
            }),
            parents: false,
            name: String::new(),
            template: plain_copy(),
            actions: Vec::new(),
        };
        self.perform(job)?;
        self.context_paths.extend(used);
        Ok(())
    }

    pub(super) fn copy(
        &mut self,
        at: usize,
        instruction: &Instruction,
        copy: &Copy,
        source: Option<usize>,
    ) -> Result<(), Fault> {
        let paths = self.paths(at, instruction.lines, &copy.paths)?;
        let from = match source {
            None => Some(self.build_context),
            Some(source) if self.nodes[source].progress.done => self.nodes[source].state.output,
            Some(_) => {
                return Err(Fault::new(format!(
                    "cannot copy from stage {}, it needs to be defined before current stage {}",
                    crate::golang::quote::quote(&copy.from),
                    crate::golang::quote::quote(&self.nodes[at].label)
                )));
            }
        };
        let used: Vec<String> = paths
            .sources
            .iter()
            .map(|source| join(&["/", source]))
            .collect();
        let job = Job {
            at,
            instruction,
            paths,
            from,
            add: None,
            parents: copy.parents,
            name: String::new(),
            template: plain_copy(),
            actions: Vec::new(),
        };
        self.perform(job)?;
        match source {
            None => self.context_paths.extend(used),
            Some(source) => {
                let set = self.nodes[source].paths;
                self.paths[set].extend(used);
            }
        }
        Ok(())
    }

    fn perform(&mut self, mut job: Job<'_>) -> Result<(), Fault> {
        job.template = self.template(&job)?;
        let variables = self.nodes[job.at].state.environment.clone();
        let text = shown(self.expander, &job.instruction.text, &*variables);
        let platform = self.nodes[job.at].platform.clone();
        job.name = self.step_name(job.at, &text, platform.as_ref(), Some(&*variables));
        for source in job.paths.sources.clone() {
            let action = self.source(&mut job, &source)?;
            job.actions.push(action);
        }
        for inline in job.paths.inline.clone() {
            let action = self.inline(&job, &inline);
            job.actions.push(action);
        }
        let told = told(&job);
        let links = job.paths.link && job.paths.chmod.is_empty();
        if links {
            self.link_step(job, &text);
        } else {
            self.file_step(job);
        }
        let (at, told) = told;
        self.record(at, told, true)
    }

    /// The system that a stage is for.
    fn os(&self, at: usize) -> &str {
        let platform = self.nodes[at].platform.as_ref();
        platform.map_or("", |platform| &platform.os)
    }

    fn template(&self, job: &Job<'_>) -> Result<pb::FileActionCopy, Fault> {
        let mut copy = pb::FileActionCopy {
            dest: destination(
                &self.nodes[job.at].state.directory,
                &portable(&job.paths.destination, self.os(job.at))?,
            ),
            owner: (!job.paths.chown.is_empty()).then(|| owner(&job.paths.chown)),
            exclude_patterns: job.paths.excludes.clone(),
            create_dest_path: true,
            ..plain_copy()
        };
        match chmod::read(&job.paths.chmod)? {
            Mode::Unchanged => {}
            Mode::Bits(bits) => copy.mode = bits,
            Mode::Letters(letters) => {
                copy.mode = 0;
                copy.mode_str = letters;
            }
        }
        Ok(copy)
    }

    fn source(&mut self, job: &mut Job<'_>, source: &str) -> Result<Action, Fault> {
        if let Some(found) = GitRef::parse(source) {
            let found = found.map_err(Fault::new)?;
            if !found.like_a_path {
                return self.git_source(job, found);
            }
        }
        if is_http(source) {
            return self.http_source(job, source);
        }
        if job.from == Some(self.build_context) {
            self.lint_ignored(job, source);
        }
        let unpack = job
            .add
            .as_ref()
            .is_some_and(|add| add.unpack.unwrap_or(true));
        Ok(local_source(job, source, unpack))
    }

    /// Warns of a source that the client will not send.
    fn lint_ignored(&mut self, job: &Job<'_>, source: &str) {
        let Some(ignored) = &self.ignored else {
            return;
        };
        let source = clean(source);
        if matches!(source.as_str(), "." | "/") {
            let all = |text: &str| matches!(text, "*" | "**" | "**/*");
            if !ignored.patterns().iter().any(|pattern| all(pattern.text())) {
                return;
            }
        }
        if ignored.matches(&source) == Ok(true) {
            let word = if job.add.is_some() { "Add" } else { "Copy" };
            let message = format!(
                "Attempting to {word} file {} that is excluded by .dockerignore",
                crate::golang::quote::quote(&source)
            );
            self.linter
                .warn(Rule::CopyIgnoredFile, job.instruction.lines, message);
        }
    }

    fn git_source(&mut self, job: &mut Job<'_>, mut found: GitRef) -> Result<Action, Fault> {
        let Some(add) = &mut job.add else {
            return Err(Fault::new("source can't be a git ref for COPY"));
        };
        match (add.keep_git_dir, found.keep_git_dir) {
            (Some(flag), Some(query)) if flag != query => {
                return Err(Fault::new("inconsistent keep-git-dir configuration"));
            }
            // What one source says holds for the ones after it, as in BuildKit.
            (flag, query) => add.keep_git_dir = query.or(flag),
        }
        if !found.checksum.is_empty() {
            if !add.checksum.is_empty() && add.checksum != found.checksum {
                let (given, query) = (&add.checksum, &found.checksum);
                return Err(Fault::new(format!(
                    "checksum mismatch \"{given}\" != \"{query}\""
                )));
            }
            add.checksum.clone_from(&found.checksum);
        }
        found.checksum.clone_from(&add.checksum);
        found.keep_git_dir = add.keep_git_dir;
        found.mtime.clear();
        let output = git(
            &mut self.graph,
            &git_source(found),
            Notes::named(job.name.clone()),
        );
        let copy = pb::FileActionCopy {
            src: "/".to_owned(),
            ..job.template.clone()
        };
        Ok(Action::Copy(CopySource(Some(output)), Box::new(copy)))
    }

    fn http_source(&mut self, job: &Job<'_>, source: &str) -> Result<Action, Fault> {
        let Some(add) = &job.add else {
            return Err(Fault::new("source can't be a URL for COPY"));
        };
        if !add.checksum.is_empty() {
            let checksum: Result<Digest, _> = add.checksum.parse();
            checksum.map_err(|error| Fault::new(format!("{error}")))?;
        }
        let name = file_name(source);
        let mut notes = Notes::named(job.name.clone());
        notes.describe("com.docker.dockerfile.v1.command", "");
        let output = http(&mut self.graph, source, &name, &add.checksum, notes);
        let copy = pb::FileActionCopy {
            src: name,
            attempt_unpack_docker_compatibility: add.unpack.unwrap_or(false),
            ..job.template.clone()
        };
        Ok(Action::Copy(CopySource(Some(output)), Box::new(copy)))
    }

    fn inline(&mut self, job: &Job<'_>, inline: &InlineSource) -> Action {
        let output = self.inline_document(job.at, &inline.name, 0o644, &inline.content);
        let copy = pb::FileActionCopy {
            src: inline.name.clone(),
            ..job.template.clone()
        };
        Action::Copy(CopySource(Some(output)), Box::new(copy))
    }

    /// A file system with one file whose text stands in the Dockerfile.
    pub(super) fn inline_document(
        &mut self,
        at: usize,
        name: &str,
        mode: i32,
        content: &str,
    ) -> Output {
        let mut notes = Notes::internal("preparing inline document");
        notes.platform.clone_from(&self.nodes[at].platform);
        let actions = FileActions {
            base: None,
            directory: "/".to_owned(),
            actions: vec![Action::Mkfile(pb::FileActionMkFile {
                path: name.to_owned(),
                mode,
                data: content.as_bytes().to_vec(),
                owner: None,
                timestamp: -1,
            })],
        };
        self.graph.file(actions, notes)
    }

    fn notes(&self, job: &Job<'_>) -> Notes {
        let mut notes = Notes::named(job.name.clone()).at(job.instruction.lines);
        notes.ignore_cache = self.nodes[job.at].ignore_cache;
        notes
    }

    fn file_step(&mut self, job: Job<'_>) {
        let notes = self.notes(&job);
        let node = &mut self.nodes[job.at];
        let actions = FileActions {
            base: node.state.output,
            directory: node.state.directory.clone(),
            actions: job.actions,
        };
        node.state.output = Some(self.graph.file(actions, notes));
    }

    /// Copies onto nothing and stacks the outcome on what is there, so that the copy does not depend on it.
    fn link_step(&mut self, job: Job<'_>, text: &str) {
        let variables = self.nodes[job.at].state.environment.clone();
        let platform = self.nodes[job.at].platform.clone();
        let group = |weak| pb::ProgressGroup {
            id: group_id(&job),
            name: job.name.clone(),
            weak,
        };
        let mut copy_notes = self.notes(&job);
        copy_notes.platform.clone_from(&platform);
        copy_notes.group = Some(group(true));
        let mut merge_notes = self.notes(&job);
        merge_notes.group = Some(group(false));
        let name = self.step_name_again(
            job.at,
            &format!("LINK {text}"),
            platform.as_ref(),
            Some(&*variables),
        );
        merge_notes.rename(name);
        let actions = FileActions {
            base: None,
            directory: "/".to_owned(),
            actions: job.actions,
        };
        let copied = self.graph.file(actions, copy_notes);
        let below = self.nodes[job.at].state.output;
        self.nodes[job.at].state.output = self.graph.merge(&[below, Some(copied)], merge_notes);
    }
}

/// A checksum is for one source that is fetched.
fn check_checksum(checksum: &str, paths: &Paths) -> Result<(), Fault> {
    if checksum.is_empty() {
        return Ok(());
    }
    let [source] = paths.sources.as_slice() else {
        return Err(Fault::new(
            "checksum can't be specified for multiple sources",
        ));
    };
    if !is_http(source) && !matches!(GitRef::parse(source), Some(Ok(_))) {
        return Err(Fault::new("checksum requires HTTP(S) or Git sources"));
    }
    Ok(())
}

/// BuildKit draws a random id; one made from the step keeps conversions reproducible and still tells steps apart.
fn group_id(job: &Job<'_>) -> String {
    let lines = job.instruction.lines;
    let digest = Digest::sha256_of(format!(
        "{} {} {} {}",
        job.at, lines.start, lines.end, job.name
    ));
    digest.hex()[..25].to_owned()
}

/// What history tells of a copy.
fn told(job: &Job<'_>) -> (usize, String) {
    let mut told = String::from(if job.add.is_some() { "ADD" } else { "COPY" });
    if job.parents {
        told.push_str(" --parents");
    }
    for (flag, value) in [("chown", &job.paths.chown), ("chmod", &job.paths.chmod)] {
        if !value.is_empty() {
            told.push_str(&format!(" --{flag}={value}"));
        }
    }
    for source in &job.paths.sources {
        told.push(' ');
        told.push_str(source);
    }
    for inline in &job.paths.inline {
        told.push_str(" <<");
        told.push_str(&inline.name);
    }
    told.push(' ');
    told.push_str(&job.paths.destination);
    told.push_str(" # buildkit");
    (job.at, told)
}

fn local_source(job: &Job<'_>, source: &str, unpack: bool) -> Action {
    let mut copy = pb::FileActionCopy {
        follow_symlink: true,
        dir_copy_contents: true,
        attempt_unpack_docker_compatibility: unpack,
        allow_wildcard: true,
        allow_empty_wildcard: true,
        ..job.template.clone()
    };
    copy.src = if job.parents {
        let (folder, kept) = source.split_once("/./").unwrap_or(("/", source));
        let pattern = rooted(kept);
        copy.include_patterns = vec![pattern.strip_prefix('/').unwrap_or(&pattern).to_owned()];
        if !has_wildcards(folder) && !has_wildcards(&pattern) {
            copy.required_paths = vec![rooted(&join(&[folder, &pattern]))];
        }
        rooted(folder)
    } else {
        rooted(source)
    };
    Action::Copy(CopySource(job.from), Box::new(copy))
}

/// A path from the root. An absolute one stays as it is written.
fn rooted(path: &str) -> String {
    if is_absolute(path) {
        path.to_owned()
    } else {
        join(&["/", path])
    }
}

/// The destination from the root; a slash at its end says "a folder".
fn destination(directory: &str, given: &str) -> String {
    if is_absolute(given) {
        return given.to_owned();
    }
    let given = if matches!(given, "" | ".") {
        "./"
    } else {
        given
    };
    let mut path = join(&[directory, given]);
    if given.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    } else if given.ends_with("/.") {
        if path != "/" {
            path.push('/');
        }
        path.push('.');
    }
    path
}

fn has_wildcards(path: &str) -> bool {
    let mut escaped = false;
    path.chars().any(|c| {
        let plain = !std::mem::replace(&mut escaped, false);
        escaped = plain && c == '\\';
        plain && matches!(c, '*' | '?' | '[')
    })
}

/// The name of a file by URL: the last part of the path.
pub(crate) fn file_name(url: &str) -> String {
    let path = GitUrl::parse(url).map(|url| url.path).unwrap_or_default();
    match base(&path) {
        "." | "/" => "__unnamed__".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_keep_the_slash_that_says_folder() {
        for (directory, given, want) in [
            ("/", ".", "/"),
            ("/a", "", "/a/"),
            ("/a", "b/", "/a/b/"),
            ("/a", "b/.", "/a/b/."),
            ("/a", "/c/", "/c/"),
            ("/a", "../b", "/b"),
        ] {
            assert_eq!(destination(directory, given), want, "{directory} {given}");
        }
    }

    #[test]
    fn names_of_downloads_come_from_the_path() {
        for (url, want) in [
            ("https://host/a/b.tar?c=d#e", "b.tar"),
            ("https://host/", "__unnamed__"),
            ("https://host", "__unnamed__"),
            ("http://host/a%20b", "a b"),
        ] {
            assert_eq!(file_name(url), want);
        }
    }

    #[test]
    fn escaped_wildcards_are_none() {
        assert!(
            has_wildcards("a*")
                && has_wildcards("[a]")
                && !has_wildcards("a\\*")
                && has_wildcards("\\\\*")
        );
    }
}
