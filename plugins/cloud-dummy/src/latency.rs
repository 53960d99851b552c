//! How long things take.

use capstan_plugin_api::ConfigSchema;
use serde::Deserialize;

use crate::random::Random;

/// Ten days; a wait ends with its call's deadline long before, and a build that takes longer is one that never ends.
const LONGEST_MS: f64 = 864e6;

/// Kinds of distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ConfigSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    #[default]
    Constant,
    Uniform,
    Normal,
    Lognormal,
}

/// A distribution of times.
#[derive(Clone, Debug, Default, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Distribution {
    /// `constant`: always `ms`. `uniform`: from `min_ms` to `max_ms`. `normal`: mean `ms`, standard deviation `deviation_ms`.
    /// `lognormal`: median `ms`, shape `sigma`.
    shape: Shape,
    /// Milliseconds: the value, the mean or the median.
    ms: f64,
    /// Standard deviation of `normal`, in milliseconds.
    deviation_ms: f64,
    /// Shape of `lognormal`: the standard deviation of the logarithm. 0.5 is a calm server, 1 an uneven one.
    sigma: f64,
    /// Nothing is shorter.
    min_ms: f64,
    /// Nothing is longer, the tail left aside.
    max_ms: Option<f64>,
    /// Probability, 0 to 1, that `tail_ms` is added.
    tail_probability: f64,
    /// What is added then, in milliseconds.
    tail_ms: f64,
}

impl Distribution {
    pub(crate) fn check(&self, place: &str) -> Result<(), String> {
        let max = self.max_ms.unwrap_or(LONGEST_MS);
        for (key, value) in [
            ("ms", self.ms),
            ("deviation_ms", self.deviation_ms),
            ("sigma", self.sigma),
            ("min_ms", self.min_ms),
            ("max_ms", max),
            ("tail_ms", self.tail_ms),
        ] {
            if !(0.0..=LONGEST_MS).contains(&value) {
                return Err(format!("{place}.{key} is {value}; expected 0 to {LONGEST_MS}"));
            }
        }
        if !(0.0..=1.0).contains(&self.tail_probability) {
            return Err(format!("{place}.tail_probability is {}; expected 0 to 1", self.tail_probability));
        }
        if self.min_ms > max {
            return Err(format!("{place}.min_ms is {}, which is more than max_ms, {max}", self.min_ms));
        }
        if self.shape == Shape::Uniform && self.max_ms.is_none() {
            return Err(format!("{place}.max_ms is missing; a uniform distribution needs it"));
        }
        Ok(())
    }

    /// Milliseconds.
    pub(crate) fn draw(&self, random: &mut Random) -> f64 {
        let max = self.max_ms.unwrap_or(LONGEST_MS);
        let time = match self.shape {
            Shape::Constant => self.ms,
            Shape::Uniform => self.min_ms + (max - self.min_ms) * random.unit(),
            Shape::Normal => self.ms + self.deviation_ms * random.normal(),
            Shape::Lognormal => self.ms * (self.sigma * random.normal()).exp(),
        };
        let tail =
            if self.tail_probability > 0.0 && random.unit() < self.tail_probability { self.tail_ms } else { 0.0 };
        (time.clamp(self.min_ms, max) + tail).min(LONGEST_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(json: &str) -> Vec<f64> {
        let distribution: Distribution = serde_json::from_str(json).unwrap();
        distribution.check("latency.x").unwrap();
        let mut all: Vec<f64> = (0..10_000).map(|n| distribution.draw(&mut Random::of(7, "x", n))).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    #[test]
    fn each_shape_is_as_it_says() {
        assert_eq!(draws("{}").last(), Some(&0.0));
        let constant = draws(r#"{ "ms": 5 }"#);
        assert_eq!((constant[0], constant[9_999]), (5.0, 5.0));
        let uniform = draws(r#"{ "shape": "uniform", "min_ms": 10, "max_ms": 20 }"#);
        assert!(uniform[0] >= 10.0 && uniform[9_999] < 20.0 && (14.5..15.5).contains(&uniform[5_000]));
        let normal = draws(r#"{ "shape": "normal", "ms": 100, "deviation_ms": 10, "min_ms": 80 }"#);
        assert!(normal[0] >= 80.0 && (99.0..101.0).contains(&normal[5_000]) && (108.0..112.0).contains(&normal[8_413]));
        let lognormal = draws(r#"{ "shape": "lognormal", "ms": 100, "sigma": 0.5, "max_ms": 1000 }"#);
        assert!((97.0..103.0).contains(&lognormal[5_000]) && (155.0..175.0).contains(&lognormal[8_413]));
        let tail = draws(r#"{ "ms": 1, "tail_probability": 0.01, "tail_ms": 500 }"#);
        assert!(tail[9_800] == 1.0 && tail[9_950] == 501.0);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (json, words) in [
            (r#"{ "ms": -1 }"#, "latency.x.ms is -1"),
            (r#"{ "tail_probability": 2 }"#, "expected 0 to 1"),
            (r#"{ "min_ms": 3, "max_ms": 2 }"#, "more than max_ms"),
            (r#"{ "shape": "uniform" }"#, "max_ms is missing"),
        ] {
            let distribution: Distribution = serde_json::from_str(json).unwrap();
            let said = distribution.check("latency.x").unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}
