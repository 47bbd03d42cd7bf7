//! Messages on a byte stream: each ends with a NUL byte, as on Chromium's `--remote-debugging-pipe`
//! (`content/browser/devtools/devtools_pipe_handler.cc`), and between shims and servers. Never parses a message, and
//! never ends the stream because of one: a message that is too long is skipped, since the browser has other windows.

use std::ffi::CStr;
use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::envelope::SessionId;

/// The size of the buffer into which Chromium reads a message if the pipe has JSON, with the NUL
/// (`kReceiveBufferSizeForDevTools` in `content/browser/devtools/devtools_pipe_handler.cc`). A longer message makes
/// it close the pipe and end. The binary form has no limit; ours is kept for browsers that an older version of
/// Pilotlight started.
const CHROMIUM_BUFFER_BYTES: usize = 100 * 1024 * 1024;

/// The largest message, in bytes without the NUL. Longer ones are not sent; of longer ones that arrive, only the
/// beginning and the end are kept. Chromium has no limit for the messages that it sends.
pub const MAX_MESSAGE_BYTES: usize = CHROMIUM_BUFFER_BYTES - 1;

/// How much of the beginning of a skipped message is kept: enough for the id of a call.
const BEGINNING_BYTES: usize = 32;
/// How much of its end is kept: enough for the id of a session.
const ENDING_BYTES: usize = 128;

/// The size of the read buffer after the memory of a large message was released, and the size of a message whose
/// memory is released.
const FRESH_BUFFER_BYTES: usize = 64 * 1024;

/// Why a message cannot be sent, or a stream of messages cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum FramingError {
    /// The message is longer than the limit.
    #[error("a message is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// The message contains the byte that separates messages.
    #[error("a message contains a NUL byte")]
    ContainsNul,
    /// The stream failed.
    #[error("the stream broke")]
    Io(#[from] io::Error),
}

/// The kept parts of a message that was too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PassedOver {
    beginning: Vec<u8>,
    ending: Vec<u8>,
}

impl PassedOver {
    /// Returns the id of the call that it answers, if it is a reply: Chromium writes it first
    /// (`third_party/inspector_protocol/crdtp/dispatch.cc`).
    pub(crate) fn call(&self) -> Option<i64> {
        let digits = self.beginning.strip_prefix(br#"{"id":"#)?;
        let length = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
    }

    /// Returns its session: Chromium writes it last. Within a text its quotation marks would be escaped.
    pub(crate) fn session(&self) -> Option<SessionId> {
        let ending =
            std::str::from_utf8(self.ending.get(self.ending.iter().position(u8::is_ascii)?..)?).ok()?;
        let (_, named) = ending.strip_suffix("\"}")?.rsplit_once(",\"sessionId\":\"")?;
        (!named.contains('"')).then(|| named.into())
    }

    fn begin(bytes: &[u8]) -> Self {
        Self { beginning: bytes[..bytes.len().min(BEGINNING_BYTES)].into(), ending: Vec::new() }
    }

    fn go_on(&mut self, bytes: &[u8]) {
        self.ending.extend_from_slice(&bytes[bytes.len().saturating_sub(ENDING_BYTES)..]);
        let surplus = self.ending.len().saturating_sub(ENDING_BYTES);
        self.ending.drain(..surplus);
    }
}

/// The next item of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Message(Bytes),
    PassedOver(PassedOver),
}

/// Splits a byte stream into messages and joins messages into one.
#[derive(Debug)]
pub struct PipeCodec {
    limit_bytes: usize,
    /// How much of the buffer was searched for the NUL, so that a long message is searched only once.
    searched_bytes: usize,
    /// Within a message that is too long: everything up to the next NUL is dropped.
    passing_over: Option<PassedOver>,
}

/// The same, but skipped messages are reported.
#[derive(Debug, Default)]
pub(crate) struct FrameCodec(PipeCodec);

impl PipeCodec {
    /// Returns a codec that accepts messages of up to `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, searched_bytes: 0, passing_over: None }
    }
}

impl Default for PipeCodec {
    fn default() -> Self {
        Self::new(MAX_MESSAGE_BYTES)
    }
}

