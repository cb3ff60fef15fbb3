use std::collections::HashMap;
use std::sync::Arc;

use cooper_core::model::JobId;
use parking_lot::Mutex;

/// What one source of one build was found to be; who holds the lock finds out, the others wait.
pub(super) type Found<T> = Arc<tokio::sync::Mutex<Option<Arc<T>>>>;

/// The places of all builds, by source.
type Known<T> = HashMap<JobId, HashMap<String, Found<T>>>;

/// What sources were found to be during each build, so that a build sees each of them in one state only, whatever
/// changes on the other side or is pruned on ours meanwhile.
pub(super) struct Builds<T> {
    known: Arc<Mutex<Known<T>>>,
}

impl<T> Clone for Builds<T> {
    fn clone(&self) -> Self {
        Self {
            known: Arc::clone(&self.known),
        }
    }
}

impl<T> Default for Builds<T> {
    fn default() -> Self {
        Self {
            known: Arc::default(),
        }
    }
}

impl<T> Builds<T> {
    /// The place for a source of a build. Without a build it is a place of its own.
    pub(super) fn place(&self, build: Option<&JobId>, source: &str) -> Found<T> {
        let Some(build) = build else {
            return Found::default();
        };
        let mut known = self.known.lock();
        let of_build = known.entry(build.clone()).or_default();
        of_build.entry(source.to_owned()).or_default().clone()
    }

    /// Forgets a build.
    pub(super) fn end(&self, build: &JobId) {
        let ended = self.known.lock().remove(build);
        // What was found may hold results, whose release takes locks of its own.
        drop(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_build_finds_what_it_found_until_it_ends() {
        let builds = Builds::<u32>::default();
        let (one, other) = (JobId("one".into()), JobId("other".into()));
        *builds.place(Some(&one), "a").lock().await = Some(Arc::new(1));
        let found = async |build| builds.place(build, "a").lock().await.as_deref().copied();
        assert_eq!(found(Some(&one)).await, Some(1));
        assert_eq!(found(Some(&other)).await, None);
        assert_eq!(found(None).await, None);
        builds.end(&one);
        assert_eq!(found(Some(&one)).await, None);
    }
}
