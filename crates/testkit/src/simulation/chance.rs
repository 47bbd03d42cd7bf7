//! One seeded source of chance for the whole simulation.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

pub(super) struct Chance(SmallRng);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// Below `bound`, which is at least 1.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0.random_range(0..bound)
    }

    /// Between two bounds, both possible.
    pub(super) fn between<T: rand::distr::uniform::SampleUniform + PartialOrd>(
        &mut self,
        low: T,
        high: T,
    ) -> T {
        self.0.random_range(low..=high)
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.0.random_range(0..from.len())])
    }
}
