//! Sources: images, the client's folders, OCI layouts, files by URL, git.

use std::collections::BTreeMap;

use cooper_core::ports::ResolveMode;
use cooper_proto::pb;

use super::caps;
use super::graph::{Graph, Output};
use super::vertex::{Notes, Work};
use crate::golang::json::string_list;
use crate::golang::path::join;
use crate::source::git_url::GitUrl;

type Attributes = BTreeMap<String, String>;

fn add(graph: &mut Graph, identifier: String, attrs: Attributes, notes: Notes) -> Output {
    graph.add(Work::Source(pb::SourceOp { identifier, attrs }), notes)
}

/// A source as it was found in a definition.
pub(crate) fn source_again(graph: &mut Graph, source: pb::SourceOp) -> Output {
    add(graph, source.identifier, source.attrs, Notes::default())
}

/// An image of a registry, by its normalised reference.
pub(crate) fn image(
    graph: &mut Graph,
    reference: &str,
    mode: ResolveMode,
    mut notes: Notes,
) -> Output {
    notes.caps.insert(caps::IMAGE);
    let mut attrs = Attributes::new();
    let name = match mode {
        ResolveMode::Default => None,
        ResolveMode::PreferLocal => Some("local"),
        ResolveMode::ForcePull => {
            notes.caps.insert(caps::IMAGE_RESOLVE_MODE);
            Some("pull")
        }
    };
    if let Some(name) = name {
        attrs.insert("image.resolvemode".to_owned(), name.to_owned());
    }
    add(graph, format!("docker-image://{reference}"), attrs, notes)
}

/// A folder of the client's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Local<'a> {
    pub(crate) name: &'a str,
    pub(crate) session: &'a str,
    /// Text that tells copies of the same folder with different filters apart.
    pub(crate) shared_key: String,
    pub(crate) follow: &'a [String],
    pub(crate) exclude: &'a [String],
    /// Whether all files are sent anew each time.
    pub(crate) always: bool,
}

/// Brings in a folder of the client's.
pub(crate) fn local(graph: &mut Graph, local: &Local<'_>, mut notes: Notes) -> Output {
    let mut attrs = Attributes::new();
    let mut set = |key: &str, value: String, cap: Option<&'static str>| {
        if !value.is_empty() {
            attrs.insert(key.to_owned(), value);
            notes.caps.extend(cap);
        }
    };
    let list = |items: &[String]| {
        if items.is_empty() {
            String::new()
        } else {
            string_list(items)
        }
    };
    set(
        "local.session",
        local.session.to_owned(),
        Some(caps::LOCAL_SESSION),
    );
    set(
        "local.followpaths",
        list(local.follow),
        Some(caps::LOCAL_FOLLOW),
    );
    set(
        "local.excludepatterns",
        list(local.exclude),
        Some(caps::LOCAL_EXCLUDE),
    );
    set(
        "local.sharedkeyhint",
        local.shared_key.clone(),
        Some(caps::LOCAL_SHARED_KEY),
    );
    if local.always {
        set("local.differ", "none".to_owned(), None);
    }
    if local.session.is_empty() {
        // Without a session nothing tells two clients' folders apart; a constant keeps the conversion reproducible.
        set(
            "local.unique",
            "no-session".to_owned(),
            Some(caps::LOCAL_UNIQUE),
        );
    }
    notes.caps.insert(caps::LOCAL);
    add(graph, format!("local://{}", local.name), attrs, notes)
}

/// An image of an OCI layout that the client offers.
pub(crate) fn oci_layout(
    graph: &mut Graph,
    reference: &str,
    session: &str,
    store: &str,
    mut notes: Notes,
) -> Output {
    notes.caps.insert(caps::OCI_LAYOUT);
    let mut attrs = Attributes::new();
    for (key, value) in [("oci.session", session), ("oci.store", store)] {
        if !value.is_empty() {
            attrs.insert(key.to_owned(), value.to_owned());
        }
    }
    add(graph, format!("oci-layout://{reference}"), attrs, notes)
}

/// A file by URL.
pub(crate) fn http(
    graph: &mut Graph,
    url: &str,
    filename: &str,
    checksum: &str,
    mut notes: Notes,
) -> Output {
    notes.caps.insert(caps::HTTP);
    let mut attrs = Attributes::new();
    if !checksum.is_empty() {
        attrs.insert("http.checksum".to_owned(), checksum.to_owned());
        notes.caps.insert(caps::HTTP_CHECKSUM);
    }
    attrs.insert("http.filename".to_owned(), filename.to_owned());
    add(graph, url.to_owned(), attrs, notes)
}

/// What of a repository is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct GitSource {
    pub(crate) remote: String,
    pub(crate) reference: String,
    pub(crate) subdir: String,
    pub(crate) checksum: String,
    pub(crate) keep_dir: bool,
    pub(crate) skip_submodules: bool,
    pub(crate) mtime: String,
    pub(crate) fetch_by_commit: bool,
}

/// Brings in a repository.
pub(crate) fn git(graph: &mut Graph, source: &GitSource, mut notes: Notes) -> Output {
    let (remote, url) = match GitUrl::parse(&source.remote) {
        Ok(url) => (url.remote.clone(), Some(url)),
        Err(_) => {
            let completed = format!("https://{}", source.remote);
            let url = GitUrl::parse(&completed).ok();
            (
                url.as_ref().map_or(completed, |url| url.remote.clone()),
                url,
            )
        }
    };
    let mut id = match &url {
        Some(url) => format!("{}{}", url.host, join(&["/", &url.path])),
        None => remote.clone(),
    };
    if url.is_some() && !(source.reference.is_empty() && source.subdir.is_empty()) {
        id.push('#');
        id.push_str(&source.reference);
        if !source.subdir.is_empty() {
            id.push(':');
            id.push_str(&source.subdir);
        }
    }
    notes.caps.insert(caps::GIT);
    let mut attrs = Attributes::new();
    let mut set = |key: &str, value: &str, cap: Option<&'static str>| {
        if !value.is_empty() {
            attrs.insert(format!("git.{key}"), value.to_owned());
            notes.caps.extend(cap);
        }
    };
    let truth = |truth: bool| if truth { "true" } else { "" };
    set(
        "keepgitdir",
        truth(source.keep_dir),
        Some(caps::GIT_KEEP_DIR),
    );
    set("fullurl", &remote, Some(caps::GIT_FULL_URL));
    set("authtokensecret", "GIT_AUTH_TOKEN", None);
    set("authheadersecret", "GIT_AUTH_HEADER", None);
    if url.as_ref().is_some_and(|url| url.scheme == "ssh") {
        // BuildKit's client scans the host's keys here; that is I/O, so that the worker has to do it.
        notes_ssh(&mut set);
    }
    set("checksum", &source.checksum, Some(caps::GIT_CHECKSUM));
    set(
        "skipsubmodules",
        truth(source.skip_submodules),
        Some(caps::GIT_SKIP_SUBMODULES),
    );
    set("mtime", &source.mtime, Some(caps::GIT_MTIME));
    set(
        "fetchbycommit",
        truth(source.fetch_by_commit),
        Some(caps::GIT_FETCH_BY_COMMIT),
    );
    if url.as_ref().is_some_and(|url| url.scheme == "ssh") {
        notes.caps.insert(caps::GIT_KNOWN_HOSTS);
    }
    add(graph, format!("git://{id}"), attrs, notes)
}

fn notes_ssh(set: &mut dyn FnMut(&str, &str, Option<&'static str>)) {
    set("mountsshsock", "default", Some(caps::GIT_SSH_SOCKET));
}
