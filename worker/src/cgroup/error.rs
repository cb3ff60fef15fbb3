use crate::confine::ConfineError;

/// Why a step has no control group.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The op names a parent that cannot be one.
    #[error("invalid cgroup parent {0:?}")]
    Parent(String),
    /// A limit was asked for that nobody here can keep.
    #[error("this machine has no {controller} controller for {wanted}")]
    NoController {
        /// Name of the controller.
        controller: &'static str,
        /// The limit.
        wanted: &'static str,
    },
    /// The groups are somebody else's to change.
    #[error(
        "limits and parents of control groups cannot be had here: the control groups are not this user's; where systemd \
         runs, it hands some over: systemd-run --user --scope -p Delegate=yes"
    )]
    NotOurs,
    /// The kernel did not take a limit.
    #[error("cannot set {file} to {value:?}: {source}")]
    Limit {
        /// The controller's file.
        file: String,
        /// What was written to it.
        value: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A group could not be made or opened.
    #[error("control group: {0}")]
    Group(#[from] ConfineError),
    /// What this process belongs to could not be read.
    #[error("control groups of this machine: {0}")]
    Machine(#[from] std::io::Error),
}
