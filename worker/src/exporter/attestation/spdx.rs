use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use cooper_core::model::{Failure, SPDX_PREDICATE};
use cooper_proto::Digest;
use serde_json::{Value, json};

use super::super::image_layers::WrittenLayer;
use super::read::Said;
use crate::confine::{Kind, Last, Root};
use crate::snapshot::Snapshots;

/// Says of each file in an SPDX document which layer of the image it is in, where nothing else is said of it. What
/// cannot be read as such a document stays as it is. Blocks.
pub(super) fn supplement(
    said: &mut Said,
    snapshots: &Snapshots,
    layers: &[WrittenLayer],
) -> Result<(), Failure> {
    if said.predicate_type != SPDX_PREDICATE || !said.is_core() {
        return Ok(());
    }
    let version = said.predicate.get("spdxVersion").and_then(Value::as_str);
    if !version.is_some_and(|version| version.starts_with("SPDX-2.")) {
        return Ok(());
    }
    let mut finder = Finder {
        // What is found in an upper layer hides what is below.
        layers: layers.iter().rev().collect(),
        snapshots,
        roots: BTreeMap::new(),
    };
    let files = said.predicate.get_mut("files");
    for file in files.and_then(Value::as_array_mut).into_iter().flatten() {
        let has_comment = file.get("comment").and_then(Value::as_str);
        if has_comment.is_some_and(|comment| !comment.is_empty()) {
            continue;
        }
        let name = file.get("fileName").and_then(Value::as_str);
        let found = name.and_then(|name| finder.find(name));
        if let (Some(digest), Some(fields)) = (found, file.as_object_mut()) {
            fields.insert("comment".to_owned(), format!("layerID: {digest}").into());
        }
    }
    if let Some(document) = said.predicate.as_object_mut() {
        let creation = document
            .entry("creationInfo")
            .or_insert_with(|| json!({"creators": []}));
        if let Some(creators) = creation
            .as_object_mut()
            .map(|it| it.entry("creators").or_insert_with(|| json!([])))
            .and_then(Value::as_array_mut)
        {
            creators.push(json!(format!("Tool: cooper-{}", env!("CARGO_PKG_VERSION"))));
        }
    }
    Ok(())
}

struct Finder<'a> {
    layers: Vec<&'a WrittenLayer>,
    snapshots: &'a Snapshots,
    roots: BTreeMap<usize, Option<Root>>,
}

impl Finder<'_> {
    /// The digest of the topmost layer that made a file.
    fn find(&mut self, name: &str) -> Option<Digest> {
        let path = cleaned(name);
        for (index, layer) in self.layers.iter().enumerate() {
            let root = self.roots.entry(index).or_insert_with(|| {
                let folder = self.snapshots.layer_dir(&layer.layer);
                Root::open(&folder).ok()
            });
            let found = root.as_ref()?.metadata(&path, Last::NoFollow);
            // A character device that is none is how a layer deletes.
            let is_there =
                found.is_ok_and(|it| it.kind != Kind::CharDevice || it.special_device != 0);
            if is_there {
                return Some(layer.descriptor.digest.clone());
            }
        }
        None
    }
}

/// The path from the root, without `.` and `..`.
fn cleaned(name: &str) -> PathBuf {
    let mut path = PathBuf::from("/");
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => drop(path.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path
}
