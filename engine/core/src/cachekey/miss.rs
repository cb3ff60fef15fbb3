use crate::ports::LookupAnswer;

/// Why a vertex ran although caching was possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissReason {
    /// The client asked not to use the cache for it.
    IgnoreCache,
    /// No record has this op: it is new, or something in its definition changed.
    NewOp,
    /// The op is known, but not on this state of the input at this position.
    InputChanged {
        /// Position of the input.
        input: usize,
    },
    /// The op is known on each input, but not on this combination of them.
    NewCombination,
    /// A record exists but its result is gone.
    ResultGone,
    /// The op's key never matches another build (a session's local directory).
    NeverMatches,
    /// The cache store could not be asked.
    StoreFailed,
}

impl MissReason {
    /// Why an answer holds no key; `None` when it holds one.
    #[must_use]
    pub fn of(answer: &LookupAnswer) -> Option<Self> {
        if answer.matches() {
            return None;
        }
        if !answer.op_known {
            return Some(Self::NewOp);
        }
        let changed = answer.inputs_known.iter().position(|known| !known);
        Some(match changed {
            Some(input) => Self::InputChanged { input },
            None => Self::NewCombination,
        })
    }
}
