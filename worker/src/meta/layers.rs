use std::collections::{BTreeMap, BTreeSet};

use cooper_core::model::ResultId;
use cooper_proto::Digest;
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    LayerId, Meta, MetaError, ResultInfo,
    images::parse_digest,
    record::{BlobRecord, LayerRecord, OriginRecord, Record},
    results,
    store::Records,
};

const LAYERS: Records = TableDefinition::new("layers");
/// Diff id to the layer that has it.
const BY_DIFF_ID: TableDefinition<'static, &'static str, &'static str> =
    TableDefinition::new("layers_by_diff_id");
/// (diff id, compression) to the blob that is its compressed form.
const BLOBS: TableDefinition<'static, (&'static str, &'static str), &'static [u8]> =
    TableDefinition::new("layer_blobs");

pub(super) fn make(transaction: &WriteTransaction) -> Result<(), MetaError> {
    transaction.open_table(LAYERS)?;
    transaction.open_table(BY_DIFF_ID)?;
    transaction.open_table(BLOBS)?;
    Ok(())
}

/// What is known of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// Its id, which is also the name of its directory.
    pub id: LayerId,
    /// When it was made, in nanoseconds since 1970.
    pub created_ns: u64,
    /// Whether its directory is there. A layer of an image has none until it is needed.
    pub unpacked: bool,
    /// The digest of its archive before compression, once somebody computed it.
    pub diff_id: Option<Digest>,
    /// How many bytes its directory takes, 0 when nobody counted.
    pub size: u64,
    /// What made it, for people.
    pub description: String,
    /// The state that it was made on, whose changes its archive says; none for a layer of an
    /// image.
    pub parent: Option<ResultId>,
    /// Where its bytes can be had, for a layer of an image.
    pub origin: Option<LayerOrigin>,
    /// What its directory means on top of other states than the one it was made on.
    pub form: LayerForm,
    /// Directories whose attributes are still to be taken from the layers below.
    pub implied: Vec<String>,
}

/// What a layer's directory means on top of another state than the one it was made on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerForm {
    /// The same: it deletes by name.
    #[default]
    Plain,
    /// More: a directory in it is opaque and hides whatever is below, also what it was not meant
    /// to hide.
    Opaque,
    /// The same, though it stands for an opaque layer and shares that one's archive. It serves
    /// the state it was made for and is not found by its diff id.
    Explicit,
}

/// Where the archive of a layer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerOrigin {
    /// The archive's blob.
    pub blob: LayerBlob,
    /// From where to fetch it, in the words of who fetches.
    pub source: String,
    /// The descriptor's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Where else its bytes may be had, for a layer that registries do not keep.
    pub urls: Vec<String>,
}

/// An archive of a layer in the content store, or in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// Media type, which says how it is compressed.
    pub media_type: String,
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Size of the compressed bytes.
    pub size: u64,
}

impl LayerInfo {
    /// A layer whose directory was just made.
    #[must_use]
    pub fn new(id: LayerId, description: &str, size: u64, now_ns: u64) -> Self {
        Self {
            id,
            created_ns: now_ns,
            unpacked: true,
            diff_id: None,
            size,
            description: description.to_owned(),
            parent: None,
            origin: None,
            form: LayerForm::Plain,
            implied: Vec::new(),
        }
    }

    fn decode(id: &str, bytes: &[u8]) -> Result<Self, MetaError> {
        let record = LayerRecord::decode(bytes)?;
        let digest = |text: &String| parse_digest(LayerRecord::KIND, text);
        let origin = record.origin.map(|it| -> Result<_, MetaError> {
            Ok(LayerOrigin {
                blob: LayerBlob {
                    digest: digest(&it.digest)?,
                    media_type: it.media_type,
                    size: it.size,
                },
                source: it.source,
                annotations: it.annotations,
                urls: it.urls,
            })
        });
        Ok(Self {
            id: parse_id(LayerRecord::KIND, id)?,
            created_ns: record.created_ns,
            unpacked: record.unpacked,
            diff_id: record.diff_id.as_ref().map(digest).transpose()?,
            size: record.size,
            description: record.description,
            parent: record.parent.map(ResultId),
            origin: origin.transpose()?,
            form: record.form,
            implied: record.implied,
        })
    }

