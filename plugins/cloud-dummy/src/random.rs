//! Chance that repeats itself.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A stream of numbers (SplitMix64). What it gives depends only on the seed, on what it is drawn for and on how often that was
/// drawn for before, so calls of other methods, and the order in which threads arrive, change nothing.
pub(crate) struct Random(u64);

impl Random {
    /// The stream of the `count`-th time that something is drawn for `purpose`.
    pub(crate) fn of(seed: u64, purpose: &str, count: u64) -> Self {
        let mut stream = Self(seed ^ hash(purpose));
        stream.0 = stream.next() ^ count;
        stream
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, not including, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of the normal distribution with mean 0 and deviation 1 (Box-Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

/// The same in every process and version: it decides what a seed gives.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// For indices in memory only.
pub(crate) fn index_hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_for_ever() {
        let draw = |seed, purpose, count| Random::of(seed, purpose, count).next();
        // Written down: a seed in somebody's test goes on showing the same fault.
        assert_eq!(draw(42, "create_node", 1), 10_972_472_201_439_942_300);
        assert_eq!(draw(42, "create_node", 1), draw(42, "create_node", 1));
        assert_ne!(draw(42, "create_node", 1), draw(42, "create_node", 2));
        assert_ne!(draw(42, "create_node", 1), draw(42, "list_nodes", 1));
        assert_ne!(draw(42, "create_node", 1), draw(43, "create_node", 1));
    }

    #[test]
    fn draws_are_spread_as_they_say() {
        let count = 20_000;
        let units: Vec<f64> = (0..count).map(|number| Random::of(1, "u", number).unit()).collect();
        let below = units.iter().filter(|unit| **unit < 0.25).count();
        assert!((4_700..5_300).contains(&below), "{below}");
        let normals: Vec<f64> = (0..count).map(|number| Random::of(1, "n", number).normal()).collect();
        let within = normals.iter().filter(|value| value.abs() < 1.0).count();
        assert!((13_300..14_000).contains(&within), "68.3 % lie within one deviation, found {within}");
    }
}
