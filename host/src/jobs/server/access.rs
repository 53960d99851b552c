//! Who may register and submit which function.
//!
//! Over TLS a connection is its certificate's common name. The first rule whose pattern fits decides; when none fits, a
//! certificate for the name X may register the function X and submit nothing: that is a node that works for its own
//! name. Administrators may do everything. Plain connections exist on loopback alone and may do everything too.

/// Placeholder in function patterns for the certificate's common name.
const NAME: &str = "{common_name}";

/// The rules of a job server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Common names that may register and submit everything, and use the text commands. `*` stands for any text.
    pub administrators: Vec<String>,
    /// Rules, first match first.
    pub rules: Vec<AccessRule>,
}

/// What the certificates of one pattern allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRule {
    /// Which common names. `*` stands for any text.
    pub common_name: String,
    /// Functions that may be registered. `*` stands for any text, `{common_name}` for the certificate's own name.
    pub may_register: Vec<String>,
    /// Functions to which jobs may be submitted, written alike.
    pub may_submit: Vec<String>,
}

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No pattern at all.
    #[error("an empty pattern fits nothing: write a name, or * for any")]
    Empty,
    /// A placeholder that does not exist.
    #[error("`{pattern}` holds a brace that is not part of {NAME}, the only placeholder")]
    Placeholder {
        /// The pattern.
        pattern: String,
    },
}

/// What a connection may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    Everything,
    Only { name: String, register: Vec<String>, submit: Vec<String> },
}

impl Access {
    /// Refuses patterns that could not have been meant.
    pub(super) fn check(&self) -> Result<(), PatternError> {
        let functions = self.rules.iter().flat_map(|rule| rule.may_register.iter().chain(&rule.may_submit));
        let names = self.administrators.iter().chain(self.rules.iter().map(|rule| &rule.common_name));
        let plain = names.map(|pattern| (pattern, pattern.clone()));
        let filled = functions.map(|pattern| (pattern, pattern.replace(NAME, "")));
        for (pattern, rest) in plain.chain(filled) {
            if pattern.is_empty() {
                return Err(PatternError::Empty);
            }
            if rest.contains(['{', '}']) {
                return Err(PatternError::Placeholder { pattern: pattern.clone() });
            }
        }
        Ok(())
    }

    /// Whether the bearer of a certificate for `name` may do everything.
    #[must_use]
    pub fn is_administrator(&self, name: &str) -> bool {
        self.rights(name).is_administrator()
    }

    /// What the bearer of a certificate for `name` may do.
    pub(super) fn rights(&self, name: &str) -> Rights {
        if self.administrators.iter().any(|pattern| fits(pattern, name, None)) {
            return Rights::Everything;
        }
        let name = name.to_owned();
        match self.rules.iter().find(|rule| fits(&rule.common_name, &name, None)) {
            Some(rule) => Rights::Only { name, register: rule.may_register.clone(), submit: rule.may_submit.clone() },
            None => Rights::Only { name, register: vec![NAME.to_owned()], submit: Vec::new() },
        }
    }
}

impl Rights {
    pub fn may_register(&self, function: &[u8]) -> bool {
        self.allows(function, |register, _| register)
    }

    pub fn may_submit(&self, function: &[u8]) -> bool {
        self.allows(function, |_, submit| submit)
    }

    pub fn is_administrator(&self) -> bool {
        *self == Rights::Everything
    }

    /// Whose certificate it is, for messages.
    pub fn name(&self) -> &str {
        match self {
            Rights::Everything => "an administrator",
            Rights::Only { name, .. } => name,
        }
    }

    fn allows<'a>(&'a self, function: &[u8], which: impl Fn(&'a [String], &'a [String]) -> &'a [String]) -> bool {
        match self {
            Rights::Everything => true,
            Rights::Only { name, register, submit } => std::str::from_utf8(function).is_ok_and(|function| {
                which(register, submit).iter().any(|pattern| fits(pattern, function, Some(name)))
            }),
        }
    }
}

/// Whether `text` is of the form `pattern`. The name takes the place of its placeholder as it is: a `*` in it is no
/// wildcard.
fn fits(pattern: &str, text: &str, name: Option<&str>) -> bool {
    if let Some(rest) = pattern.strip_prefix('*') {
        return text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .any(|at| text.get(at..).is_some_and(|text| fits(rest, text, name)));
    }
    if let (Some(name), Some(rest)) = (name, pattern.strip_prefix(NAME)) {
        return text.strip_prefix(name).is_some_and(|text| fits(rest, text, Some(name)));
    }
    let mut characters = pattern.chars();
    match characters.next() {
        None => text.is_empty(),
        Some(first) => text.strip_prefix(first).is_some_and(|text| fits(characters.as_str(), text, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // G20
    #[test]
    fn without_rules_a_node_registers_its_own_name_alone() {
        let rights = Access::default().rights("node-7");
        assert!(rights.may_register(b"node-7"));
        assert!(!rights.may_register(b"node-70") && !rights.may_register(b"node") && !rights.may_register(b"\xff"));
        assert!(!rights.may_submit(b"node-7") && !rights.is_administrator());
        // A name made of wildcards gives no more than itself.
        let rights = Access::default().rights("*");
        assert!(rights.may_register(b"*") && !rights.may_register(b"node-7"));
    }

    // G20
    #[test]
    fn the_first_rule_that_fits_decides() {
        let rule = |name: &str, register: &[&str], submit: &[&str]| AccessRule {
            common_name: name.to_owned(),
            may_register: register.iter().map(|text| (*text).to_owned()).collect(),
            may_submit: submit.iter().map(|text| (*text).to_owned()).collect(),
        };
        let access = Access {
            administrators: vec!["root".to_owned()],
            rules: vec![
                rule("pool", &["libra_pool_mgm"], &["node-*"]),
                rule("node-*", &["lbaas-{common_name}", "{common_name}"], &[]),
            ],
        };
        access.check().unwrap();
        assert!(access.rights("root").is_administrator());
        let pool = access.rights("pool");
        assert!(pool.may_register(b"libra_pool_mgm") && pool.may_submit(b"node-1") && !pool.may_submit(b"other"));
        let node = access.rights("node-1");
        assert!(node.may_register(b"lbaas-node-1") && node.may_register(b"node-1"));
        assert!(!node.may_register(b"lbaas-node-2") && !node.may_submit(b"node-1"));
        assert!(access.rights("stranger").may_register(b"stranger"));
    }

    #[test]
    fn patterns_that_mean_nothing_are_refused() {
        let with = |pattern: &str| Access {
            administrators: Vec::new(),
            rules: vec![AccessRule {
                common_name: "*".to_owned(),
                may_register: vec![pattern.to_owned()],
                may_submit: Vec::new(),
            }],
        };
        assert_eq!(with("").check(), Err(PatternError::Empty));
        assert!(with("x-{cn}").check().unwrap_err().to_string().contains("{common_name}"));
        with("x-{common_name}-*").check().unwrap();
    }
}
