use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cooper_core::ports::ExportResponse;
use cooper_engine::job::CacheSpec;
use cooper_proto::oci::{self, Descriptor, Index, MAX_DOCUMENT_BYTES, media_type};

use super::csv;
use super::error::UsageError;
use super::layout;

/// The annotation by which layouts name what they hold (OCI image specification, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The caches of a build and the folders of those that are in folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caches {
    /// Caches to look into.
    pub imports: Vec<CacheSpec>,
    /// Caches to write.
    pub exports: Vec<CacheSpec>,
    /// Folders that the session offers, by the names in the requests.
    pub folders: BTreeMap<String, PathBuf>,
    /// Folders whose index is to be written when the build is done.
    pub indexes: Vec<CacheIndex>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// The index of a folder with caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheIndex {
    folder: PathBuf,
    tag: String,
    /// Whether what else the folder has is removed.
    reset: bool,
}

/// Reads the values of `--cache-from` and `--cache-to`.
///
/// # Errors
/// When a value is not written as it should be, or names no place.
pub(in crate::command) fn parse(
    from: &[String],
    to: &[String],
    here: &Path,
) -> Result<Caches, UsageError> {
    let mut caches = Caches::default();
    for text in from {
        let mut spec = spec(text, "--cache-from")?;
        if spec.kind == "local" && !caches.local_import(&mut spec, here)? {
            continue;
        }
        caches.imports.push(spec);
    }
    for text in to {
        let mut spec = spec(text, "--cache-to")?;
        if spec.kind == "local" {
            caches.local_export(&mut spec, here)?;
        }
        caches.exports.push(spec);
    }
    Ok(caches)
}

/// Attributes that a kind of cache takes from the user's environment, with the variables, as other clients have it.
const OF_ENVIRONMENT: [(&str, &str, &str); 6] = [
    ("gha", "token", "ACTIONS_RUNTIME_TOKEN"),
    ("gha", "url_v2", "ACTIONS_RESULTS_URL"),
    ("gha", "url", "ACTIONS_CACHE_URL"),
    ("s3", "access_key_id", "AWS_ACCESS_KEY_ID"),
    ("s3", "secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("s3", "session_token", "AWS_SESSION_TOKEN"),
];

/// `type=TYPE,NAME=VALUE,…`, or the name of an image.
fn spec(text: &str, flag: &str) -> Result<CacheSpec, UsageError> {
    let invalid = |what: &str| {
        UsageError::new(
            format!("invalid value {text:?} of {flag}: {what}"),
            "for example type=registry,ref=registry.example/app:cache",
        )
    };
    let fields = csv::fields(text).ok_or_else(|| invalid("a quote is not closed"))?;
    if let [reference] = fields.as_slice()
        && !reference.contains('=')
    {
        return Ok(CacheSpec {
            kind: "registry".to_owned(),
            attributes: [("ref".to_owned(), reference.clone())].into(),
        });
    }
    let mut attributes = BTreeMap::new();
    for field in &fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| invalid(&format!("{field:?} is no NAME=VALUE")))?;
        attributes.insert(key.trim().to_lowercase(), value.to_owned());
    }
    let kind = attributes.remove("type");
    let kind = kind.ok_or_else(|| invalid("it has no type"))?;
    Ok(CacheSpec { kind, attributes })
}

impl Caches {
    /// Adds what the user's environment says of caches that say nothing of it themselves.
    #[must_use]
    pub(in crate::command) fn with_variables(
        mut self,
        variables: &BTreeMap<String, String>,
    ) -> Self {
        for spec in self.imports.iter_mut().chain(&mut self.exports) {
            // A key goes with its secret, wherever both come from.
            let has_own = spec.attributes.contains_key("access_key_id");
            for (kind, key, variable) in OF_ENVIRONMENT {
                let value = variables.get(variable).filter(|value| !value.is_empty());
                if let Some(value) = value.filter(|_| spec.kind == kind && !has_own) {
                    let attribute = spec.attributes.entry(key.to_owned());
                    attribute.or_insert_with(|| value.clone());
                }
            }
        }
        self
    }

