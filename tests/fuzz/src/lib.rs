//! What targets share: from the fuzzer's bytes to values, which are always something, also when the bytes have run out; and a daemon to
//! ask.

pub mod world;

/// The bytes of one input, taken from the front.
pub struct Source<'a>(pub &'a [u8]);

impl<'a> Source<'a> {
    /// One byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// True for half of all bytes.
    pub fn coin(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// A number of any size, small ones as often as great ones.
    pub fn number(&mut self) -> u32 {
        match self.byte() {
            small @ ..=199 => u32::from(small),
            _ => self.bytes(4).iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
        }
    }

    /// At most `most` bytes.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// One of the choices, which are not empty.
    pub fn one<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// One of the choices, or any text of at most 63 bytes: one time in four.
    pub fn text(&mut self, choices: &[&str]) -> String {
        if !self.byte().is_multiple_of(4) {
            return self.one(choices).to_owned();
        }
        let length = self.below(64);
        String::from_utf8_lossy(self.bytes(length)).into_owned()
    }

    /// A value one time in two.
    pub fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.coin().then(|| make(self))
    }

    /// Fewer than `end` values.
    pub fn list<T>(&mut self, end: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(end)).map(|_| make(self)).collect()
    }
}