impl PipeCodec {
    fn frame(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        let found = end_of_message(&buffer[self.searched_bytes..]);
        let length = found.map_or(buffer.len(), |offset| self.searched_bytes + offset);
        if length > self.limit_bytes && self.passing_over.is_none() {
            tracing::warn!(limit_bytes = self.limit_bytes, "a message is too long and is passed over");
            self.passing_over = Some(PassedOver::begin(buffer));
        }
        self.searched_bytes = 0;
        if let Some(passed_over) = &mut self.passing_over {
            passed_over.go_on(&buffer[..length]);
            if found.is_none() {
                // Clearing alone would keep the memory of the whole limit.
                *buffer = BytesMut::with_capacity(FRESH_BUFFER_BYTES);
                return None;
            }
            buffer.advance(length + 1);
            return self.passing_over.take().map(Frame::PassedOver);
        }
        if found.is_none() {
            self.searched_bytes = length;
            return None;
        }
        let mut message = if length > FRESH_BUFFER_BYTES {
            // In one piece of memory, the following messages would keep all of it allocated.
            let rest = BytesMut::from(&buffer[length + 1..]);
            std::mem::replace(buffer, rest)
        } else {
            buffer.split_to(length + 1)
        };
        message.truncate(length);
        Some(Frame::Message(message.freeze()))
    }
}

