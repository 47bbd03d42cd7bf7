//! Both directions without a stream, for fuzz targets.

use super::decode::Decoder;
use super::{EncodeError, MAX_BINARY_BYTES, encode as encoding};

/// Returns the binary form of a JSON text.
///
/// # Errors
/// As the writer has them.
pub fn encode(json: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encoding::encode(json, MAX_BINARY_BYTES, &mut out).map(|()| out)
}

/// Returns the JSON texts, each with a NUL byte at its end, of a stream that arrives in these pieces; `None` where it
/// gets out of step.
pub fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let (mut decoder, mut out) = (Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.decode(piece, &mut out).ok()?;
    }
    Some(out)
}
