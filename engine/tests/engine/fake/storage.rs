use async_trait::async_trait;
use cooper_core::model::{Failure, PruneRule, UsageRecord};
use cooper_core::ports::Storage;

/// Keeps one record that never goes.
pub(crate) struct FakeStorage;

#[async_trait]
impl Storage for FakeStorage {
    async fn usage(&self) -> Result<Vec<UsageRecord>, Failure> {
        Ok(vec![UsageRecord {
            id: "kept".to_owned(),
            record_type: "regular".to_owned(),
            size: 7,
            ..UsageRecord::default()
        }])
    }

    async fn prune(&self, _rule: PruneRule) -> Result<Vec<UsageRecord>, Failure> {
        Ok(Vec::new())
    }

    async fn collect(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn rules(&self) -> Vec<PruneRule> {
        Vec::new()
    }
}
