use redb::{TableDefinition, WriteTransaction};

use super::{Meta, MetaError};

const DOCUMENTS: TableDefinition<'static, (&'static str, &'static str), &'static [u8]> =
    TableDefinition::new("documents");

pub(super) fn make(transaction: &WriteTransaction) -> Result<(), MetaError> {
    transaction.open_table(DOCUMENTS)?;
    Ok(())
}

/// Small records of other parts, by collection and key, in an encoding of their own (which
/// carries a version).
impl Meta {
    /// The document under a key.
    ///
    /// # Errors
    /// When the store fails.
    pub fn document(&self, collection: &str, key: &str) -> Result<Option<Vec<u8>>, MetaError> {
        self.look(|view| {
            let table = view.open_table(DOCUMENTS)?;
            Ok(table.get((collection, key))?.map(|it| it.value().to_vec()))
        })
    }

    /// All documents of a collection, in the order of their keys.
    ///
    /// # Errors
    /// When the store fails.
    pub fn documents(&self, collection: &str) -> Result<Vec<(String, Vec<u8>)>, MetaError> {
        self.look(|view| {
            let table = view.open_table(DOCUMENTS)?;
            let mut found = Vec::new();
            for entry in table.range((collection, "")..)? {
                let (key, value) = entry?;
                let (its_collection, key) = key.value();
                if its_collection != collection {
                    break;
                }
                found.push((key.to_owned(), value.value().to_vec()));
            }
            Ok(found)
        })
    }

    /// Keeps, replaces or, with `None`, removes a document.
    ///
    /// # Errors
    /// When the store fails.
    pub fn save_document(
        &self,
        collection: &str,
        key: &str,
        value: Option<Vec<u8>>,
    ) -> Result<(), MetaError> {
        let (collection, key) = (collection.to_owned(), key.to_owned());
        self.write(move |tables| {
            let mut table = tables.transaction().open_table(DOCUMENTS)?;
            let key = (collection.as_str(), key.as_str());
            match &value {
                Some(value) => drop(table.insert(key, value.as_slice())?),
                None => drop(table.remove(key)?),
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_kept_by_collection_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let meta = Meta::open(&dir.path().join("meta.redb")).unwrap();
        for (collection, key) in [("a", "2"), ("a", "1"), ("aa", "1"), ("b", "1")] {
            meta.save_document(collection, key, Some(collection.into()))
                .unwrap();
        }
        let one = |key: &str| (String::from(key), b"a".to_vec());
        assert_eq!(meta.documents("a").unwrap(), [one("1"), one("2")]);
        meta.save_document("a", "1", None).unwrap();
        assert_eq!(meta.document("a", "1").unwrap(), None);
        assert_eq!(meta.documents("a").unwrap(), [one("2")]);
    }
}