impl Decoder for PipeCodec {
    type Item = Bytes;
    type Error = FramingError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        while let Some(frame) = self.frame(buffer) {
            if let Frame::Message(message) = frame {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// What follows the last NUL when the stream ends is an incomplete message, and dropped.
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        self.decode(buffer)
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FramingError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FramingError> {
        Ok(self.0.frame(buffer))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FramingError> {
        self.decode(buffer)
    }
}

/// Returns the position of the first NUL in `bytes`. Messages can be so long that the way of searching matters.
pub fn end_of_message(bytes: &[u8]) -> Option<usize> {
    CStr::from_bytes_until_nul(bytes).ok().map(CStr::count_bytes)
}

/// Checks that a message can be sent.
pub(crate) fn check(message: &[u8], limit_bytes: usize) -> Result<(), FramingError> {
    if message.len() > limit_bytes {
        return Err(FramingError::TooLong { limit_bytes });
    }
    if message.contains(&0) {
        return Err(FramingError::ContainsNul);
    }
    Ok(())
}

impl Encoder<Bytes> for PipeCodec {
    type Error = FramingError;

    fn encode(&mut self, message: Bytes, buffer: &mut BytesMut) -> Result<(), FramingError> {
        check(&message, self.limit_bytes)?;
        buffer.reserve(message.len() + 1);
        buffer.put_slice(&message);
        buffer.put_u8(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_messages_survive_any_chunking(
            messages in prop::collection::vec(prop::collection::vec(1_u8..=255, 0..200), 0..20),
            chunk in 1_usize..64,
        ) {
            let mut codec = PipeCodec::default();
            let mut wire = BytesMut::new();
            for message in &messages {
                codec.encode(Bytes::copy_from_slice(message), &mut wire).unwrap();
            }
            let mut buffer = BytesMut::new();
            let mut received = Vec::new();
            for piece in wire.chunks(chunk) {
                buffer.extend_from_slice(piece);
                while let Some(message) = codec.decode(&mut buffer).unwrap() {
                    received.push(message.to_vec());
                }
            }
            prop_assert_eq!(received, messages);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_break_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let mut codec = PipeCodec::new(64);
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Some(message) = codec.decode(&mut buffer).unwrap() {
                prop_assert!(message.len() <= 64);
            }
        }

        #[test]
        fn messages_over_the_limit_are_passed_over_and_all_others_arrive(
            messages in prop::collection::vec(prop::collection::vec(1_u8..=255, 0..40), 0..20),
            chunk in 1_usize..64,
        ) {
            const LIMIT_BYTES: usize = 16;
            let wire: Vec<u8> = messages.iter().flat_map(|message| [&message[..], &[0]].concat()).collect();
            let mut codec = PipeCodec::new(LIMIT_BYTES);
            let mut buffer = BytesMut::new();
            let mut received = Vec::new();
            for piece in wire.chunks(chunk) {
                buffer.extend_from_slice(piece);
                while let Some(message) = codec.decode(&mut buffer).unwrap() {
                    received.push(message.to_vec());
                }
                prop_assert!(buffer.len() <= LIMIT_BYTES, "what is passed over is not kept");
            }
            let mut expected = messages;
            expected.retain(|message| message.len() <= LIMIT_BYTES);
            prop_assert_eq!(received, expected);
        }
    }

    #[tokio::test]
    async fn a_stream_goes_on_after_a_message_over_the_limit() {
        let wire: &[u8] = b"one\0far too long\0two\0too long as well";
        let stream = tokio_util::codec::FramedRead::new(wire, PipeCodec::new(4));
        let received: Vec<_> = stream.map(Result::unwrap).collect().await;
        assert_eq!(received, ["one", "two"]);
    }

    #[test]
    fn a_large_message_takes_its_memory_with_it() {
        let mut buffer =
            BytesMut::from(&[vec![1; 8 * FRESH_BUFFER_BYTES], b"\0next\0".to_vec()].concat()[..]);
        let mut codec = PipeCodec::default();
        assert_eq!(codec.decode(&mut buffer).unwrap().unwrap().len(), 8 * FRESH_BUFFER_BYTES);
        assert!(buffer.capacity() < FRESH_BUFFER_BYTES, "{}", buffer.capacity());
        assert_eq!(codec.decode(&mut buffer).unwrap().unwrap(), "next");
    }

    #[test]
    fn of_a_message_that_is_passed_over_it_is_known_whose_it_was() {
        let frames = |wire: &str, chunk: usize| {
            let mut codec = FrameCodec(PipeCodec::new(200));
            let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
            for piece in wire.as_bytes().chunks(chunk) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                    frames.push(frame);
                }
            }
            frames
        };
        let long = "ü".repeat(300);
        let event =
            format!(r#"{{"method":"Page.x","params":{{"a":"\",\"sessionId\":\"{long}"}},"sessionId":"S1"}}"#);
        let reply = format!(r#"{{"id":42,"result":{{"a":"{long}"}},"sessionId":"S2"}}"#);
        let root = format!(r#"{{"method":"Target.x","params":{{"a":"{long}\",\"sessionId\":\"S3\"}}"}}}}"#);
        for chunk in [1, 7, 64, 5_000] {
            let frames = frames(&format!("{event}\0next\0{reply}\0{root}\0"), chunk);
            let told = frames.iter().map(|frame| match frame {
                Frame::Message(message) => {
                    assert_eq!(message, "next");
                    None
                }
                Frame::PassedOver(it) => Some((it.call(), it.session().map(String::from))),
            });
            let told: Vec<_> = told.collect();
            let expected = [
                Some((None, Some("S1".into()))),
                None,
                Some((Some(42), Some("S2".into()))),
                Some((None, None)),
            ];
            assert_eq!(told, expected, "{chunk}");
        }
    }

    /// Chromium counts the NUL, too.
    #[test]
    fn the_largest_message_fits_into_chromiums_buffer_with_its_nul() {
        let largest = Bytes::from(vec![b'x'; MAX_MESSAGE_BYTES]);
        let mut buffer = BytesMut::new();
        PipeCodec::default().encode(largest.clone(), &mut buffer).unwrap();
        assert_eq!(buffer.len(), 100 << 20);
        let larger = Bytes::from([&largest[..], b"x"].concat());
        let refused = PipeCodec::default().encode(larger, &mut BytesMut::new());
        assert!(matches!(refused, Err(FramingError::TooLong { .. })));
        assert!(matches!(PipeCodec::default().decode(&mut buffer), Ok(Some(message)) if message == largest));
    }

    #[test]
    fn a_message_over_the_limit_is_not_sent() {
        let mut buffer = BytesMut::new();
        let sent = PipeCodec::new(4).encode(Bytes::from_static(b"12345"), &mut buffer);
        assert!(matches!(sent, Err(FramingError::TooLong { limit_bytes: 4 })));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_message_with_a_nul_is_not_sent() {
        let mut buffer = BytesMut::new();
        let sent = PipeCodec::default().encode(Bytes::from_static(b"a\0b"), &mut buffer);
        assert!(matches!(sent, Err(FramingError::ContainsNul)));
        assert!(buffer.is_empty());
    }
}
