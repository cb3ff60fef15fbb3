use cooper_proto::trace::trace_service_server::TraceService;
use cooper_proto::trace::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tonic::{Request, Response, Status, async_trait};

/// OpenTelemetry's `TraceService`, to which clients of BuildKit send their spans.
///
/// No collector is configured behind it, and who sends is told so, as buildkitd does.
#[derive(Debug)]
pub(super) struct TraceCollector;

#[async_trait]
impl TraceService for TraceCollector {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Err(Status::unavailable("trace collector not configured"))
    }
}
