use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cooper_proto::Digest;
use cooper_proto::oci::{Descriptor, Index, MAX_DOCUMENT_BYTES, media_type};

/// The annotation by which layouts name what they hold (OCI image specification, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image of an OCI layout on this machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LayoutImage {
    /// The layout's folder.
    pub(super) folder: PathBuf,
    /// The image's manifest or index.
    pub(super) digest: Digest,
}

/// Finds the image that `PATH[:TAG][@DIGEST]` names. Without either, it is the one tagged `latest` or else the only
/// one.
///
/// # Errors
/// What is wrong, in words that follow a colon.
pub(super) fn find(text: &str, here: &Path) -> Result<LayoutImage, String> {
    let (place, digest) = match text.split_once('@') {
        Some((place, digest)) => {
            let digest = digest.parse::<Digest>();
            (place, Some(digest.map_err(|error| error.to_string())?))
        }
        None => (text, None),
    };
    let (path, tag) = match place.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (place, None),
    };
    let folder = here.join(path);
    let digest = match digest {
        Some(digest) => digest,
        None => choose(&read_index(&folder)?, tag)?,
    };
    Ok(LayoutImage { folder, digest })
}

/// The digest of what has exactly this tag in a layout.
///
/// # Errors
/// What is wrong, in words that follow a colon.
pub(super) fn tagged(folder: &Path, tag: &str) -> Result<Digest, String> {
    let index = read_index(folder)?;
    let is_tagged =
        |entry: &&Descriptor| entry.annotations.get(REF_NAME).map(String::as_str) == Some(tag);
    let found = index.manifests.iter().find(is_tagged);
    found
        .map(|entry| entry.digest.clone())
        .ok_or_else(|| format!("no digest found for tag {tag}"))
}

fn read_index(folder: &Path) -> Result<Index, String> {
    let path = folder.join("index.json");
    let shown = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(|error| shown(&error))?;
    file.take(MAX_DOCUMENT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| shown(&error))?;
    Index::parse(media_type::OCI_INDEX, &bytes).map_err(|error| shown(&error))
}

fn choose(index: &Index, tag: Option<&str>) -> Result<Digest, String> {
    let wanted = tag.unwrap_or("latest");
    let is_tagged = |entry: &&Descriptor| {
        let name = entry.annotations.get(REF_NAME);
        name.is_some_and(|name| name == wanted || name.ends_with(&format!(":{wanted}")))
    };
    let tagged = index.manifests.iter().find(is_tagged);
    match (tagged, tag, index.manifests.as_slice()) {
        (Some(entry), _, _) | (None, None, [entry]) => Ok(entry.digest.clone()),
        (None, Some(tag), _) => Err(format!("the layout has no image tagged {tag}")),
        (None, None, all) => {
            let count = all.len();
            Err(format!(
                "the layout has {count} images; say which by its tag or digest"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let manifests = entries
            .iter()
            .map(|(content, name)| {
                let mut entry = Descriptor::of(media_type::OCI_MANIFEST, content.as_bytes());
                if !name.is_empty() {
                    entry.annotations.insert(REF_NAME.into(), (*name).into());
                }
                entry
            })
            .collect();
        let index = Index::new(media_type::OCI_INDEX, manifests);
        std::fs::write(dir.path().join("index.json"), index.to_bytes().unwrap()).unwrap();
        dir
    }

    #[test]
    fn an_image_is_found_by_digest_tag_or_being_the_only_one() {
        let several = layout(&[("a", "one"), ("b", "example.com/x:two"), ("c", "latest")]);
        let find = |text: &str| find(text, several.path()).map(|it| it.digest);
        assert_eq!(find(".:one"), Ok(Digest::sha256_of("a")));
        assert_eq!(find(".:two"), Ok(Digest::sha256_of("b")));
        assert_eq!(find("."), Ok(Digest::sha256_of("c")));
        let other = Digest::sha256_of("other");
        assert_eq!(find(&format!("./x@{other}")), Ok(other));
        assert!(find(".:three").is_err());
        assert!(find(".@sha256:../x").is_err());
        let only = layout(&[("a", "")]);
        let found = super::find("", only.path()).unwrap();
        assert_eq!(found.digest, Digest::sha256_of("a"));
        let two = layout(&[("a", ""), ("b", "")]);
        assert!(super::find("", two.path()).is_err());
    }
}