    /// Finds the manifest of a cache in a folder; `false` when it is not there, which is no error.
    fn local_import(&mut self, spec: &mut CacheSpec, here: &Path) -> Result<bool, UsageError> {
        let attributes = &mut spec.attributes;
        let Some(src) = attributes.get("src").filter(|src| !src.is_empty()).cloned() else {
            return Err(UsageError::plain("local cache importer requires src"));
        };
        let folder = here.join(&src);
        if !attributes.contains_key("digest") {
            let tag = attributes.get("tag").map_or("latest", String::as_str);
            match layout::tagged(&folder, tag) {
                Ok(digest) => {
                    attributes.insert("digest".to_owned(), digest.to_string());
                }
                Err(what) => {
                    self.notes
                        .push(format!("local cache {src} is not used: {what}"));
                    return Ok(false);
                }
            }
        }
        self.folders.insert(src, folder);
        Ok(true)
    }

    fn local_export(&mut self, spec: &mut CacheSpec, here: &Path) -> Result<(), UsageError> {
        let attributes = &spec.attributes;
        let Some(dest) = attributes.get("dest").filter(|dest| !dest.is_empty()) else {
            return Err(UsageError::plain("local cache exporter requires dest"));
        };
        let reset = match attributes.get("reset").map(String::as_str) {
            None | Some("false" | "0" | "f" | "F" | "FALSE" | "False") => false,
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") => true,
            Some(other) => {
                let what = format!("failed to parse reset attribute: {other:?}");
                return Err(UsageError::plain(what));
            }
        };
        let folder = here.join(dest);
        self.indexes.push(CacheIndex {
            folder: folder.clone(),
            tag: attributes
                .get("tag")
                .map_or("latest", String::as_str)
                .to_owned(),
            reset,
        });
        self.folders.insert(dest.clone(), folder);
        Ok(())
    }
}

