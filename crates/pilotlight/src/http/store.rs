//! Routes for operators: the state of the store, and copies of it.

use std::fs;
use std::path::{Path, PathBuf};

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use pilotlight_api::{ErrorBody, ErrorCode};
use pilotlight_store::StoreHandle;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::App;
use super::problem::Problem;
use crate::sentence::with_sources;

/// Returns a copy of the store. It is sealed with the same master key as the store; the key is not included.
#[utoipa::path(get, path = "/store/backup", tag = "server", responses(
    (status = 200, description = "The copy", content((Vec<u8> = "application/vnd.sqlite3"))),
    (status = "5XX", description = "The copy could not be made", body = ErrorBody)))]
pub(super) async fn backup(State(app): State<App>) -> Result<Response, Problem> {
    // Continues even if the client disconnects, so that the copy is deleted.
    let copying = tokio::spawn(copy(app.store.clone(), app.state_dir.clone()));
    let ended = |error: tokio::task::JoinError| Problem::new(ErrorCode::Internal, error.to_string());
    let file = copying.await.map_err(ended)??;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"pilotlight.db\"")),
    ];
    Ok((headers, HttpBody::from_stream(ReaderStream::new(file))).into_response())
}

/// Prefix and suffix of the names of copies.
const COPY: (&str, &str) = ("backup-", ".new");

/// Creates a copy and unlinks it: it is deleted when it is closed.
async fn copy(store: StoreHandle, state_dir: PathBuf) -> Result<tokio::fs::File, Problem> {
    let failed = |error: &dyn std::error::Error| {
        let message = format!("The store could not be copied: {}", with_sources(error));
        Problem::new(ErrorCode::StorageFailed, message)
    };
    let (begin, end) = COPY;
    let path = state_dir.join(format!("{begin}{}{end}", Uuid::now_v7()));
    store.backup(path.clone()).await.map_err(|error| {
        let message = format!("The store could not be copied: {}", with_sources(&error));
        let code = if error.is_full() { ErrorCode::StorageFull } else { ErrorCode::StorageFailed };
        Problem::new(code, message)
    })?;
    let file = tokio::fs::File::open(&path).await;
    let removed = tokio::fs::remove_file(&path).await;
    let file = file.map_err(|error| failed(&error))?;
    removed.map_err(|error| failed(&error))?;
    Ok(file)
}

/// Removes copies that a server had no time to remove. Blocks.
pub(crate) fn sweep_copies(state_dir: &Path) {
    let (begin, end) = COPY;
    for entry in fs::read_dir(state_dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(begin)?.strip_suffix(end));
        if id.is_some_and(|id| Uuid::try_parse(id).is_ok())
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "failed to delete a temporary copy of the store");
        }
    }
}
