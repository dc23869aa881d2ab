//! Credentials of one thread: who it is for the kernel.
//!
//! Linux keeps credentials per thread. The C library changes those of all threads together; the calls here change
//! those of the calling thread alone.

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::call;
use crate::{Errno, UserAddress};

/// Whether the calling thread may change how the network is set up (`CAP_NET_ADMIN`). `capabilities.7`.
pub fn may_administer_network() -> bool {
    has(CapabilitySet::NET_ADMIN)
}

fn has(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// Users or groups. Those that count for files follow the effective ones; `setfsuid.2`, which would tell them, is a call that sandboxes
/// end programs for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ids {
    real: u32,
    effective: u32,
    saved: u32,
}

impl Ids {
    fn users() -> Result<Self, Errno> {
        Self::ask(|[real, effective, saved]| call::getresuid(real, effective, saved))
    }

    fn groups() -> Result<Self, Errno> {
        Self::ask(|[real, effective, saved]| call::getresgid(real, effective, saved))
    }

    fn ask(ask: impl FnOnce([UserAddress; 3]) -> Result<usize, Errno>) -> Result<Self, Errno> {
        let (mut real, mut effective, mut saved) = (0_u32, 0_u32, 0_u32);
        let places = [&raw mut real, &raw mut effective, &raw mut saved];
        ask(places.map(|place| UserAddress::of(place)))?;
        Ok(Self { real, effective, saved })
    }

    fn assume_as_users(self) -> Result<(), Errno> {
        if Self::users()? != self {
            call::setresuid(self.real, self.effective, self.saved)?;
        }
        Ok(())
    }

    fn assume_as_groups(self) -> Result<(), Errno> {
        if Self::groups()? != self {
            call::setresgid(self.real, self.effective, self.saved)?;
        }
        Ok(())
    }
}

/// `getgroups.2`.
fn supplementary_groups() -> Result<Vec<u32>, Errno> {
    let mut groups = vec![0_u32; 32];
    let count = match call::getgroups(groups.len(), UserAddress::of(groups.as_mut_ptr())) {
        // There are more.
        Err(Errno::INVAL) => {
            groups.resize(call::getgroups(0, UserAddress::new(0))?, 0);
            call::getgroups(groups.len(), UserAddress::of(groups.as_mut_ptr()))?
        }
        result => result?,
    };
    groups.truncate(count);
    Ok(groups)
}

/// Users, groups, supplementary groups and capabilities. `credentials.7`, `capabilities.7`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    users: Ids,
    groups: Ids,
    supplementary: Vec<u32>,
    capabilities: CapabilitySets,
}

impl Credentials {
    /// Those of the calling thread.
    ///
    /// # Errors
    /// Those of `getgroups.2` and the like; none is known for these arguments.
    pub fn of_this_thread() -> Result<Self, Errno> {
        let capabilities = rustix::thread::capabilities(None)?;
        let supplementary = supplementary_groups()?;
        Ok(Self { users: Ids::users()?, groups: Ids::groups()?, supplementary, capabilities })
    }

    /// Gives them to the calling thread, for good: it is to do one thing and to end. `setresuid.2`,
    /// `setresgid.2`, `setgroups.2`, `capset.2`.
    ///
    /// # Errors
    /// `EPERM` when the process may not become that user any more.
    pub fn assume(&self) -> Result<(), Errno> {
        if Self::of_this_thread()? == *self {
            return Ok(());
        }
        // Who becomes another user may lose the right to change the groups, or only gets it by that.
        let groups_first = has(CapabilitySet::SETGID);
        if groups_first {
            self.assume_groups()?;
        }
        // What goes beyond the rights of that user is given up below.
        rustix::thread::set_keep_capabilities(true)?;
        self.users.assume_as_users()?;
        if !groups_first {
            self.assume_groups()?;
        }
        if rustix::thread::capabilities(None)? != self.capabilities {
            rustix::thread::set_capabilities(None, self.capabilities)?;
        }
        Ok(())
    }

    fn assume_groups(&self) -> Result<(), Errno> {
        if supplementary_groups()? != self.supplementary {
            call::setgroups(self.supplementary.len(), UserAddress::of(self.supplementary.as_ptr()))?;
        }
        self.groups.assume_as_groups()
    }
}

/// What files see of a thread's credentials, in four system calls: enough to tell threads of one user from those of another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    user: u32,
    group: u32,
    supplementary: Vec<u32>,
    capabilities: u64,
}

impl Identity {
    /// That of the calling thread.
    pub fn of_this_thread() -> Self {
        // The calls do not fail for these arguments, but in a sandbox: what cannot be told is taken to be the same in all threads.
        let capabilities = rustix::thread::capabilities(None).map_or(0, |sets| sets.effective.bits());
        let supplementary = supplementary_groups().unwrap_or_default();
        let [user, group] = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()];
        Self { user, group, supplementary, capabilities }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has a thread become somebody, who does something.
    fn on_a_thread<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(act).join().expect("no panic")
    }

    /// The credentials of a user without rights, and of one with a right that he must keep.
    fn others() -> [Credentials; 2] {
        [CapabilitySet::empty(), CapabilitySet::CHOWN].map(|capabilities| {
            on_a_thread(move || {
                const MAY: &str = "root may become anybody";
                rustix::thread::set_keep_capabilities(true).expect(MAY);
                call::setgroups(0, UserAddress::new(0)).expect(MAY);
                call::setresgid(65534, 65534, 65534).expect(MAY);
                call::setresuid(65534, 65534, 65534).expect(MAY);
                let sets = CapabilitySets {
                    effective: capabilities,
                    permitted: capabilities,
                    inheritable: CapabilitySet::empty(),
                };
                rustix::thread::set_capabilities(None, sets).expect(MAY);
                Credentials::of_this_thread().expect("a thread has credentials")
            })
        })
    }

    #[test]
    fn a_thread_may_become_who_it_is_and_nobody_else_changes() {
        let before = Credentials::of_this_thread().expect("a thread has credentials");
        let identity = Identity::of_this_thread();
        let same = before.clone();
        on_a_thread(move || same.assume()).expect("no change is allowed");
        if rustix::process::geteuid().is_root() {
            for other in others() {
                let identity = identity.clone();
                on_a_thread(move || {
                    other.assume().expect("root may become anybody");
                    assert_eq!(Credentials::of_this_thread(), Ok(other));
                    assert_ne!(Identity::of_this_thread(), identity);
                });
            }
        }
        assert_eq!(Credentials::of_this_thread(), Ok(before));
        assert_eq!(Identity::of_this_thread(), identity);
    }
}
