//! Stage checksum: the `sha256` of the entry, its line in the lock file, and whether one of them has to be there.

use crate::{
    config::{DriverPolicy, Trust},
    drivers::error::{Failure, Stage},
};

fn refuse(found: String, expected: String, remedy: &str) -> Result<(), Failure> {
    Err(Failure::new(Stage::Checksum, found, expected, remedy))
}

/// Holds a hash of 64 lower-case digits against what the entry demands.
pub(super) fn check(pin: Option<&str>, trust: &Trust, found: &str) -> Result<(), Failure> {
    if let Some(pin) = pin
        && !pin.eq_ignore_ascii_case(found)
    {
        return refuse(
            format!("sha256 {found}"),
            format!("{pin}, the pin"),
            "install the pinned file, or change `sha256` if you know this one to be right",
        );
    }
    match &trust.locked {
        Some(locked) if locked.sha256 != found => refuse(
            format!("sha256 {found}"),
            format!("{}, which the lock file has for {}", locked.sha256, locked.path.display()),
            "install the locked file, or run capstan driver lock if you know this one to be right",
        ),
        None if trust.policy == DriverPolicy::Pinned && pin.is_none() => refuse(
            format!("sha256 {found}, which nothing pins"),
            "a pin, as drivers.policy = \"pinned\" asks".to_owned(),
            "add it as `sha256`, or run capstan driver lock, if you know the file to be right",
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LockedFile;

    fn trust(policy: DriverPolicy, locked: Option<&str>) -> Trust {
        let locked = locked.map(|sha256| LockedFile { path: "/d.so".into(), sha256: sha256.into(), version: None });
        Trust { policy, locked, ..Trust::default() }
    }

    #[test]
    fn pin_and_lock_both_hold_and_the_policy_asks_for_one_of_them() {
        use DriverPolicy::{Any, Pinned, Signed};
        for (pin, policy, locked, expected) in [
            (None, Any, None, None),
            (None, Signed, None, None),
            (None, Pinned, None, Some("a pin, as drivers.policy = \"pinned\" asks")),
            (Some("AB"), Pinned, None, None),
            (None, Pinned, Some("ab"), None),
            (Some("ab"), Any, Some("ab"), None),
            (Some("cd"), Any, Some("ab"), Some("cd, the pin")),
            (Some("ab"), Any, Some("cd"), Some("cd, which the lock file has for /d.so")),
            (None, Any, Some("cd"), Some("cd, which the lock file has for /d.so")),
        ] {
            let found = check(pin, &trust(policy, locked), "ab").err();
            let found = found.map(|failure| (failure.stage, failure.expected));
            assert_eq!(found, expected.map(|text| (Stage::Checksum, text.to_owned())), "{pin:?} {policy} {locked:?}");
        }
    }
}
