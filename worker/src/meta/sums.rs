use cooper_core::model::ResultId;
use redb::{TableDefinition, WriteTransaction};

use super::{Meta, MetaError, store::Records};

const SUMS: Records = TableDefinition::new("content_sums");

pub(super) fn make(transaction: &WriteTransaction) -> Result<(), MetaError> {
    transaction.open_table(SUMS)?;
    Ok(())
}

impl Meta {
    /// What was kept by [`Self::save_content_sums`] for the result.
    ///
    /// # Errors
    /// When the store fails.
    pub fn content_sums(&self, result: &ResultId) -> Result<Option<Vec<u8>>, MetaError> {
        self.look(|view| {
            let table = view.open_table(SUMS)?;
            Ok(table.get(result.0.as_str())?.map(|it| it.value().to_vec()))
        })
    }

    /// Keeps the content sums that were computed of a result, in their own encoding, until the
    /// result is removed.
    ///
    /// # Errors
    /// When the store fails.
    pub fn save_content_sums(&self, result: &ResultId, sums: Vec<u8>) -> Result<(), MetaError> {
        let result = result.clone();
        self.write(move |tables| {
            let mut table = tables.transaction().open_table(SUMS)?;
            table.insert(result.0.as_str(), sums.as_slice())?;
            Ok(())
        })
    }
}

pub(super) fn forget(transaction: &WriteTransaction, result: &ResultId) -> Result<(), MetaError> {
    transaction.open_table(SUMS)?.remove(result.0.as_str())?;
    Ok(())
}