    fn encode(&self) -> Vec<u8> {
        LayerRecord {
            created_ns: self.created_ns,
            unpacked: self.unpacked,
            diff_id: self.diff_id.as_ref().map(ToString::to_string),
            size: self.size,
            description: self.description.clone(),
            parent: self.parent.as_ref().map(|it| it.0.clone()),
            origin: self.origin.as_ref().map(|it| OriginRecord {
                media_type: it.blob.media_type.clone(),
                digest: it.blob.digest.to_string(),
                size: it.blob.size,
                source: it.source.clone(),
                annotations: it.annotations.clone(),
                urls: it.urls.clone(),
            }),
            form: self.form,
            implied: self.implied.clone(),
        }
        .encode()
    }
}

impl Meta {
    /// The layer's record.
    ///
    /// # Errors
    /// [`MetaError::NoLayer`], or the store's failure.
    pub fn layer(&self, id: &LayerId) -> Result<LayerInfo, MetaError> {
        self.look(|view| {
            let table = view.open_table(LAYERS)?;
            match table.get(id.as_str())? {
                Some(found) => LayerInfo::decode(id.as_str(), found.value()),
                None => Err(MetaError::NoLayer(id.clone())),
            }
        })
    }

    /// Every layer, in the order of their ids.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn layers(&self) -> Result<Vec<LayerInfo>, MetaError> {
        self.look(|view| {
            let table = view.open_table(LAYERS)?;
            table
                .iter()?
                .map(|entry| {
                    let (id, value) = entry?;
                    LayerInfo::decode(id.value(), value.value())
                })
                .collect()
        })
    }

    /// The layer whose archive has this diff id.
    ///
    /// # Errors
    /// When the store fails or the record is damaged.
    pub fn layer_by_diff_id(&self, diff_id: &Digest) -> Result<Option<LayerInfo>, MetaError> {
        self.look(|view| {
            let index = view.open_table(BY_DIFF_ID)?;
            let Some(id) = index.get(diff_id.as_str())? else {
                return Ok(None);
            };
            let layers = view.open_table(LAYERS)?;
            layers
                .get(id.value())?
                .map(|found| LayerInfo::decode(id.value(), found.value()))
                .transpose()
        })
    }

    /// Keeps or replaces a layer's record.
    ///
    /// # Errors
    /// When the store fails.
    pub fn save_layer(&self, info: LayerInfo) -> Result<(), MetaError> {
        self.write(move |tables| put(tables.transaction(), &info))
    }

    /// Notes where a layer that was not fetched yet can be had now.
    ///
    /// # Errors
    /// [`MetaError::NoLayer`], or the store's failure.
    pub fn save_layer_origin(&self, id: &LayerId, origin: LayerOrigin) -> Result<(), MetaError> {
        let id = id.clone();
        self.write(move |tables| {
            let mut info = require(tables.transaction(), &id)?;
            info.origin = Some(origin.clone());
            put(tables.transaction(), &info)
        })
    }

    /// Keeps the record of a layer that was just made and the result on top of which it is,
    /// in one step, and pins the result once.
    ///
    /// # Errors
    /// [`MetaError::NoLayer`] when a layer below it has no record.
    pub fn save_layer_and_result(
        &self,
        layer: LayerInfo,
        result: ResultInfo,
    ) -> Result<(), MetaError> {
        let id = result.id.clone();
        self.pins().pin(&id);
        let saved = self.write(move |tables| {
            put(tables.transaction(), &layer)?;
            results::put_new(tables.transaction(), &result)
        });
        if saved.is_err() {
            self.pins().unpin(&id);
        }
        saved
    }

    /// The compressed form of the layer with this diff id.
    ///
    /// # Errors
    /// When the store fails or the record is damaged.
    pub fn layer_blob(
        &self,
        diff_id: &Digest,
        compression: &str,
    ) -> Result<Option<LayerBlob>, MetaError> {
        self.look(|view| {
            let table = view.open_table(BLOBS)?;
            let Some(found) = table.get((diff_id.as_str(), compression))? else {
                return Ok(None);
            };
            let record = BlobRecord::decode(found.value())?;
            Ok(Some(LayerBlob {
                digest: parse_digest(BlobRecord::KIND, &record.digest)?,
                media_type: record.media_type,
                size: record.size,
            }))
        })
    }

    /// Remembers a compressed form of a layer, and with `layer` that the layer has this diff
    /// id.
    ///
    /// # Errors
    /// [`MetaError::NoLayer`], or the store's failure.
    pub fn save_layer_blob(
        &self,
        diff_id: &Digest,
        compression: &str,
        blob: &LayerBlob,
        layer: Option<&LayerId>,
    ) -> Result<(), MetaError> {
        let (diff_id, compression) = (diff_id.clone(), compression.to_owned());
        let layer = layer.cloned();
        let record = BlobRecord {
            media_type: blob.media_type.clone(),
            digest: blob.digest.to_string(),
            size: blob.size,
        };
        self.write(move |tables| {
            let transaction = tables.transaction();
            if let Some(layer) = &layer {
                let mut info = require(transaction, layer)?;
                info.diff_id = Some(diff_id.clone());
                put(transaction, &info)?;
            }
            transaction.open_table(BLOBS)?.insert(
                (diff_id.as_str(), compression.as_str()),
                record.encode().as_slice(),
            )?;
            Ok(())
        })
    }

    /// The blobs that are kept as forms of layers, by diff id.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn layer_blobs(&self) -> Result<BTreeMap<Digest, Vec<Digest>>, MetaError> {
        self.look(|view| {
            let table = view.open_table(BLOBS)?;
            let mut forms: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
            for entry in table.iter()? {
                let (at, value) = entry?;
                let diff_id = parse_digest(BlobRecord::KIND, at.value().0)?;
                let blob =
                    parse_digest(BlobRecord::KIND, &BlobRecord::decode(value.value())?.digest)?;
                forms.entry(diff_id).or_default().push(blob);
            }
            Ok(forms)
        })
    }

    /// Layers that no result has: what garbage collection may remove when no operation is
    /// between making a layer and keeping its result.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn unreferenced_layers(&self) -> Result<Vec<LayerInfo>, MetaError> {
        self.look(|view| {
            let used = results::referenced(&view.open_table(results::table())?)?;
            let table = view.open_table(LAYERS)?;
            let mut unused = Vec::new();
            for entry in table.iter()? {
                let (id, value) = entry?;
                let info = LayerInfo::decode(id.value(), value.value())?;
                if !used.contains(&info.id) {
                    unused.push(info);
                }
            }
            Ok(unused)
        })
    }

    /// Removes the records of layers that still no result has, and returns those ids. Their
    /// directories are the caller's to remove, afterwards.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn remove_layers(&self, ids: Vec<LayerId>) -> Result<Vec<LayerId>, MetaError> {
        self.write(move |tables| {
            let transaction = tables.transaction();
            let used = results::referenced(&transaction.open_table(results::table())?)?;
            let mut removed = Vec::new();
            for id in ids.iter().filter(|id| !used.contains(*id)) {
                if take(transaction, id)? {
                    removed.push(id.clone());
                }
            }
            if !removed.is_empty() {
                forget_stray_blobs(transaction)?;
            }
            Ok(removed)
        })
    }
}

