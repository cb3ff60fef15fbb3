//! Which question it is.

use cooper_core::model::FailureKind;

use crate::diagnostic::Fault;
use crate::options::Options;

/// A question other than "build this".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Which questions can be asked.
    Describe,
    /// What can be passed to a target: build arguments, secrets, agents.
    Outline,
    /// Which targets there are.
    Targets,
    /// What the lint rules find.
    Lint,
    /// The ops that a target becomes.
    ConvertLlb,
}

impl Request {
    /// All questions.
    pub const ALL: [Self; 5] = [
        Self::Describe,
        Self::Outline,
        Self::Targets,
        Self::Lint,
        Self::ConvertLlb,
    ];

    /// The value of `requestid`.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Describe => "frontend.subrequests.describe",
            Self::Outline => "frontend.outline",
            Self::Targets => "frontend.targets",
            Self::Lint => "frontend.lint",
            Self::ConvertLlb => "frontend.convertllb",
        }
    }

    /// The version of the answer's form.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::ConvertLlb => "0.1.0",
            _ => "1.0.0",
        }
    }

    /// The question of the options, `None` if it is a build.
    ///
    /// # Errors
    /// A question that this frontend does not know.
    pub(crate) fn of(options: &Options) -> Result<Option<Self>, Fault> {
        let Some(id) = options.all.get("requestid") else {
            return Ok(None);
        };
        match Self::ALL.into_iter().find(|request| request.id() == id) {
            Some(request) => Ok(Some(request)),
            None => Err(Fault {
                kind: FailureKind::Unsupported,
                ..Fault::new(format!("unsupported request {id}"))
            }),
        }
    }
}
