//! Receiving messages of clients: only one client of each session at a time may send a large message, so that
//! together they use no more memory than one does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use pilotlight_chromium::client::LARGE_MESSAGE_BYTES;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

use crate::clock::reached;

/// How long a large message may take to arrive, while other clients of its session wait to send theirs.
const LARGE_MESSAGE_TIMEOUT: Duration = Duration::from_secs(120);

/// A client's stream. Once a part of a message has been read, the rest waits for the session's lock for large
/// messages.
#[derive(Debug)]
pub(super) struct Intake<S> {
    stream: S,
    place: PollSemaphore,
    meter: Meter,
}

/// How much of a message has arrived. Clones belong to the same stream.
#[derive(Debug, Clone)]
pub(super) struct Meter(Arc<Mutex<Metered>>);

#[derive(Debug, Default)]
struct Metered {
    bytes: usize,
    place: Option<(OwnedSemaphorePermit, Instant)>,
}

impl Meter {
    fn metered(&self) -> MutexGuard<'_, Metered> {
        self.0.lock()
    }

    /// Notes that a message was passed on: what follows is another message.
    pub(super) fn is_through(&self) {
        *self.metered() = Metered::default();
    }

    /// Returns once a message has taken too long to arrive. Considers a message that is arriving when this is called.
    pub(super) async fn overdue(&self) {
        let since = self.metered().place.as_ref().map(|(_, since)| *since);
        reached(since.map(|since| since + LARGE_MESSAGE_TIMEOUT)).await;
    }
}

impl<S> Intake<S> {
    /// `place` is the session's lock for large messages.
    pub(super) fn new(stream: S, place: Arc<Semaphore>) -> (Self, Meter) {
        let meter = Meter(Arc::default());
        (Self { stream, place: PollSemaphore::new(place), meter: meter.clone() }, meter)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Intake<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let is_large = {
            let metered = self.meter.metered();
            metered.bytes >= LARGE_MESSAGE_BYTES && metered.place.is_none()
        };
        if is_large {
            let permit = ready!(self.place.poll_acquire(context));
            let permit = permit.ok_or_else(|| io::Error::other("nothing large is taken any more"))?;
            self.meter.metered().place = Some((permit, Instant::now()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.meter.metered().bytes += buffer.filled().len() - before;
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Intake<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_is_read_to_its_end() {
        let place = Arc::new(Semaphore::new(1));
        let (mut first_client, first) = tokio::io::duplex(LARGE_MESSAGE_BYTES * 3);
        let (mut second_client, second) = tokio::io::duplex(LARGE_MESSAGE_BYTES * 3);
        let (mut first, first_meter) = Intake::new(first, Arc::clone(&place));
        let (mut second, second_meter) = Intake::new(second, Arc::clone(&place));
        let large = vec![b'x'; LARGE_MESSAGE_BYTES * 2];
        first_client.write_all(&large).await.unwrap();
        second_client.write_all(&large).await.unwrap();
        let mut piece = vec![0; 64 * 1024];
        for _ in 0..large.len() / piece.len() {
            first.read_exact(&mut piece).await.unwrap();
        }
        // What is small is read, and the rest waits.
        let reading = async { while second.read(&mut piece).await.is_ok() {} };
        assert!(tokio::time::timeout(Duration::from_secs(1), reading).await.is_err());
        assert_eq!(second_meter.metered().bytes, LARGE_MESSAGE_BYTES);
        first_meter.is_through();
        second.read_exact(&mut vec![0; large.len() - LARGE_MESSAGE_BYTES]).await.unwrap();
        let waited = Instant::now();
        second_meter.overdue().await;
        assert_eq!(waited.elapsed(), LARGE_MESSAGE_TIMEOUT);
        drop((second, second_meter));
        assert_eq!(place.available_permits(), 1, "with the client goes its place");
    }
}
