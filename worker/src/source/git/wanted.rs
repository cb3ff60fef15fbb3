use std::collections::BTreeMap;

use cooper_core::model::{Failure, FailureKind, SessionId, redacted};
use cooper_core::patterns::path_inside;
use cooper_proto::{Algorithm, pb};

use super::address::{Address, is_transport};
use super::reference::{is_object_id, is_reference};
use super::signed::Signed;
use crate::source::blob::BlobPlace;

/// What of a repository a source op wants (parity sheet B3, `git://`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct GitWanted {
    pub(in crate::source) address: Address,
    /// Branch, tag or commit; the default branch when empty.
    pub(in crate::source) reference: String,
    /// The reference as it was given.
    pub(super) named: String,
    /// The beginning of what the reference must lead to, or empty.
    pub(in crate::source) checksum: String,
    /// Folder, without a slash before it; the whole repository when empty.
    pub(in crate::source) subdir: String,
    pub(super) keep_git_dir: bool,
    pub(super) skip_submodules: bool,
    /// Whether files have the commit's time.
    pub(super) commit_times: bool,
    /// Whether the checksum is fetched without asking what the reference is.
    pub(super) by_commit: bool,
    /// Whether the result is a bundle of the commit instead of its files.
    pub(super) as_bundle: bool,
    /// Names of secrets, or empty.
    pub(super) header_secret: String,
    pub(super) token_secret: String,
    /// Keys of ssh hosts, or empty.
    pub(super) known_hosts: String,
    /// Id of the forwarded agent, or empty.
    pub(super) ssh_agent: String,
    /// The blob that has the commit in a bundle; nobody else is asked then.
    pub(super) bundle: Option<BlobPlace>,
    /// How the commit must be signed.
    pub(super) signature: Option<Signed>,
}

impl GitWanted {
    /// Reads a source op.
    ///
    /// # Errors
    /// `InvalidInput` for what cannot be read or could be mistaken by git; `Unsupported` for what is not built or known.
    pub(in crate::source) fn of(source: &pb::SourceOp) -> Result<Self, Failure> {
        let text = source.identifier.strip_prefix("git://");
        let text = text.ok_or_else(|| invalid("the source is not git://"))?;
        let address = address(text)?;
        let (reference, subdir) = match address.fragment.split_once(':') {
            Some((reference, subdir)) => (reference.to_owned(), path_inside(subdir)),
            None => (address.fragment.clone(), String::new()),
        };
        let mut wanted = Self {
            address,
            named: reference.clone(),
            reference,
            checksum: String::new(),
            subdir,
            keep_git_dir: false,
            skip_submodules: false,
            commit_times: false,
            by_commit: false,
            as_bundle: false,
            header_secret: String::new(),
            token_secret: String::new(),
            known_hosts: String::new(),
            ssh_agent: String::new(),
            bundle: None,
            signature: None,
        };
        for (key, value) in &source.attrs {
            wanted.read(key, value)?;
        }
        wanted.read_store(&source.attrs);
        wanted.check()?;
        Ok(wanted)
    }

    fn read(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        match key {
            "git.fullurl" => self.address = address(value)?,
            "git.keepgitdir" => self.keep_git_dir = value == "true",
            "git.skipsubmodules" => self.skip_submodules = value == "true",
            "git.fetchbycommit" => self.by_commit = value == "true",
            "git.checkoutbundle" => self.as_bundle = value == "true",
            "git.authheadersecret" => value.clone_into(&mut self.header_secret),
            "git.authtokensecret" => value.clone_into(&mut self.token_secret),
            "git.knownsshhosts" => value.clone_into(&mut self.known_hosts),
            "git.mountsshsock" => value.clone_into(&mut self.ssh_agent),
            "git.checksum" => value.clone_into(&mut self.checksum),
            "git.mtime" => {
                self.commit_times = match value {
                    "" | "checkout" => false,
                    "commit" => true,
                    other => return Err(invalid(&format!("invalid git.mtime {other:?}"))),
                }
            }
            "git.bundle" if value.is_empty() => {}
            "git.bundle" => self.bundle = Some(BlobPlace::parse(value)?),
            // Of the bundle; read once it is known that there is one.
            "oci.session" | "oci.store" => {}
            "git.sig.pubkey" => value.clone_into(&mut self.signature_mut().keys),
            "git.sig.rejectexpired" => self.signature_mut().reject_expired = value == "true",
            "git.sig.requiresignedtag" => self.signature_mut().require_tag = value == "true",
            "git.sig.ignoresignedtag" => self.signature_mut().ignore_tag = value == "true",
            other => {
                return Err(Failure::unsupported(format!(
                    "the attribute {other:?} of a git source"
                )));
            }
        }
        Ok(())
    }

