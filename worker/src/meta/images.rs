use cooper_proto::Digest;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{
    Meta, MetaError,
    record::{ImageRecord, Record},
    store::Records,
};

const IMAGES: Records = TableDefinition::new("images");

pub(super) fn make(transaction: &WriteTransaction) -> Result<(), MetaError> {
    transaction.open_table(IMAGES)?;
    Ok(())
}

/// What an image name points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// The full, normalised name with its tag.
    pub name: String,
    /// Media type of the manifest or index.
    pub media_type: String,
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When the name was first kept, in nanoseconds since 1970.
    pub created_ns: u64,
    /// When it was last pointed somewhere, in nanoseconds since 1970.
    pub updated_ns: u64,
}

impl ImageEntry {
    fn decode(name: &str, bytes: &[u8]) -> Result<Self, MetaError> {
        let record = ImageRecord::decode(bytes)?;
        Ok(Self {
            name: name.to_owned(),
            digest: parse_digest(ImageRecord::KIND, &record.digest)?,
            media_type: record.media_type,
            size: record.size,
            created_ns: record.created_ns,
            updated_ns: record.updated_ns,
        })
    }
}

impl Meta {
    /// What the name points to.
    ///
    /// # Errors
    /// When the store fails or the record is damaged.
    pub fn image(&self, name: &str) -> Result<Option<ImageEntry>, MetaError> {
        self.look(|view| {
            let table = view.open_table(IMAGES)?;
            table
                .get(name)?
                .map(|it| ImageEntry::decode(name, it.value()))
                .transpose()
        })
    }

    /// All names, in order.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn images(&self) -> Result<Vec<ImageEntry>, MetaError> {
        self.look(|view| {
            let table = view.open_table(IMAGES)?;
            table
                .iter()?
                .map(|entry| {
                    let (name, value) = entry?;
                    ImageEntry::decode(name.value(), value.value())
                })
                .collect()
        })
    }

    /// Points a name at a manifest or index. A name that exists keeps its
    /// [`ImageEntry::created_ns`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn save_image(&self, entry: ImageEntry) -> Result<(), MetaError> {
        self.write(move |tables| {
            let mut table = tables.transaction().open_table(IMAGES)?;
            let first = table
                .get(entry.name.as_str())?
                .and_then(|it| ImageRecord::decode(it.value()).ok())
                .map(|record| record.created_ns);
            let record = ImageRecord {
                media_type: entry.media_type.clone(),
                digest: entry.digest.to_string(),
                size: entry.size,
                created_ns: first.unwrap_or(entry.created_ns),
                updated_ns: entry.updated_ns,
            };
            table.insert(entry.name.as_str(), record.encode().as_slice())?;
            Ok(())
        })
    }

    /// Removes a name; `false` when there was none.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove_image(&self, name: &str) -> Result<bool, MetaError> {
        let name = name.to_owned();
        self.write(move |tables| {
            let mut table = tables.transaction().open_table(IMAGES)?;
            Ok(table.remove(name.as_str())?.is_some())
        })
    }
}

pub(super) fn parse_digest(kind: &'static str, text: &str) -> Result<Digest, MetaError> {
    text.parse().map_err(|error| MetaError::Record {
        kind,
        reason: format!("{error}"),
    })
}
