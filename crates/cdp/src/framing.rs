//! Messages on a byte stream: each ends with a NUL byte, as Chromium has it on `--remote-debugging-pipe`
//! (`content/browser/devtools/devtools_pipe_handler.cc`). Never looks inside a message.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// The largest message accepted, in bytes. Chromium itself sends at most 100 MB in one message.
pub const MAX_MESSAGE_BYTES: usize = 100 * 1024 * 1024;

/// Why a stream of messages cannot go on.
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
}

impl PipeCodec {
    /// A codec that accepts messages of up to `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, searched_bytes: 0 }
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
        let found = buffer[self.searched_bytes..].iter().position(|&byte| byte == 0);
        let length = found.map_or(buffer.len(), |offset| self.searched_bytes + offset);
        if length > self.limit_bytes {
            return Err(FramingError::TooLong { limit_bytes: self.limit_bytes });
        }
        if found.is_none() {
            self.searched_bytes = length;
            return Ok(None);
        }
        self.searched_bytes = 0;
        let mut message = buffer.split_to(length + 1);
        message.truncate(length);
        Ok(Some(message.freeze()))
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
            while let Ok(Some(message)) = codec.decode(&mut buffer) {
                prop_assert!(message.len() <= 64);
            }
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_before_it_is_complete() {
        let mut codec = PipeCodec::new(4);
        let mut buffer = BytesMut::from(&b"12345"[..]);
        assert!(matches!(codec.decode(&mut buffer), Err(FramingError::TooLong { limit_bytes: 4 })));
        assert!(codec.encode(Bytes::from_static(b"12345"), &mut buffer).is_err());
    }

    #[test]
    fn a_message_with_a_nul_is_not_sent() {
        let mut buffer = BytesMut::new();
        let sent = PipeCodec::default().encode(Bytes::from_static(b"a\0b"), &mut buffer);
        assert!(matches!(sent, Err(FramingError::ContainsNul)));
        assert!(buffer.is_empty());
    }
}