    fn signature_mut(&mut self) -> &mut Signed {
        self.signature.get_or_insert_default()
    }

    /// Where a client's store has the bundle, if it says.
    fn read_store(&mut self, attributes: &BTreeMap<String, String>) {
        let given = |key: &str| attributes.get(key).filter(|it| !it.is_empty()).cloned();
        if let Some(place) = &mut self.bundle
            && place.store.is_some()
        {
            place.session = given("oci.session").map(SessionId);
            place.store = given("oci.store").or(place.store.take());
        }
    }

    fn check_bundle(&mut self) -> Result<(), Failure> {
        let Some(place) = &self.bundle else {
            return Ok(());
        };
        if place.digest.algorithm() != Algorithm::Sha256 {
            return Err(invalid(&format!(
                "git.bundle {place}: its digest is not of sha256"
            )));
        }
        if self.checksum.is_empty() {
            return Err(invalid("git.bundle requires git.checksum to be set"));
        }
        // What the bundle says its references are does not count: the commit is named.
        self.by_commit = true;
        Ok(())
    }

    fn check(&mut self) -> Result<(), Failure> {
        self.check_bundle()?;
        let Self {
            reference,
            checksum,
            ..
        } = self;
        if !is_reference(reference) {
            return Err(invalid(&format!("invalid git ref {reference:?}")));
        }
        if !checksum.bytes().all(|it| it.is_ascii_hexdigit()) {
            return Err(invalid(&format!(
                "invalid checksum {checksum} for Git URL, expected hex commit hash"
            )));
        }
        if is_object_id(reference) && !reference.starts_with(checksum.as_str()) {
            return Err(invalid(&format!(
                "expected checksum to match {checksum}, got {reference}"
            )));
        }
        if self.as_bundle && self.keep_git_dir {
            return Err(invalid(
                "git.checkoutbundle is incompatible with git.keepgitdir",
            ));
        }
        if self.as_bundle && !self.subdir.is_empty() {
            return Err(invalid(
                "git.checkoutbundle is incompatible with git.subdir",
            ));
        }
        if self.by_commit && !is_object_id(&self.reference) {
            self.check_by_commit()?;
        }
        Ok(())
    }

    fn check_by_commit(&mut self) -> Result<(), Failure> {
        if self.checksum.is_empty() {
            return Err(invalid(
                "fetch-by-commit requires a checksum or a commit SHA ref",
            ));
        }
        if !is_object_id(&self.checksum) {
            return Err(invalid(&format!(
                "fetch-by-commit requires a full commit SHA checksum, got {:?}",
                self.checksum
            )));
        }
        // What asking the server would have made of the name: a branch, unless it says otherwise.
        if self.reference.is_empty() {
            self.reference.clone_from(&self.checksum);
        } else if !self.reference.starts_with("refs/") {
            self.reference = format!("refs/heads/{}", self.reference);
        }
        Ok(())
    }

    /// The text of the cache key, in BuildKit's form.
    pub(super) fn key(&self, commit: &str, reference: &str) -> String {
        let mut key = commit.to_owned();
        if self.keep_git_dir {
            key.push_str(".git");
            if !reference.is_empty() {
                key.push('#');
                key.push_str(reference);
            }
        }
        if !self.subdir.is_empty() {
            key.push(':');
            key.push_str(&self.subdir);
        }
        if self.skip_submodules {
            key.push_str("(skip-submodules)");
        }
        if self.commit_times {
            key.push_str("(mtime=commit)");
        }
        if self.as_bundle {
            key.push_str("(bundle)");
        }
        key
    }
}

