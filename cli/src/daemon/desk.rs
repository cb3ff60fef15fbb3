//! What Cooper's daemons do beyond BuildKit's: images with names, and why steps ran.

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use cooper_core::model::{Failure, FailureKind};
use cooper_engine::server::status_from_failure;
use cooper_proto::MAX_MESSAGE_BYTES;
use cooper_proto::cooper::cooper_server::{Cooper, CooperServer};
use cooper_proto::cooper::images_request::Part;
use cooper_proto::cooper::{
    ExplainRequest, ExplainResponse, ImagesRequest, ImagesResponse, ImportImage,
};
use cooper_worker::images::ImageStore;
use cooper_worker::layer::Layers;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::command::image::{ImageRequest, answer, import_archive};
use crate::command::{ExplainFlags, ExplainFormat, explain_in};

/// Answers for images and explanations.
#[derive(Clone)]
pub(crate) struct Desk {
    state: PathBuf,
    images: ImageStore,
    layers: Layers,
}

impl Desk {
    /// Answers for a state folder.
    pub(crate) fn new(state: &Path, images: &ImageStore, layers: &Layers) -> Self {
        Self {
            state: state.to_path_buf(),
            images: images.clone(),
            layers: layers.clone(),
        }
    }

    /// The service, to be served.
    pub(crate) fn routes(&self) -> Routes {
        let server = CooperServer::new(self.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Routes::new(server)
    }

    async fn images(&self, mut parts: Streaming<ImagesRequest>) -> Result<String, Failure> {
        let first = parts.message().await.map_err(|status| broken(&status))?;
        let optional = |text: String| Some(text).filter(|text| !text.is_empty());
        let request = match first.and_then(|first| first.part) {
            Some(Part::Import(import)) => return self.import(import, parts).await,
            Some(Part::List(list)) => ImageRequest::Ls {
                quiet: list.quiet,
                no_trunc: list.no_trunc,
            },
            Some(Part::Inspect(inspect)) => ImageRequest::Inspect {
                name: inspect.name,
                platform: optional(inspect.platform),
            },
            Some(Part::History(history)) => ImageRequest::History {
                name: history.name,
                no_trunc: history.no_trunc,
                platform: optional(history.platform),
            },
            Some(Part::Tag(tag)) => ImageRequest::Tag {
                name: tag.name,
                new: tag.new,
            },
            Some(Part::Remove(remove)) => ImageRequest::Rm {
                names: remove.names,
            },
            Some(Part::Archive(_)) | None => {
                let words = "a request about images begins with a command";
                return Err(Failure::new(FailureKind::InvalidInput, words));
            }
        };
        answer(request, &self.images, &self.layers).await
    }

    async fn import(
        &self,
        import: ImportImage,
        mut parts: Streaming<ImagesRequest>,
    ) -> Result<String, Failure> {
        let cannot = |error: &dyn std::fmt::Display| {
            let words = format!("the archive cannot be kept: {error}");
            Failure::new(FailureKind::Infrastructure, words)
        };
        // It has no name, so that nothing of it is left when the client or this process goes away.
        let mut file = tempfile::tempfile_in(&self.state).map_err(|error| cannot(&error))?;
        while let Some(message) = parts.message().await.map_err(|status| broken(&status))? {
            let Some(Part::Archive(piece)) = message.part else {
                let words = "only pieces of the archive follow an import";
                return Err(Failure::new(FailureKind::InvalidInput, words));
            };
            file = tokio::task::spawn_blocking(move || file.write_all(&piece).map(|()| file))
                .await
                .map_err(|error| cannot(&error))?
                .map_err(|error| cannot(&error))?;
        }
        file.rewind().map_err(|error| cannot(&error))?;
        import_archive(&self.images, &self.layers, file, import).await
    }
}

fn broken(status: &Status) -> Failure {
    Failure::new(FailureKind::Cancelled, status.message())
}

#[tonic::async_trait]
impl Cooper for Desk {
    async fn images(
        &self,
        request: Request<Streaming<ImagesRequest>>,
    ) -> Result<Response<ImagesResponse>, Status> {
        let text = Self::images(self, request.into_inner()).await;
        let text = text.map_err(|failure| status_from_failure(&failure))?;
        Ok(Response::new(ImagesResponse { text }))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let request = request.into_inner();
        let optional = |text: String| Some(text).filter(|text| !text.is_empty());
        let flags = ExplainFlags {
            build: optional(request.build),
            with: optional(request.with),
            format: match request.json {
                true => ExplainFormat::Json,
                false => ExplainFormat::Text,
            },
        };
        let state = self.state.clone();
        let explained = tokio::task::spawn_blocking(move || explain_in(&flags, &state));
        let text = explained
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|words| status_from_failure(&Failure::new(FailureKind::NotFound, words)))?;
        Ok(Response::new(ExplainResponse { text }))
    }
}
