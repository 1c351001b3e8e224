//! Pseudo-random numbers: the same sequence for the same seed.

/// Marsaglia's xorshift.
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice with this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    /// Any word.
    pub const fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`, 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The upper bits are the better ones.
        (self.word() >> 16) % bound.max(1)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`, 0 if there are none.
    pub fn one_of(&mut self, choices: &[u64]) -> u64 {
        let index = self.below(choices.len() as u64) as usize;
        choices.get(index).copied().unwrap_or(0)
    }
}
