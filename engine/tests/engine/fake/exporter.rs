use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{Cancelled, Events, ExportRequest, ExportResponse, Exporter};
use parking_lot::Mutex;

/// An exporter that notes what it gets. The attribute `do` makes it `fail`, or `wait` until it is stopped.
pub(crate) struct FakeExporter {
    kind: &'static str,
    pub(crate) requests: Mutex<Vec<ExportRequest>>,
    pub(crate) stopped: Mutex<bool>,
}

impl FakeExporter {
    pub(crate) fn new(kind: &'static str) -> Arc<Self> {
        Arc::new(Self {
            kind,
            requests: Mutex::default(),
            stopped: Mutex::default(),
        })
    }
}

#[async_trait]
impl Exporter for FakeExporter {
    fn kind(&self) -> &str {
        self.kind
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        match attributes.get("do").map(String::as_str) {
            None | Some("fail" | "wait") => Ok(format!("exporting to {}", self.kind)),
            Some(other) => Err(Failure::new(
                FailureKind::InvalidInput,
                format!("unknown value {other}"),
            )),
        }
    }

    async fn export(
        &self,
        request: ExportRequest,
        _events: Events,
        cancelled: Cancelled,
    ) -> Result<ExportResponse, Failure> {
        let behaviour = request.attributes.get("do").cloned();
        self.requests.lock().push(request);
        match behaviour.as_deref() {
            Some("fail") => Err(Failure::new(
                FailureKind::Infrastructure,
                "the disk is full",
            )),
            Some("wait") => {
                cancelled.await;
                *self.stopped.lock() = true;
                Err(Failure::new(FailureKind::Cancelled, "stopped"))
            }
            _ => Ok(BTreeMap::from([(
                "exported.by".to_owned(),
                self.kind.to_owned(),
            )])),
        }
    }
}
