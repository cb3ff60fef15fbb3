use std::num::NonZeroUsize;
use std::time::Duration;

use crate::progress::OutputLimits;

/// Bounds on what clients can make the engine do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Steps of one build that run at the same time; any number when `None`.
    pub steps_per_build: Option<NonZeroUsize>,
    /// Steps of all builds that run at the same time; any number when `None`.
    pub steps_per_worker: Option<NonZeroUsize>,
    /// What a definition may hold.
    pub graph: cooper_core::graph::Limits,
    /// Definitions in files (of build ops) that lead to one another.
    pub nested_definitions: usize,
    /// Exporters of one request.
    pub exporters: usize,
    /// Results that a frontend may hold in one build.
    pub refs_per_build: usize,
    /// Containers that a frontend may hold open at a time.
    pub containers_per_frontend: usize,
    /// How much output of its running steps a client is sent; all of it is in the log.
    pub output: OutputLimits,
    /// How long a connection may be open before its client has said that it speaks HTTP/2.
    pub greeting_wait: Duration,
    /// How long a request waits for a session that has not attached yet (parity sheet D).
    pub session_wait: Duration,
    /// How long a request for progress waits for a build that is not known yet (parity sheet F).
    pub status_wait: Duration,
    /// How often a session is asked whether it is alive (parity sheet D).
    pub health_interval: Duration,
    /// How long a session may take to say so, at least.
    pub health_timeout: Duration,
    /// Finished builds older than this are forgotten.
    pub history_age: Duration,
    /// Finished builds beyond this number are forgotten, the oldest first.
    pub history_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps_per_build: None,
            // A step that sleeps or waits for the network should not keep others from running; one that computes is
            // shared out by the kernel. The bound is there for memory and process tables.
            steps_per_worker: NonZeroUsize::new(64),
            graph: cooper_core::graph::Limits::default(),
            nested_definitions: 16,
            exporters: 16,
            refs_per_build: 10_000,
            containers_per_frontend: 100,
            output: OutputLimits::default(),
            // gRPC's clients give a connection up that is not there after this time.
            greeting_wait: Duration::from_secs(20),
            session_wait: Duration::from_secs(5),
            status_wait: Duration::from_secs(6),
            health_interval: Duration::from_secs(5),
            health_timeout: Duration::from_secs(15),
            history_age: Duration::from_secs(48 * 3600),
            history_entries: 50,
        }
    }
}
