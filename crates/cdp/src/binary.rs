//! The protocol's binary form on Chromium's pipe (`--remote-debugging-pipe=cbor`), for a stream that has JSON at our end.
//!
//! It spares the browser the work: with JSON on the pipe, Chromium parses and writes every message on its main thread,
//! which all of its windows wait for (`content/browser/devtools/devtools_session.cc`). On 156, a command of 64 MiB takes
//! 630 ms of that thread as JSON and 170 ms in the binary form; a reply of 50 MiB takes 450 ms and 90 ms. The rest of
//! Pilotlight, and its clients, have JSON; what is between them and Chromium is here.
//!
//! The form is CBOR (RFC 8949) as in `third_party/inspector_protocol/crdtp/cbor.cc`: objects and lists have no length of
//! their own but are each in an envelope (tag 24, a byte string with a length of four bytes), text is UTF-8 or, as a byte
//! string, UTF-16 with the lower byte first, and what JSON has in base64 is a byte string with tag 22.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::envelope::{Envelope, error_reply};
use crate::framing::{MAX_MESSAGE_BYTES, end_of_message};

mod decode;
mod encode;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;

use decode::Decoder;

pub use decode::OutOfStep;
pub use encode::EncodeError;

/// An envelope's tag, and the first byte of a byte string whose length takes four bytes.
const ENVELOPE: [u8; 3] = [0xd8, 24, 0x5a];
/// A map without a length of its own.
const MAP: u8 = 0xbf;
/// A list without a length of its own.
const ARRAY: u8 = 0x9f;
/// The end of a map or a list.
const END: u8 = 0xff;
const TRUE: u8 = 0xf5;
const FALSE: u8 = 0xf4;
const NULL: u8 = 0xf6;
/// What is before a byte string that JSON has in base64.
const BASE64_TAG: u8 = 0xd6;
const DOUBLE: u8 = 0xfb;
// The kinds of items that have a value or a length, in the upper three bits.
const UNSIGNED: u8 = 0x00;
const NEGATIVE: u8 = 0x20;
const BYTE_STRING: u8 = 0x40;
const TEXT: u8 = 0x60;

/// How deeply objects and lists may be nested; Chromium takes no more either (`kStackLimit` in
/// `third_party/inspector_protocol/crdtp/cbor.cc`).
const MAX_DEPTH: usize = 300;
/// How long a message may be in the binary form, which is longer for text that is not ASCII, and for many small lists.
/// Chromium sets no limit to it (`PipeReaderCBOR` in `content/browser/devtools/devtools_pipe_handler.cc`).
const MAX_BINARY_BYTES: usize = 2 * MAX_MESSAGE_BYTES;
/// How much is read from the browser at once.
const READ_BYTES: usize = 32 * 1024;
/// How many refusals may wait to be read. Further ones are dropped, and the calls run out of time.
const MAX_REFUSALS: usize = 64;
/// The code of a refusal, as JSON-RPC 2.0 has it for a message that cannot be read.
const REFUSED_CODE: i64 = -32700;
/// Memory that a large message took is given back where it is more than this.
const KEPT_BYTES: usize = 256 * 1024;

/// Turns the two halves of a stream that has the binary form into halves of one that has JSON, each message with a NUL
/// byte at its end. A message that cannot be written in the binary form is answered with an error.
pub fn json_over_binary<R, W>(reader: R, writer: W) -> (JsonReader<R>, JsonWriter<W>) {
    let refusals = Arc::<Refusals>::default();
    let reader = JsonReader {
        reader,
        refusals: Arc::clone(&refusals),
        decoder: Decoder::default(),
        json: Vec::new(),
        read: 0,
    };
    (reader, JsonWriter { writer, refusals, message: Vec::new(), binary: Bytes::new() })
}

