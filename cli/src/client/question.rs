use std::collections::BTreeMap;

use cooper_core::model::Failure;
use cooper_core::ports::ExportResponse;
use cooper_engine::server::failure_from_status;
use cooper_proto::MAX_MESSAGE_BYTES;
use cooper_proto::frontend::llb_bridge_client::LlbBridgeClient;
use cooper_proto::frontend::{Result as Answer, ReturnRequest, SolveRequest};
use cooper_proto::rpc;
use prost::Message as _;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Header that says whose frontend a call is from (parity sheet E).
const BUILD_ID: &str = "buildkit-controlapi-buildid";

/// A question to a frontend. Daemons give the answer to who is a build's frontend, so that is what the client becomes.
pub(super) struct Question {
    pub(super) reference: String,
    pub(super) frontend: String,
    pub(super) options: BTreeMap<String, String>,
}

impl Question {
    /// Asks, and ends the build with what is answered.
    ///
    /// # Errors
    /// Those of the frontend.
    pub(super) async fn ask(self, channel: Channel) -> Result<ExportResponse, Failure> {
        let mut bridge = LlbBridgeClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let asked = SolveRequest {
            frontend: self.frontend.clone(),
            frontend_opt: self.options.clone(),
            allow_result_return: true,
            allow_result_array_ref: true,
            ..SolveRequest::default()
        };
        let answered = bridge.solve(self.of_build(asked)?).await;
        let answered = answered.map(|answer| answer.into_inner().result.unwrap_or_default());
        // Who asked for nothing to be exported hands back nothing but the words.
        let end = match &answered {
            Ok(answer) => ReturnRequest {
                result: Some(Answer {
                    metadata: answer.metadata.clone(),
                    ..Answer::default()
                }),
                error: None,
            },
            Err(status) => ReturnRequest {
                result: None,
                error: Some(told(status)),
            },
        };
        let ended = bridge.r#return(self.of_build(end)?).await;
        let answer = answered.map_err(|status| failure_from_status(&status))?;
        ended.map_err(|status| failure_from_status(&status))?;
        let text = |(key, value): (String, Vec<u8>)| {
            let value = String::from_utf8_lossy(&value).into_owned();
            (key, value)
        };
        Ok(answer.metadata.into_iter().map(text).collect())
    }

    fn of_build<T>(&self, message: T) -> Result<Request<T>, Failure> {
        let mut request = Request::new(message);
        let reference = self.reference.parse().map_err(|_| {
            let words = format!("{:?} is no reference of a build", self.reference);
            Failure::new(cooper_core::model::FailureKind::Internal, words)
        })?;
        request.metadata_mut().insert(BUILD_ID, reference);
        Ok(request)
    }
}

fn told(status: &Status) -> rpc::Status {
    // What comes with details has all of it in them.
    match rpc::Status::decode(status.details()) {
        Ok(whole) if whole.code != 0 => whole,
        _ => rpc::Status {
            code: status.code().into(),
            message: status.message().to_owned(),
            ..rpc::Status::default()
        },
    }
}
