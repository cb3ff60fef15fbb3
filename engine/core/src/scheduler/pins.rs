use std::collections::HashMap;

use crate::model::ResultId;

/// Counts who in the scheduler uses which results, and gives pins back when nobody does.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// Looked up only, never walked but by checks.
    counts: HashMap<ResultId, Count>,
    released: Vec<ResultId>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    /// Pins that the world gave us.
    held: usize,
    /// Places that use the result.
    uses: usize,
}

impl Pins {
    /// The world gave a pin; the caller uses the result.
    pub(super) fn take(&mut self, result: &ResultId) {
        let count = self.counts.entry(result.clone()).or_default();
        count.held += 1;
        count.uses += 1;
    }

    /// One more use of a result that is in use already.
    pub(super) fn share(&mut self, result: &ResultId) {
        self.counts.entry(result.clone()).or_default().uses += 1;
    }

    /// One use less.
    pub(super) fn drop_use(&mut self, result: &ResultId) {
        let Some(count) = self.counts.get_mut(result) else {
            return;
        };
        count.uses -= 1;
        if count.uses == 0 {
            let mentions = std::iter::repeat_n(result, count.held);
            self.released.extend(mentions.cloned());
            self.counts.remove(result);
        }
    }

    /// The pins to give back since the last call.
    pub(super) fn take_released(&mut self) -> Vec<ResultId> {
        std::mem::take(&mut self.released)
    }

    /// How often a result is in use.
    pub(super) fn uses(&self, result: &ResultId) -> usize {
        self.counts.get(result).map_or(0, |count| count.uses)
    }

    /// How many results are in use.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }
}
