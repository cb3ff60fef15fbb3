use std::{collections::HashMap, sync::Arc};

use cooper_core::model::ResultId;
use parking_lot::Mutex;

/// Counts of who needs a result right now. A pinned result is not removed.
///
/// Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    counts: Arc<Mutex<HashMap<ResultId, u64>>>,
}

impl Pins {
    /// Adds a pin.
    pub fn pin(&self, result: &ResultId) {
        *self.counts.lock().entry(result.clone()).or_default() += 1;
    }

    /// Takes a pin; without one this does nothing.
    pub fn unpin(&self, result: &ResultId) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(result) {
            *count -= 1;
            if *count == 0 {
                counts.remove(result);
            }
        }
    }

    /// How many pins the result has.
    #[must_use]
    pub fn count(&self, result: &ResultId) -> u64 {
        self.counts.lock().get(result).copied().unwrap_or(0)
    }

    /// Whether anybody needs the result.
    #[must_use]
    pub fn is_pinned(&self, result: &ResultId) -> bool {
        self.count(result) > 0
    }

    /// Pins for as long as the guard lives.
    #[must_use]
    pub fn hold(&self, result: &ResultId) -> Pin {
        self.pin(result);
        Pin {
            pins: self.clone(),
            result: result.clone(),
        }
    }
}

/// A pin that ends with its scope.
#[derive(Debug)]
pub struct Pin {
    pins: Pins,
    result: ResultId,
}

impl Pin {
    /// What is pinned.
    #[must_use]
    pub const fn result(&self) -> &ResultId {
        &self.result
    }

    /// Pins once more, for who is given the id.
    #[must_use]
    pub fn again(&self) -> ResultId {
        self.pins.pin(&self.result);
        self.result.clone()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.unpin(&self.result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_pinned_until_each_pin_is_taken() {
        let pins = Pins::default();
        let result = ResultId(String::from("r"));
        pins.unpin(&result);
        pins.pin(&result);
        let held = pins.hold(&result);
        assert_eq!(pins.count(held.result()), 2);
        drop(held);
        assert!(pins.is_pinned(&result));
        pins.unpin(&result);
        assert!(!pins.is_pinned(&result));
    }
}
