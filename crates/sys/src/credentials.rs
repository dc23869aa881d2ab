//! Credentials of one thread: who it is for the file system.
//!
//! Linux keeps credentials per thread. The C library changes those of all threads together; the calls here change
//! those of the calling thread alone.

use crate::call;
use crate::{Errno, UserAddress};

/// "Leave this one as it is."
const UNCHANGED: u32 = u32::MAX;

/// Whether the calling thread may change how the network is set up (`CAP_NET_ADMIN`). `capabilities.7`.
pub fn may_administer_network() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

/// Effective user and group, and the supplementary groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    user: u32,
    group: u32,
    groups: Vec<u32>,
}

impl Credentials {
    /// Those of the calling thread. `geteuid.2`, `getegid.2`, `getgroups.2`.
    ///
    /// # Errors
    /// Those of `getgroups.2`; none is known for these arguments.
    pub fn of_this_thread() -> Result<Self, Errno> {
        let count = call::getgroups(0, UserAddress::new(0))?;
        let mut groups = vec![0_u32; count];
        let count = call::getgroups(count, UserAddress::of(groups.as_mut_ptr()))?;
        groups.truncate(count);
        Ok(Self {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
            groups,
        })
    }

    /// Gives them to the calling thread, for good: it is to do one thing and to end. `setresuid.2`,
    /// `setresgid.2`, `setgroups.2`.
    ///
    /// # Errors
    /// `EPERM` when the process may not become that user any more.
    pub fn assume(&self) -> Result<(), Errno> {
        if Self::of_this_thread()? == *self {
            return Ok(());
        }
        // Whichever user may change the groups does it.
        let groups_first = rustix::process::geteuid().is_root();
        if groups_first {
            self.assume_groups()?;
        }
        call::setresuid(UNCHANGED, self.user, UNCHANGED)?;
        if groups_first { Ok(()) } else { self.assume_groups() }
    }

    fn assume_groups(&self) -> Result<(), Errno> {
        let now = Self::of_this_thread()?;
        if now.groups != self.groups {
            call::setgroups(self.groups.len(), UserAddress::of(self.groups.as_ptr()))?;
        }
        if now.group != self.group {
            call::setresgid(UNCHANGED, self.group, UNCHANGED)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_become_who_it_is_and_nobody_else_changes() {
        let before = Credentials::of_this_thread().expect("a thread has credentials");
        let other = before.clone();
        std::thread::spawn(move || other.assume()).join().expect("no panic").expect("no change is allowed");
        if rustix::process::geteuid().is_root() {
            let nobody = Credentials { user: 65534, group: 65534, groups: Vec::new() };
            let seen = std::thread::spawn(move || {
                nobody.assume().expect("root may become anybody");
                Credentials::of_this_thread().expect("a thread has credentials") == nobody
            });
            assert!(seen.join().expect("no panic"));
        }
        assert_eq!(Credentials::of_this_thread(), Ok(before));
    }
}