impl CacheIndex {
    /// Names the cache that a build has written.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub(in crate::command) fn write(&self, response: &ExportResponse) -> io::Result<()> {
        let Some(text) = response.get("cache.manifest") else {
            // There was nothing to write.
            return Ok(());
        };
        let mut root: Descriptor = serde_json::from_str(text)?;
        root.annotations
            .insert(REF_NAME.to_owned(), self.tag.clone());
        let mut entries = match self.reset {
            true => Vec::new(),
            false => self.entries()?,
        };
        let is_tagged = |entry: &Descriptor| entry.annotations.get(REF_NAME) == Some(&self.tag);
        entries.retain(|entry| !is_tagged(entry));
        let kept = root.clone();
        entries.push(root);
        let index = Index::new(media_type::OCI_INDEX, entries);
        let put = |name: &str, bytes: &[u8]| {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(bytes)?;
            set_readable(file.as_file())?;
            file.persist(self.folder.join(name))?;
            io::Result::Ok(())
        };
        put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        put("index.json", &oci::to_json(&index)?)?;
        if self.reset {
            self.keep_only(&kept)?;
        }
        Ok(())
    }

    fn entries(&self) -> io::Result<Vec<Descriptor>> {
        match std::fs::read(self.folder.join("index.json")) {
            Ok(bytes) => {
                let index = Index::parse(media_type::OCI_INDEX, &bytes);
                Ok(index.map_err(io::Error::other)?.manifests)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Removes the blobs that the cache does not have.
    fn keep_only(&self, root: &Descriptor) -> io::Result<()> {
        let blobs = self.folder.join("blobs").join("sha256");
        let bytes = std::fs::read(blobs.join(root.digest.hex()))?;
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(io::Error::other("the cache's manifest is too long"));
        }
        let mut kept = vec![root.digest.hex().to_owned()];
        match oci::Document::parse(&root.media_type, &bytes).map_err(io::Error::other)? {
            oci::Document::Manifest(manifest) => {
                kept.push(manifest.config.digest.hex().to_owned());
                kept.extend(manifest.layers.iter().map(|it| it.digest.hex().to_owned()));
            }
            oci::Document::Index(index) => {
                kept.extend(index.manifests.iter().map(|it| it.digest.hex().to_owned()));
            }
        }
        for entry in std::fs::read_dir(&blobs)? {
            let entry = entry?;
            let is_kept = entry
                .file_name()
                .to_str()
                .is_some_and(|name| kept.iter().any(|k| k == name));
            if !is_kept {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn set_readable(file: &std::fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn caches_are_images_or_have_a_type() {
        let here = Path::new("/here");
        let from = texts(&["host/a:cache", "type=registry,ref=host/b"]);
        let to = texts(&["type=inline", "type=local,dest=c,mode=max,tag=t"]);
        let caches = parse(&from, &to, here).unwrap();
        assert_eq!(caches.imports[0].attributes["ref"], "host/a:cache");
        assert_eq!(caches.imports[1].attributes["ref"], "host/b");
        assert_eq!(caches.exports[0].kind, "inline");
        assert_eq!(caches.exports[1].attributes["mode"], "max");
        assert_eq!(caches.folders["c"], Path::new("/here/c"));
        assert_eq!(caches.indexes[0].tag, "t");
        for bad in ["ref=x", "type=local", "\"a"] {
            assert!(parse(&[], &texts(&[bad]), here).is_err(), "{bad}");
        }
        assert!(parse(&texts(&["type=local"]), &[], here).is_err());
    }

    #[test]
    fn what_caches_need_of_the_environment_is_taken_from_there() {
        let to = texts(&[
            "type=gha,mode=max",
            "type=gha,token=own",
            "type=s3,bucket=b,access_key_id=own",
            "type=registry,ref=host/a",
        ]);
        let variables = [
            ("ACTIONS_RUNTIME_TOKEN", "token"),
            ("ACTIONS_RESULTS_URL", "https://results.example/"),
            ("ACTIONS_CACHE_URL", ""),
            ("AWS_SECRET_ACCESS_KEY", "not the own key's"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let caches = parse(&[], &to, Path::new("/here")).unwrap();
        let caches = caches.with_variables(&variables.into());
        let [first, second, s3, registry] = caches.exports.as_slice() else {
            panic!("{caches:?}");
        };
        assert_eq!(first.attributes["token"], "token");
        assert_eq!(first.attributes["url_v2"], "https://results.example/");
        assert!(!first.attributes.contains_key("url"));
        assert_eq!(second.attributes["token"], "own");
        assert_eq!((s3.attributes.len(), registry.attributes.len()), (2, 1));
    }

    #[test]
    fn a_cache_that_is_not_there_is_a_note_and_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let caches = parse(&texts(&["type=local,src=none"]), &[], folder.path()).unwrap();
        assert_eq!((caches.imports.len(), caches.notes.len()), (0, 1));
    }

    #[test]
    fn an_index_names_the_new_cache_beside_others_unless_it_is_reset() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let manifest = oci::Manifest::new(
            media_type::OCI_MANIFEST,
            Descriptor::of(media_type::OCI_CONFIG, b"config"),
            Vec::new(),
        );
        let bytes = oci::to_json(&manifest).unwrap();
        let root = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        for blob in [&bytes[..], b"config", b"other"] {
            let name = cooper_proto::Digest::sha256_of(blob).hex().to_owned();
            std::fs::write(blobs.join(name), blob).unwrap();
        }
        let told = String::from_utf8(oci::to_json(&root).unwrap()).unwrap();
        let response = [("cache.manifest".to_owned(), told)].into();
        let index = |tag: &str, reset| CacheIndex {
            folder: folder.path().to_path_buf(),
            tag: tag.to_owned(),
            reset,
        };
        index("a", false).write(&response).unwrap();
        index("b", false).write(&response).unwrap();
        index("b", false).write(&response).unwrap();
        assert_eq!(index("", false).entries().unwrap().len(), 2);
        assert_eq!(layout::tagged(folder.path(), "b").unwrap(), root.digest);
        index("c", true).write(&response).unwrap();
        assert_eq!(index("", false).entries().unwrap().len(), 1);
        assert_eq!(std::fs::read_dir(&blobs).unwrap().count(), 2);
    }
}
