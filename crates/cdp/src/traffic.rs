//! Activity between us and the browser: a sign of life without a reply.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

/// The time of the last activity.
#[derive(Debug)]
pub(crate) struct Traffic {
    began: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Traffic {
    pub(crate) fn note(&self) {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    pub(crate) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// A reader that records whatever arrives.
#[derive(Debug)]
pub(crate) struct Watched<R> {
    reader: R,
    traffic: Arc<Traffic>,
}

impl<R> Watched<R> {
    pub(crate) fn new(reader: R, traffic: Arc<Traffic>) -> Self {
        Self { reader, traffic }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.reader).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.traffic.note();
        }
        read
    }
}
