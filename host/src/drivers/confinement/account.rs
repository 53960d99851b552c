//! The user that a driver's process becomes.

use std::ffi::CString;

use rustix::{
    process::{Gid, Uid},
    thread::{CapabilitySet, CapabilitySets},
};
use serde::{Deserialize, Serialize};

/// A user with its groups, as the machine's directory (NSS) knew it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    name: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Account {
    /// The user of this name, if the daemon may become it.
    pub fn of(name: &str) -> Result<Self, String> {
        let fault = |found: String| format!("user = {name:?}: {found}");
        let user = nix::unistd::User::from_name(name)
            .map_err(|error| fault(format!("it cannot be looked up ({error}); check /etc/nsswitch.conf")))?
            .ok_or_else(|| fault("there is no such user; create it or name another".to_owned()))?;
        let c_name = CString::new(name).map_err(|error| fault(error.to_string()))?;
        let groups = nix::unistd::getgrouplist(&c_name, user.gid)
            .map_err(|error| fault(format!("its groups cannot be looked up ({error})")))?;
        let groups = groups.into_iter().map(nix::unistd::Gid::as_raw).collect();
        let account = Self { name: name.to_owned(), uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups };
        if account.is_ours() || may_change() {
            return Ok(account);
        }
        let own = rustix::process::geteuid().as_raw();
        Err(fault(format!(
            "a daemon that runs as uid {own} cannot become it; run it as root, or with CAP_SETUID and CAP_SETGID, or remove \
             `user`"
        )))
    }

    pub fn uid(&self) -> Uid {
        Uid::from_raw(self.uid)
    }

    fn is_ours(&self) -> bool {
        rustix::process::getuid() == self.uid() && rustix::process::geteuid() == self.uid()
    }

    /// Makes this process, which must have one thread, the user's, with no way back and no capability kept.
    pub fn become_it(&self) -> Result<(), String> {
        self.change().map_err(|error| format!("this process cannot become the user {} ({error})", self.name))?;
        let is_root = self.uid().is_root();
        if !self.is_ours() || (!is_root && rustix::thread::set_thread_uid(Uid::ROOT).is_ok()) {
            return Err(format!("this process could still be another user than {}", self.name));
        }
        Ok(())
    }

    fn change(&self) -> rustix::io::Result<()> {
        // A change of user clears it.
        let death_signal = rustix::process::parent_process_death_signal()?;
        if !self.is_ours() {
            let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
            let (uid, gid) = (self.uid(), Gid::from_raw(self.gid));
            rustix::thread::set_thread_groups(&groups)?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        }
        if !self.uid().is_root() {
            // The kernel does this when root becomes another, but not when the daemon had its capabilities as a plain user.
            let none = CapabilitySet::empty();
            rustix::thread::clear_ambient_capability_set()?;
            rustix::thread::set_capabilities(
                None,
                CapabilitySets { effective: none, permitted: none, inheritable: none },
            )?;
        }
        rustix::process::set_parent_process_death_signal(death_signal)
    }
}

fn may_change() -> bool {
    has(CapabilitySet::SETUID | CapabilitySet::SETGID)
}

/// Whether this process has all of these capabilities.
pub(super) fn has(wanted: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted))
}