fn address(text: &str) -> Result<Address, Failure> {
    let completed = match is_transport(text) {
        true => text.to_owned(),
        false => format!("https://{text}"),
    };
    Address::parse(&completed)
        .ok_or_else(|| invalid(&format!("invalid git address {:?}", redacted(&completed))))
}

pub(super) fn invalid(what: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(identifier: &str, attributes: &[(&str, &str)]) -> Result<GitWanted, Failure> {
        GitWanted::of(&pb::SourceOp {
            identifier: identifier.into(),
            attrs: attributes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        })
    }

    // T-A8
    #[test]
    fn folders_of_fragments_stay_inside() {
        for (fragment, reference, subdir) in [
            ("main:../../escape", "main", "escape"),
            ("main:dir/../../escape", "main", "escape"),
            ("main:/absolute", "main", "absolute"),
            ("main:../", "main", ""),
            (":a/./b//c/", "", "a/b/c"),
            ("main:%2e%2e/x", "main", "x"),
            ("main", "main", ""),
        ] {
            let wanted = read(&format!("git://host/a.git#{fragment}"), &[]).unwrap();
            assert_eq!(wanted.reference, reference, "{fragment}");
            assert_eq!(wanted.subdir, subdir, "{fragment}");
            assert_eq!(wanted.address.remote, "https://host/a.git");
        }
    }

    // T-A12, T-C15
    #[test]
    fn references_that_git_could_take_for_options_are_refused() {
        for fragment in ["--upload-pack=x", "-x", "a b", "a:b:c^", "%2dx", "+a"] {
            let identifier = format!("git://host/a.git#{fragment}");
            let refused = read(&identifier, &[]).is_err();
            assert!(refused || fragment == "a:b:c^", "{fragment}");
        }
        for (key, value) in [
            ("git.fullurl", "ext::sh -c x"),
            ("git.fullurl", "ssh://-oProxyCommand=x/y"),
            ("git.checksum", "--x"),
            ("git.mtime", "now"),
            ("git.new", "1"),
            ("git.fetchbycommit", "true"),
            ("git.bundle", "https://host/a"),
            ("git.bundle", "oci-layout+blob://a"),
            (
                "git.bundle",
                "oci-layout+blob://a@sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            ),
        ] {
            assert!(read("git://host/a.git", &[(key, value)]).is_err(), "{key}");
        }
    }

    #[test]
    fn the_key_is_written_as_buildkit_writes_it() {
        let key = |fragment: &str, attributes: &[(&str, &str)]| {
            let wanted = read(&format!("git://host/a.git{fragment}"), attributes).unwrap();
            wanted.key("abc", "refs/heads/main")
        };
        assert_eq!(key("", &[]), "abc");
        assert_eq!(
            key("", &[("git.keepgitdir", "true")]),
            "abc.git#refs/heads/main"
        );
        assert_eq!(
            key(
                "#main:sub",
                &[
                    ("git.keepgitdir", "true"),
                    ("git.skipsubmodules", "true"),
                    ("git.mtime", "commit")
                ]
            ),
            "abc.git#refs/heads/main:sub(skip-submodules)(mtime=commit)"
        );
        assert_eq!(key("", &[("git.checkoutbundle", "true")]), "abc(bundle)");
    }

    #[test]
    fn a_checksum_alone_names_what_is_fetched_by_commit() {
        let sum = "0a".repeat(20);
        let by_commit = |fragment: &str| {
            let attributes = [
                ("git.checksum", sum.as_str()),
                ("git.fetchbycommit", "true"),
            ];
            let wanted = read(&format!("git://host/a.git{fragment}"), &attributes);
            wanted.unwrap().reference
        };
        assert_eq!(by_commit(""), sum);
        assert_eq!(by_commit("#main"), "refs/heads/main");
        assert_eq!(by_commit("#refs/tags/v1"), "refs/tags/v1");
    }
}
