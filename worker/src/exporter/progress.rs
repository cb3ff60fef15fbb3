use cooper_core::model::{OpEvent, Status};
use cooper_core::ports::Events;

/// Bytes between two reports.
const STEP: u64 = 256 << 10;

/// BuildKit's word for files on their way to a client or from one.
const ACTION: &str = "transferring";

/// The progress line of one part of an export.
pub(super) struct Line {
    events: Events,
    id: String,
    current: u64,
    reported: u64,
}

impl Line {
    pub(super) fn begin(events: &Events, id: String) -> Self {
        let line = Self {
            events: events.clone(),
            id,
            current: 0,
            reported: 0,
        };
        line.emit(false);
        line
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.current += bytes;
        if self.current - self.reported >= STEP {
            self.reported = self.current;
            self.emit(false);
        }
    }

    pub(super) fn end(self) {
        self.emit(true);
    }

    fn emit(&self, completed: bool) {
        let status = Status {
            id: self.id.clone(),
            action: ACTION.to_owned(),
            current: self.current,
            completed,
            ..Status::default()
        };
        self.events.emit(OpEvent::Status(status));
    }
}
