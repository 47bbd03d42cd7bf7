//! Messages of the DevTools protocol on a pipe: framing must not depend on how the bytes arrive, and an envelope
//! that is read, written and read again is the same.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use pilotlight_cdp::{Envelope, PipeCodec};
use tokio_util::codec::{Decoder, Encoder};

const LIMIT_BYTES: usize = 64;

fn decoded(chunks: impl Iterator<Item = Vec<u8>>) -> Vec<Bytes> {
    let mut codec = PipeCodec::new(LIMIT_BYTES);
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
    for chunk in chunks {
        buffer.extend_from_slice(&chunk);
        while let Ok(Some(message)) = codec.decode(&mut buffer) {
            messages.push(message);
        }
    }
    messages
}

fuzz_target!(|data: &[u8]| {
    let whole = decoded(std::iter::once(data.to_vec()));
    let byte_by_byte = decoded(data.iter().map(|byte| vec![*byte]));
    assert_eq!(whole, byte_by_byte);
    for message in whole {
        assert!(message.len() <= LIMIT_BYTES && !message.contains(&0));
        let mut buffer = BytesMut::new();
        PipeCodec::new(LIMIT_BYTES)
            .encode(message.clone(), &mut buffer)
            .expect("what was decoded can be sent");
        assert_eq!(decoded(std::iter::once(buffer.to_vec())), [message]);
    }
    if let Ok(envelope) = Envelope::parse(data) {
        let _ = envelope.refusal();
        let written = envelope.to_bytes().expect("an envelope can be written");
        let again = Envelope::parse(&written).expect("what was written can be read");
        assert_eq!(written, again.to_bytes().expect("an envelope can be written"));
    }
});
