use std::sync::Arc;
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::content::content_server::ContentServer;
use cooper_proto::control::control_server::ControlServer;
use cooper_proto::frontend::llb_bridge_server::LlbBridgeServer;
use cooper_proto::trace::trace_service_server::TraceServiceServer;
use cooper_proto::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES};
use futures::TryStreamExt;
use tonic::service::Routes;
use tonic::transport::Server;

use super::connections::Connections;
use super::content::ContentService;
use super::control::ControlService;
use super::gateway::GatewayService;
use super::greeting::Greeting;
use super::trace::TraceCollector;
use super::watched::Watched;
use crate::Engine;
use crate::bridge::BuildBridge;
use crate::engine::Parts;
use crate::job::GatewayReturn;

/// How much a client may send on one stream before it is read; the default of HTTP/2 is too little for a context.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Calls that one connection may have under way. A client that is its own frontend asks for many things at once.
const STREAMS: u32 = 4096;

/// Longest headers of one call.
///
/// # Units
/// Bytes.
const HEADER_BYTES: u32 = 64 << 10;

/// How often a connection that says nothing is asked whether somebody is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Serves an engine on a socket until `until` completes, then waits for the calls that are under way.
///
/// # Errors
/// `Infrastructure` when the socket fails.
///
/// # Cancel
/// Dropping the future closes the socket and every connection.
pub async fn serve(
    engine: Engine,
    connections: Connections,
    until: impl Future<Output = ()> + Send,
) -> Result<(), Failure> {
    serve_with(engine, connections, Routes::default(), until).await
}

/// Serves an engine beside services of the caller's; otherwise as [`serve`].
///
/// # Errors
/// Those of [`serve`].
///
/// # Cancel
/// As [`serve`].
pub async fn serve_with(
    engine: Engine,
    connections: Connections,
    others: Routes,
    until: impl Future<Output = ()> + Send,
) -> Result<(), Failure> {
    let wait = engine.parts().limits.greeting_wait;
    let connections =
        connections.map_ok(move |connection| Watched::new(connection, Greeting::within(wait)));
    let control = ControlServer::new(ControlService::new(engine.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let gateway = bounded(GatewayService::new(&engine));
    let content = ContentServer::new(ContentService::new(engine))
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_serving::<ControlServer<ControlService>>()
        .await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| {
            Failure::new(
                FailureKind::Internal,
                format!("the protocol's description cannot be served: {error}"),
            )
        })?;
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(Some(STREAMS))
        .http2_max_header_list_size(Some(HEADER_BYTES))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_routes(others)
        .add_service(control)
        .add_service(gateway)
        .add_service(content)
        .add_service(TraceServiceServer::new(TraceCollector))
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming_shutdown(connections, until)
        .await
        .map_err(|error| {
            Failure::new(
                FailureKind::Infrastructure,
                format!("the engine's socket failed: {error}"),
            )
        })
}

fn bounded(service: GatewayService) -> LlbBridgeServer<GatewayService> {
    LlbBridgeServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// The service that one frontend asks, whose calls need not say which build they belong to.
pub(crate) fn frontend_service(
    parts: &Arc<Parts>,
    bridge: &Arc<BuildBridge>,
    frontend: &Arc<GatewayReturn>,
) -> LlbBridgeServer<GatewayService> {
    bounded(GatewayService::of_one(parts, bridge, frontend))
}
