//! Responses that are generated while they are sent, by blocking code: sealed files are decrypted piece by piece and
//! never stored unencrypted.

use std::io::{self, BufWriter, Write};

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;

/// Size of a piece, in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Maximum number of pieces that wait for a slow client.
const MAX_PIECES: usize = 4;

/// Returns a body with everything that `work` writes. If `work` fails, the response is truncated, which the client
/// detects.
pub(super) fn streamed(work: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Body {
    let (sender, receiver) = mpsc::channel(MAX_PIECES);
    spawn_blocking(move || {
        let mut to = BufWriter::with_capacity(PIECE_BYTES, Pieces(&sender));
        let written = work(&mut to).and_then(|()| to.flush());
        drop(to);
        if let Err(error) = written {
            tracing::warn!(%error, "failed to send a complete file");
            // The client has disconnected.
            drop(sender.blocking_send(Err(error)));
        }
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

/// Sends everything that is written to it.
struct Pieces<'a>(&'a mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(Bytes::copy_from_slice(piece))).map_err(gone)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
