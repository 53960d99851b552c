//! The sandbox: Landlock rules (landlock(7)), which a process lays on itself and all that it will start.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use serde::{Deserialize, Serialize};

use super::base;
use crate::config::Sandbox;

/// Versions of Landlock that bring something which the sandbox uses, the newest first. Later ones are not asked for: what they
/// add has not been tried with drivers.
const VERSIONS: [ABI; 6] = [ABI::V6, ABI::V5, ABI::V4, ABI::V3, ABI::V2, ABI::V1];

/// A sandbox and how much of it this kernel can enforce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rules {
    sandbox: Sandbox,
    /// Version of Landlock that is used; 0 where the kernel has none.
    version: i32,
}

impl Rules {
    pub fn of(sandbox: Sandbox) -> Self {
        let version = VERSIONS.into_iter().find(|version| handled(*version).and_then(Ruleset::create).is_ok());
        Self { sandbox, version: version.unwrap_or(ABI::Unsupported) as i32 }
    }

    pub fn shortfalls(&self) -> Vec<String> {
        let version = self.version;
        if version == 0 {
            return vec![
                "sandbox is not enforced: this kernel has no Landlock (Linux 5.13, and `landlock` in its lsm= list)"
                    .to_owned(),
            ];
        }
        let lacks = [
            (3, "rules on truncating files (Linux 6.2): what may be read can be emptied"),
            (4, "network rules (Linux 6.7): connect is not enforced"),
            (5, "rules on device control (Linux 6.10): ioctl is not restricted"),
            (6, "rules on signals and abstract sockets (Linux 6.12): neither is restricted"),
        ];
        let lacks = lacks.into_iter().filter(|(needed, _)| version < *needed);
        let mut found: Vec<String> =
            lacks.map(|(_, what)| format!("Landlock of this kernel (ABI {version}) lacks {what}")).collect();
        let named = [("read", &self.sandbox.read), ("write", &self.sandbox.write)];
        for (key, path) in named.into_iter().flat_map(|(key, paths)| paths.iter().map(move |path| (key, path))) {
            if let Err(error) = path.metadata() {
                found.push(format!(
                    "sandbox.{key} names {}, where nothing can be admitted ({error}); create it, then restart the driver",
                    path.display()
                ));
            }
        }
        found
    }

    /// The rules, ready to be enforced; none where the kernel has no Landlock. Opens every path that is named; one that
    /// cannot be opened admits nothing.
    pub fn open(&self) -> Result<Option<RulesetCreated>, String> {
        if self.version == 0 {
            return Ok(None);
        }
        self.ruleset(ABI::from(self.version)).map(Some).map_err(|error| refuse(&error))
    }

    fn ruleset(&self, version: ABI) -> Result<RulesetCreated, RulesetError> {
        let (read, write) = (AccessFs::from_read(version), writing(version));
        let mut ruleset = handled(version)?
            .create()?
            .add_rules(path_beneath_rules(base::READ, read))?
            .add_rules(path_beneath_rules(base::WRITE, write))?
            .add_rules(path_beneath_rules(&self.sandbox.read, read))?
            .add_rules(path_beneath_rules(&self.sandbox.write, write))?;
        if version >= ABI::V4 {
            for port in &self.sandbox.connect {
                ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
            }
        }
        Ok(ruleset)
    }

    /// Lays the rules on this process, which must have one thread.
    pub fn enforce(ruleset: Option<RulesetCreated>) -> Result<(), String> {
        let Some(ruleset) = ruleset else { return Ok(()) };
        let status = ruleset.restrict_self().map_err(|error| refuse(&error))?;
        if status.ruleset == RulesetStatus::FullyEnforced {
            return Ok(());
        }
        Err("the sandbox cannot be enforced: Landlock took the rules in part only".to_owned())
    }
}

fn refuse(error: &RulesetError) -> String {
    format!("the sandbox cannot be enforced ({error})")
}

/// Everything that this version can refuse is refused unless a rule admits it, listening on TCP ports too, for which there is
/// no rule. The kernel must know all of it.
fn handled(version: ABI) -> Result<Ruleset, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(version))?;
    if version >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(version))?;
    }
    if version >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(version))?;
    }
    Ok(ruleset)
}

/// Reading and changing. What a driver writes it may execute only where `read` names the place too; devices it may not make.
fn writing(version: ABI) -> BitFlags<AccessFs> {
    AccessFs::from_all(version) & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock)
}