fn put(transaction: &WriteTransaction, info: &LayerInfo) -> Result<(), MetaError> {
    if let Some(diff_id) = &info.diff_id
        && info.form != LayerForm::Explicit
    {
        let mut index = transaction.open_table(BY_DIFF_ID)?;
        // Only who unpacked it knows that the diff id is true; what an image merely says gives
        // way to that.
        let taken = index.get(diff_id.as_str())?.is_some();
        if info.unpacked || !taken {
            index.insert(diff_id.as_str(), info.id.as_str())?;
        }
    }
    transaction
        .open_table(LAYERS)?
        .insert(info.id.as_str(), info.encode().as_slice())?;
    Ok(())
}

/// Forms are known by diff id, which several layers may have: they go with the last of them.
fn forget_stray_blobs(transaction: &WriteTransaction) -> Result<(), MetaError> {
    let mut known = BTreeSet::new();
    for entry in transaction.open_table(LAYERS)?.iter()? {
        let (id, value) = entry?;
        known.extend(LayerInfo::decode(id.value(), value.value())?.diff_id);
    }
    let has_layer = |diff_id: &str| diff_id.parse().is_ok_and(|it: Digest| known.contains(&it));
    transaction
        .open_table(BLOBS)?
        .retain(|(diff_id, _), _| has_layer(diff_id))?;
    Ok(())
}

