use std::io::{self, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_core::ports::ExportResponse;
use cooper_proto::oci::{self, Descriptor, Index, media_type};
use cooper_proto::reference::Reference;

/// The annotation for a tag (OCI image specification, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation for a whole name, which containerd and its kin read.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// Writes down which image an OCI layout has whose blobs have arrived. What others have put there stays, unless it has
/// the same name.
///
/// # Errors
/// When the folder cannot be written, or the build says of no image.
pub(in crate::command) fn write(folder: &Path, response: &ExportResponse) -> io::Result<()> {
    let told = response.get("containerimage.descriptor");
    let told = told.ok_or_else(|| io::Error::other("the build says of no image"))?;
    let bytes = STANDARD.decode(told).map_err(io::Error::other)?;
    let root: Descriptor = serde_json::from_slice(&bytes)?;
    let names = response.get("image.name").map_or("", String::as_str);
    let named: Vec<Descriptor> = match names {
        "" => vec![root],
        names => names
            .split(',')
            .map(|name| annotated(root.clone(), name))
            .collect(),
    };
    let mut entries = match std::fs::read(folder.join("index.json")) {
        Ok(bytes) => {
            let index = Index::parse(media_type::OCI_INDEX, &bytes);
            index.map_err(io::Error::other)?.manifests
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    for new in named {
        let same = |old: &Descriptor| match new.annotations.get(IMAGE_NAME) {
            Some(name) => old.annotations.get(IMAGE_NAME) == Some(name),
            None => old.digest == new.digest && !old.annotations.contains_key(IMAGE_NAME),
        };
        entries.retain(|old| !same(old));
        entries.push(new);
    }
    let index = Index::new(media_type::OCI_INDEX, entries);
    put(folder, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    put(folder, "index.json", &oci::to_json(&index)?)
}

fn annotated(mut root: Descriptor, name: &str) -> Descriptor {
    let tag = name.parse::<Reference>().ok();
    let tag = tag
        .as_ref()
        .and_then(|reference| reference.tag().map(str::to_owned));
    root.annotations
        .insert(IMAGE_NAME.to_owned(), name.to_owned());
    root.annotations
        .insert(REF_NAME.to_owned(), tag.unwrap_or_else(|| name.to_owned()));
    root
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(folder.join(name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_names_the_image_beside_others() {
        let folder = tempfile::tempdir().unwrap();
        let response = |content: &[u8], name: &str| {
            let root = Descriptor::of(media_type::OCI_MANIFEST, content);
            let told = STANDARD.encode(oci::to_json(&root).unwrap());
            ExportResponse::from([
                ("containerimage.descriptor".to_owned(), told),
                ("image.name".to_owned(), name.to_owned()),
            ])
        };
        let write =
            |content: &[u8], name: &str| write(folder.path(), &response(content, name)).unwrap();
        write(b"a", "docker.io/library/a:1,docker.io/library/a:2");
        write(b"b", "docker.io/library/a:1");
        let bytes = std::fs::read(folder.path().join("index.json")).unwrap();
        let index = Index::parse(media_type::OCI_INDEX, &bytes).unwrap();
        let tags: Vec<_> = index
            .manifests
            .iter()
            .map(|m| m.annotations[REF_NAME].as_str())
            .collect();
        assert_eq!(tags, ["2", "1"]);
        assert_eq!(
            index.manifests[1].digest,
            cooper_proto::Digest::sha256_of("b")
        );
        assert!(super::write(folder.path(), &ExportResponse::new()).is_err());
    }
}
