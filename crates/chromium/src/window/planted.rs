//! Scripts that run in new documents before the documents' own.

use std::time::Duration;

use pilotlight_cdp::protocol::page::{AddScriptToEvaluateOnNewDocument, RemoveScriptToEvaluateOnNewDocument};
use pilotlight_cdp::{Connection, SessionId};

use super::{COMMAND_TIMEOUT, WORLD};
use crate::error::WindowError;

/// A script that runs in every new document until this is dropped.
#[derive(Debug)]
pub(crate) struct Planted {
    connection: Connection,
    session: SessionId,
    identifier: String,
}

impl Planted {
    pub(crate) async fn place(
        connection: &Connection,
        session: &SessionId,
        source: String,
        timeout: Duration,
    ) -> Result<Self, WindowError> {
        let add = AddScriptToEvaluateOnNewDocument { source, world_name: WORLD };
        let identifier = connection.call_within(Some(session), add, timeout).await?.identifier;
        Ok(Self { connection: connection.clone(), session: session.clone(), identifier })
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (connection, session) = (self.connection.clone(), self.session.clone());
        let remove = RemoveScriptToEvaluateOnNewDocument { identifier: std::mem::take(&mut self.identifier) };
        runtime.spawn(async move {
            if let Err(error) = connection.call_within(Some(&session), remove, COMMAND_TIMEOUT).await {
                tracing::debug!(%error, "failed to remove a script from a page; it may have been closed");
            }
        });
    }
}