fn take(transaction: &WriteTransaction, id: &LayerId) -> Result<bool, MetaError> {
    let mut table = transaction.open_table(LAYERS)?;
    let Some(info) = table
        .remove(id.as_str())?
        .map(|it| LayerInfo::decode(id.as_str(), it.value()))
        .transpose()?
    else {
        return Ok(false);
    };
    if let Some(diff_id) = info.diff_id {
        let mut index = transaction.open_table(BY_DIFF_ID)?;
        let is_this = index
            .get(diff_id.as_str())?
            .is_some_and(|it| it.value() == id.as_str());
        if is_this {
            index.remove(diff_id.as_str())?;
        }
    }
    Ok(true)
}

/// The layer's record in a write transaction.
pub(super) fn require(
    transaction: &WriteTransaction,
    id: &LayerId,
) -> Result<LayerInfo, MetaError> {
    let table = transaction.open_table(LAYERS)?;
    let found = table.get(id.as_str())?;
    match found {
        Some(found) => LayerInfo::decode(id.as_str(), found.value()),
        None => Err(MetaError::NoLayer(id.clone())),
    }
}

pub(super) fn parse_id(kind: &'static str, text: &str) -> Result<LayerId, MetaError> {
    LayerId::parse(text).ok_or_else(|| MetaError::Record {
        kind,
        reason: format!("{text:?} is no layer id"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> (tempfile::TempDir, Meta) {
        let dir = tempfile::tempdir().unwrap();
        let meta = Meta::open(&dir.path().join("meta.redb")).unwrap();
        (dir, meta)
    }

    fn layer(diff_id: Option<&str>) -> LayerInfo {
        LayerInfo {
            diff_id: diff_id.map(Digest::sha256_of),
            ..LayerInfo::new(LayerId::random(), "RUN x", 3, 7)
        }
    }

    #[test]
    fn a_result_keeps_its_layers_and_its_pin_keeps_the_result() {
        let (_dir, meta) = meta();
        let (a, b) = (layer(Some("a")), layer(None));
        meta.save_layer(a.clone()).unwrap();
        let result = ResultInfo::new(vec![a.id.clone(), b.id.clone()], "RUN x", 7);
        let without_b = meta.save_result(result.clone());
        assert!(matches!(without_b, Err(MetaError::NoLayer(_))));
        assert!(!meta.pins().is_pinned(&result.id));

        meta.save_layer_and_result(b.clone(), result.clone())
            .unwrap();
        assert_eq!(meta.result(&result.id).unwrap(), result);
        assert_eq!(meta.remove_results(vec![result.id.clone()]).unwrap(), []);
        assert_eq!(meta.remove_layers(vec![a.id.clone()]).unwrap(), []);
        assert_eq!(meta.unreferenced_layers().unwrap(), []);

        meta.pins().unpin(&result.id);
        assert_eq!(
            meta.remove_results(vec![result.id.clone()]).unwrap(),
            [result.id]
        );
        assert_eq!(meta.unreferenced_layers().unwrap().len(), 2);
        let ids = vec![a.id.clone(), b.id.clone()];
        assert_eq!(meta.remove_layers(ids.clone()).unwrap(), ids);
        assert_eq!(
            meta.layer_by_diff_id(&Digest::sha256_of("a")).unwrap(),
            None
        );
    }

    #[test]
    fn a_compressed_form_is_found_by_diff_id_and_compression() {
        let (_dir, meta) = meta();
        let a = layer(None);
        meta.save_layer(a.clone()).unwrap();
        let diff_id = Digest::sha256_of("tar");
        let blob = LayerBlob {
            media_type: String::from("application/vnd.oci.image.layer.v1.tar+gzip"),
            digest: Digest::sha256_of("gzip"),
            size: 4,
        };
        meta.save_layer_blob(&diff_id, "gzip", &blob, Some(&a.id))
            .unwrap();
        assert_eq!(meta.layer_blob(&diff_id, "gzip").unwrap(), Some(blob));
        assert_eq!(meta.layer_blob(&diff_id, "zstd").unwrap(), None);
        assert_eq!(meta.layer_by_diff_id(&diff_id).unwrap().unwrap().id, a.id);
    }

    #[test]
    fn the_empty_result_is_always_there_and_an_unknown_one_never() {
        let (_dir, meta) = meta();
        let scratch = meta.result(&ResultId::scratch()).unwrap();
        assert!(scratch.layers.is_empty());
        let unknown = ResultId(String::from("no"));
        assert!(matches!(
            meta.result(&unknown),
            Err(MetaError::NoResult(id)) if id == unknown
        ));
    }
}
