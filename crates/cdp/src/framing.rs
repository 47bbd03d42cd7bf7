//! Messages on a byte stream: each ends with a NUL byte, as Chromium has it on `--remote-debugging-pipe`
//! (`content/browser/devtools/devtools_pipe_handler.cc`). Never looks inside a message, and never ends the stream
//! for one: what is too long is passed over, since the browser has other windows to speak of.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// The largest message accepted, in bytes; longer ones are passed over, and whoever waits for one waits until
/// his time is over. Chromium itself sends at most 100 MB in one message.
pub const MAX_MESSAGE_BYTES: usize = 100 * 1024 * 1024;

/// What is set aside for reading once the memory of a large message was given back, and how long a message is
/// whose memory is given back with it.
const FRESH_BUFFER_BYTES: usize = 64 * 1024;

/// Why a message cannot be sent, or a stream of messages cannot go on.
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
    /// The stream broke.
    #[error("the stream broke")]
    Io(#[from] io::Error),
}

/// Splits a byte stream into messages and joins messages into one.
#[derive(Debug)]
pub struct PipeCodec {
    limit_bytes: usize,
    /// How much of the buffer is known to hold no NUL, so that a long message is searched only once.
    searched_bytes: usize,
    /// Within a message that is too long: everything up to the next NUL is dropped.
    passing_over: bool,
}

impl PipeCodec {
    /// A codec that accepts messages of up to `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, searched_bytes: 0, passing_over: false }
    }
}

impl Default for PipeCodec {
    fn default() -> Self {
        Self::new(MAX_MESSAGE_BYTES)
    }
}

impl Decoder for PipeCodec {
    type Item = Bytes;
    type Error = FramingError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        loop {
            let found = buffer[self.searched_bytes..].iter().position(|&byte| byte == 0);
            let length = found.map_or(buffer.len(), |offset| self.searched_bytes + offset);
            if length > self.limit_bytes && !self.passing_over {
                tracing::warn!(limit_bytes = self.limit_bytes, "a message is too long and is passed over");
                self.passing_over = true;
            }
            self.searched_bytes = 0;
            match (found, self.passing_over) {
                (Some(_), false) => {
                    let mut message = if length > FRESH_BUFFER_BYTES {
                        // Left in one piece of memory, what follows would keep all of it for good.
                        let rest = BytesMut::from(&buffer[length + 1..]);
                        std::mem::replace(buffer, rest)
                    } else {
                        buffer.split_to(length + 1)
                    };
                    message.truncate(length);
                    return Ok(Some(message.freeze()));
                }
                (Some(_), true) => {
                    buffer.advance(length + 1);
                    self.passing_over = false;
                }
                (None, false) => {
                    self.searched_bytes = length;
                    return Ok(None);
                }
                (None, true) => {
                    // Clearing alone would keep the memory of the whole limit.
                    *buffer = BytesMut::with_capacity(FRESH_BUFFER_BYTES);
                    return Ok(None);
                }
            }
        }
    }

    /// What follows the last NUL when the stream ends is half a message, and dropped.
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        self.decode(buffer)
    }
}

impl Encoder<Bytes> for PipeCodec {
    type Error = FramingError;

    fn encode(&mut self, message: Bytes, buffer: &mut BytesMut) -> Result<(), FramingError> {
        if message.len() > self.limit_bytes {
            return Err(FramingError::TooLong { limit_bytes: self.limit_bytes });
        }
        if message.contains(&0) {
            return Err(FramingError::ContainsNul);
        }
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
