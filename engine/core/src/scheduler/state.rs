//! The states of an edge, and what is known in each.
//!
//! ```text
//!   Idle ─► Waiting(Fast) ─► Looking(Fast) ─► Known(Fast) ─► Waiting(Slow) ─► Looking(Slow) ─┐
//!                                  └──────────────────────────────────────► Known(Slow) ◄────┘
//!                                                                             │       │
//!                                      Done ◄─ Loading ◄─ Listing ◄─ a key ───┘       └─ none
//!                                        ▲        │          │                             ▼
//!                                        │        └─ gone ───┴───────────────────► Waiting(Full)
//!                                        │                                                 ▼
//!                                        └─ Saving ◄─ Running ◄── no match ─────── Looking(Full)
//! ```
//!
//! `Failed` can be reached from every state but `Done`. An edge moves on only as far as somebody wants it
//! ([`Level`]); one that nobody wants any more goes back to the last state that waits for nothing, and keeps what
//! it knows. Work that cannot be taken back at once (a run, the resolving of a source, a digest of contents) is told
//! to stop and stays on the books as *stopping* until its `Done` has come; wanted again before that, it is started
//! anew afterwards, or its result is taken if it came after all.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::{Failure, ResultId, TaskId};
use crate::ports::CachedResult;

/// How much of an edge is wanted, or can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nothing.
    Nothing,
    /// The keys that follow from definitions alone.
    FastKeys,
    /// All keys that can be had without running the op: those by contents of its inputs too.
    SlowKeys,
    /// The result.
    Result,
}

/// How much of the inputs an edge's key is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Their fast keys.
    Fast,
    /// Their slow keys, and the contents of those where that can help.
    Slow,
    /// Everything: they are built.
    Full,
}

impl Stage {
    /// What must be wanted of an edge for it to go through this stage.
    pub(super) const fn level(self) -> Level {
        match self {
            Self::Fast => Level::FastKeys,
            Self::Slow => Level::SlowKeys,
            Self::Full => Level::Result,
        }
    }
}

/// Where an edge is.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// Nothing is known.
    Idle,
    /// Waits for its inputs, and for its source's key or its inputs' contents. Known: what the stage before told.
    Waiting(Stage),
    /// The store was asked for keys.
    Looking {
        /// What the question is made of.
        stage: Stage,
        /// The question.
        task: TaskId,
    },
    /// Rests. Known at `Fast`: no key matched so far, but slow keys may. Known at `Slow`: the keys that matched, or
    /// that none does before the inputs are built.
    Known(Stage),
    /// A key matched; the store was asked for results under it.
    Listing {
        /// How much of the inputs is there.
        stage: Stage,
        /// The question.
        task: TaskId,
    },
    /// A result is being pinned.
    Loading {
        /// How much of the inputs is there.
        stage: Stage,
        /// The pinning.
        task: TaskId,
        /// Whether it is an imported cache's.
        imported: bool,
        /// What to try when it is gone.
        rest: VecDeque<CachedResult>,
    },
    /// All inputs are built and no key matched: the vertex runs, is stopping, or another runs it for this one.
    Running,
    /// The vertex ran; its outputs are being recorded.
    Saving,
    /// The result is here and pinned; the keys are final.
    Done(ResultId),
    /// The vertex failed, or an input did.
    Failed(Arc<Failure>),
}

impl Phase {
    /// Its name in traces.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Waiting(Stage::Fast) => "waiting for fast keys",
            Self::Waiting(Stage::Slow) => "waiting for slow keys",
            Self::Waiting(Stage::Full) => "waiting for inputs",
            Self::Looking { .. } => "looking up",
            Self::Known(_) => "known",
            Self::Listing { .. } => "listing results",
            Self::Loading { .. } => "loading",
            Self::Running => "running",
            Self::Saving => "saving",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
        }
    }

    /// The result, when it is here.
    pub(super) const fn result(&self) -> Option<&ResultId> {
        match self {
            Self::Done(result) => Some(result),
            Self::Idle
            | Self::Waiting(_)
            | Self::Looking { .. }
            | Self::Known(_)
            | Self::Listing { .. }
            | Self::Loading { .. }
            | Self::Running
            | Self::Saving
            | Self::Failed(_) => None,
        }
    }

    /// Whether nothing will change any more.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_))
    }
}
