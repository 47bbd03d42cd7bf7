//! Conversations of a client, a page and a browser through the virtual browser: no name of another session goes to
//! the client, and none goes to the browser in a command. The bytes of the input decide who says what.
#![no_main]

#[path = "../../crates/gateway/tests/conversation/world.rs"]
mod world;

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use rand::TryRng;
use world::World;

/// Steps of one conversation at the most.
const STEPS_MAX: usize = 400;

/// Decides by the bytes of the input, and by zeros after them.
struct Choices<'a> {
    left: &'a [u8],
}

impl TryRng for Choices<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // One byte decides: choices are among a few, by the upper bits.
        let Some((first, left)) = self.left.split_first() else { return Ok(0) };
        self.left = left;
        Ok(u32::from(*first).wrapping_mul(0x0101_0101))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from(self.try_next_u32()?) << 32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let taken = self.left.len().min(bytes.len());
        let (first, left) = self.left.split_at(taken);
        bytes[..taken].copy_from_slice(first);
        bytes[taken..].fill(0);
        self.left = left;
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let mut world = World::new(Choices { left: data });
    // One step takes some ten choices.
    for _ in 0..(data.len() / 8).min(STEPS_MAX) {
        world.step();
    }
});
