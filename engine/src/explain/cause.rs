use serde::Serialize;

/// What became of a step, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The step's digest.
    pub digest: String,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Why; never empty for a step that ran.
    pub causes: Vec<Cause>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It ran.
    Ran,
    /// Its result came from the cache.
    Reused,
    /// Nobody needed it: a step above it came from the cache.
    NotNeeded,
    /// It failed.
    Failed,
}

/// A reason. Texts are what a Dockerfile says, with variables replaced as the step saw them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// There is no earlier build to compare with.
    FirstBuild,
    /// The earlier build has no such step.
    NewStep,
    /// The build was told not to use the cache for it.
    CacheOff,
    /// Everything is as before, but the result is gone from the cache.
    ResultGone,
    /// The instruction says something else.
    InstructionChanged {
        /// As it was.
        before: String,
        /// As it is.
        after: String,
    },
    /// An argument or a variable of the environment has another value.
    VariableChanged {
        /// Its name.
        name: String,
        /// Its value, `None` where it was not set.
        before: Option<String>,
        /// Its value, `None` where it is not set any more.
        after: Option<String>,
    },
    /// The base image is another one.
    BaseMoved {
        /// What it was.
        before: String,
        /// What it is.
        after: String,
    },
    /// What is left out of the build context is something else.
    IgnoreFileChanged {
        /// Patterns that are new.
        added: Vec<String>,
        /// Patterns that are gone.
        removed: Vec<String>,
    },
    /// Another part of the step, such as its user, a mount or a secret.
    PartChanged {
        /// The part.
        part: String,
        /// As it was.
        before: Option<String>,
        /// As it is.
        after: Option<String>,
    },
    /// Files that it reads are not as they were.
    FilesChanged(Files),
    /// It comes after another step than before.
    Reordered {
        /// The step that it came after.
        before: String,
        /// The step that it comes after now.
        after: String,
    },
    /// A step that it stands on, or reads from, ran.
    InputRan {
        /// That step.
        name: String,
    },
    /// Steps that it reads from ran, and what it reads of them is as before.
    ReadsTheSame {
        /// One of these steps.
        name: String,
    },
    /// Nothing that it reads changed.
    Unchanged,
    /// What a client sends is compared with what is here in every build.
    AskedEveryTime,
    /// Nothing that is kept is different.
    NoDifference,
}

/// Paths of a build context or another step, the first of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Files {
    /// Paths that were not there.
    pub added: Vec<String>,
    /// Paths that are gone.
    pub removed: Vec<String>,
    /// Paths whose content, mode or owner is another one.
    pub changed: Vec<String>,
    /// How many more there are.
    pub more: usize,
}

impl Files {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}
