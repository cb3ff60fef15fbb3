use std::sync::Arc;

use cooper_core::model::Failure;
use cooper_core::ports::Session;
use cooper_engine::session::Attachment;

use super::Client;
use crate::attach::{ClientSession, RemoteAttachment, SessionParts};

/// A session whose folders several builds read, so that the steps that read them are the same steps.
pub struct SharedSession {
    id: String,
    held: Held,
}

enum Held {
    /// In this process, for as long as this lives.
    Here { _attachment: Attachment },
    /// Over a connection.
    There(RemoteAttachment),
}

impl SharedSession {
    /// Attaches one.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub async fn attach(client: &Client, parts: SessionParts) -> Result<Self, Failure> {
        let session = Arc::new(ClientSession::new(parts));
        let id = session.id().0.clone();
        let held = match client {
            Client::Host(host) => Held::Here {
                _attachment: host.engine().sessions().attach(session)?,
            },
            Client::Joined(joined) => {
                Held::There(RemoteAttachment::open(joined.control(), session).await?)
            }
        };
        Ok(Self { id, held })
    }

    /// Its id, by which options of frontends name it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Ends it.
    pub async fn close(self) {
        if let Held::There(attachment) = self.held {
            attachment.close().await;
        }
    }
}