/// Answers to messages that were not passed on.
#[derive(Debug, Default)]
struct Refusals(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    refusals: VecDeque<Vec<u8>>,
    reader: Option<Waker>,
}

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock()
    }

    fn add(&self, message: &[u8], error: EncodeError) {
        let Some(refusal) = refusal(message, error) else { return };
        let mut waiting = self.lock();
        if waiting.refusals.len() < MAX_REFUSALS {
            waiting.refusals.push_back(refusal);
            if let Some(reader) = waiting.reader.take() {
                reader.wake();
            }
        }
    }

    /// Takes the next one, or has the reader woken once there is one.
    fn take(&self, context: &Context<'_>) -> Option<Vec<u8>> {
        let mut waiting = self.lock();
        let next = waiting.refusals.pop_front();
        if next.is_none() {
            waiting.reader = Some(context.waker().clone());
        }
        next
    }
}

/// The answer to a message that cannot be passed on, with its NUL; none where it does not say which call it is.
fn refusal(message: &[u8], error: EncodeError) -> Option<Vec<u8>> {
    let envelope = Envelope::parse(message).ok()?;
    let session = envelope.session.as_ref().map(|session| &*session.0);
    let answer = error_reply(envelope.id?, session, REFUSED_CODE, &error.to_string());
    Some([answer.as_bytes(), b"\0"].concat())
}

/// Reads JSON from a browser that writes the binary form.
#[derive(Debug)]
pub struct JsonReader<R> {
    reader: R,
    refusals: Arc<Refusals>,
    decoder: Decoder,
    /// What was read and is not taken.
    json: Vec<u8>,
    /// How much of it was taken.
    read: usize,
}

impl<R: AsyncRead + Unpin> JsonReader<R> {
    /// Reads more of what the browser wrote; `false` at the end of the stream.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut bytes = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.reader).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.decoder.decode(buffer.filled(), &mut self.json).map_err(io::Error::other)?;
        Poll::Ready(Ok(true))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for JsonReader<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.read == this.json.len() {
            this.json.clear();
            this.json.shrink_to(KEPT_BYTES);
            this.read = 0;
            // Between two messages of the browser there is room for one of ours.
            if this.decoder.is_between_messages()
                && let Some(refusal) = this.refusals.take(context)
            {
                this.json = refusal;
            } else if !ready!(this.poll_fill(context))? {
                return Poll::Ready(Ok(()));
            }
        }
        let length = buffer.remaining().min(this.json.len() - this.read);
        buffer.put_slice(&this.json[this.read..this.read + length]);
        this.read += length;
        Poll::Ready(Ok(()))
    }
}

/// Takes JSON for a browser that reads the binary form.
#[derive(Debug)]
pub struct JsonWriter<W> {
    writer: W,
    refusals: Arc<Refusals>,
    /// The beginning of a message whose end has not come.
    message: Vec<u8>,
    /// What is still to be written.
    binary: Bytes,
}

impl<W: AsyncWrite + Unpin> JsonWriter<W> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.binary.is_empty() {
            let written = ready!(Pin::new(&mut self.writer).poll_write(context, &self.binary))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.binary.advance(written);
        }
        self.binary = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Turns a whole message into what is to be written.
    fn turn(&mut self, message: &[u8]) {
        let mut binary = Vec::with_capacity(message.len() + message.len() / 8);
        match encode::encode(message, MAX_BINARY_BYTES, &mut binary) {
            Ok(()) => self.binary = binary.into(),
            Err(error) => {
                tracing::warn!(%error, "a message is not passed on to the browser");
                self.refusals.add(message, error);
            }
        }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for JsonWriter<W> {
    /// Takes in one message at most.
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(context))?;
        let Some(end) = end_of_message(bytes) else {
            self.message.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        };
        if self.message.is_empty() {
            self.turn(&bytes[..end]);
        } else {
            let mut message = std::mem::take(&mut self.message);
            message.extend_from_slice(&bytes[..end]);
            self.turn(&message);
        }
        Poll::Ready(Ok(end + 1))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}
