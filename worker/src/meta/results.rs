use std::collections::{BTreeMap, HashSet};

use cooper_core::model::ResultId;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{
    LayerId, Meta, MetaError, chain_result_id,
    record::{Record, ResultRecord},
    store::Records,
};

const RESULTS: Records = TableDefinition::new("results");

pub(super) fn make(transaction: &WriteTransaction) -> Result<(), MetaError> {
    transaction.open_table(RESULTS)?;
    Ok(())
}

/// A file-system state that the worker keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultInfo {
    /// Its id, which follows from its chain.
    pub id: ResultId,
    /// Its layers, the bottom one first.
    pub layers: Vec<LayerId>,
    /// What made it, for people.
    pub description: String,
    /// What kind of record it is for garbage collection: `regular`, `source.local`, ...
    pub record_type: String,
    /// When it was made, in nanoseconds since 1970.
    pub created_ns: u64,
    /// When it was last used, in nanoseconds since 1970.
    pub last_used_ns: u64,
    /// How often it was used.
    pub usage_count: u64,
}

/// How a result was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResultUse {
    /// When last, in nanoseconds since 1970.
    pub last_ns: u64,
    /// How often.
    pub times: u64,
}

impl ResultInfo {
    /// A chain that was just made.
    #[must_use]
    pub fn new(layers: Vec<LayerId>, description: &str, now_ns: u64) -> Self {
        Self {
            id: chain_result_id(&layers),
            layers,
            description: description.to_owned(),
            record_type: String::from("regular"),
            created_ns: now_ns,
            last_used_ns: now_ns,
            usage_count: 0,
        }
    }

    fn scratch() -> Self {
        Self::new(Vec::new(), "", 0)
    }

    fn decode(id: &str, bytes: &[u8]) -> Result<Self, MetaError> {
        let record = ResultRecord::decode(bytes)?;
        let layers = record
            .layers
            .iter()
            .map(|text| super::layers::parse_id(ResultRecord::KIND, text))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            id: ResultId(id.to_owned()),
            layers,
            description: record.description,
            record_type: record.record_type,
            created_ns: record.created_ns,
            last_used_ns: record.last_used_ns,
            usage_count: record.usage_count,
        })
    }

    fn encode(&self) -> Vec<u8> {
        ResultRecord {
            layers: self.layers.iter().map(ToString::to_string).collect(),
            created_ns: self.created_ns,
            last_used_ns: self.last_used_ns,
            usage_count: self.usage_count,
            description: self.description.clone(),
            record_type: self.record_type.clone(),
        }
        .encode()
    }
}

impl Meta {
    /// The result's record; scratch always has one.
    ///
    /// # Errors
    /// [`MetaError::NoResult`], or the store's failure.
    pub fn result(&self, id: &ResultId) -> Result<ResultInfo, MetaError> {
        if id.is_scratch() {
            return Ok(ResultInfo::scratch());
        }
        self.look(|view| {
            let table = view.open_table(RESULTS)?;
            match table.get(id.0.as_str())? {
                Some(found) => ResultInfo::decode(&id.0, found.value()),
                None => Err(MetaError::NoResult(id.clone())),
            }
        })
    }

    /// Every result, in the order of their ids.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn results(&self) -> Result<Vec<ResultInfo>, MetaError> {
        self.look(|view| {
            let table = view.open_table(RESULTS)?;
            table
                .iter()?
                .map(|entry| {
                    let (id, value) = entry?;
                    ResultInfo::decode(id.value(), value.value())
                })
                .collect()
        })
    }

    /// Keeps a result whose layers have records, and pins it once before anybody could
    /// remove it. A chain that is known stays as it was described first.
    ///
    /// # Errors
    /// [`MetaError::NoLayer`] for a layer without a record.
    pub fn save_result(&self, info: ResultInfo) -> Result<ResultId, MetaError> {
        let id = info.id.clone();
        self.pins().pin(&id);
        let saved = self.write(move |tables| put_new(tables.transaction(), &info));
        if let Err(error) = saved {
            self.pins().unpin(&id);
            return Err(error);
        }
        Ok(id)
    }

    /// Notes how results were used. Those that are gone are passed over.
    ///
    /// # Errors
    /// When the store fails.
    pub fn touch_results(&self, uses: BTreeMap<ResultId, ResultUse>) -> Result<(), MetaError> {
        if uses.is_empty() {
            return Ok(());
        }
        self.write(move |tables| {
            let mut table = tables.transaction().open_table(RESULTS)?;
            for (id, news) in &uses {
                let found = table.get(id.0.as_str())?;
                let Some(mut info) = found
                    .map(|it| ResultInfo::decode(&id.0, it.value()))
                    .transpose()?
                else {
                    continue;
                };
                info.last_used_ns = info.last_used_ns.max(news.last_ns);
                info.usage_count += news.times;
                table.insert(id.0.as_str(), info.encode().as_slice())?;
            }
            Ok(())
        })
    }

    /// Removes results that nobody pins, with what was computed of them. Returns the ids
    /// that are gone. Their layers stay until [`Self::unreferenced_layers`] says that no
    /// result has them.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove_results(&self, ids: Vec<ResultId>) -> Result<Vec<ResultId>, MetaError> {
        let pins = self.pins().clone();
        self.write(move |tables| {
            let mut removed = Vec::new();
            for id in &ids {
                if !pins.is_pinned(id) && take(tables.transaction(), id)? {
                    removed.push(id.clone());
                }
            }
            Ok(removed)
        })
    }
}

fn take(transaction: &WriteTransaction, id: &ResultId) -> Result<bool, MetaError> {
    super::sums::forget(transaction, id)?;
    let mut table = transaction.open_table(RESULTS)?;
    Ok(table.remove(id.0.as_str())?.is_some())
}

pub(super) fn put_new(transaction: &WriteTransaction, info: &ResultInfo) -> Result<(), MetaError> {
    if info.layers.is_empty() {
        return Ok(());
    }
    for layer in &info.layers {
        super::layers::require(transaction, layer)?;
    }
    let mut table = transaction.open_table(RESULTS)?;
    if table.get(info.id.0.as_str())?.is_none() {
        table.insert(info.id.0.as_str(), info.encode().as_slice())?;
    }
    Ok(())
}

/// The layers that some result has.
pub(super) fn referenced(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<HashSet<LayerId>, MetaError> {
    let mut layers = HashSet::new();
    for entry in table.iter()? {
        let (id, value) = entry?;
        layers.extend(ResultInfo::decode(id.value(), value.value())?.layers);
    }
    Ok(layers)
}

pub(super) const fn table() -> Records {
    RESULTS
}
