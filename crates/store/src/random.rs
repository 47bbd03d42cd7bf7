//! Random bytes for keys.

/// Returns bytes from a generator that is seeded by the operating system.
pub(crate) fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes[..]);
    bytes
}
