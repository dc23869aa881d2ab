//! Real programs, unmodified, each checked by its own verification.
//!
//! A check runs one or more programs in a directory of its own, either natively or under
//! `ringer run --when always --block-kernel`. Under Ringer it also asks whether the ring really
//! served the requests that the work implies, for most programs fall back silently when they
//! cannot make a ring.

mod fio;
mod plocate;
mod qemu;
mod qemu_bench;
mod session;
mod summary;

pub use session::{Failure, Session, Side};

/// What a check does. The check itself says what must hold.
type Run = Box<dyn Fn(&Session) -> Result<(), Failure>>;

/// One check.
pub struct Check {
    /// `PROGRAM/WHAT`, unique.
    pub name: String,
    run: Run,
}

impl Check {
    fn new(name: impl Into<String>, run: impl Fn(&Session) -> Result<(), Failure> + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Runs the check in the session's directory.
    ///
    /// # Errors
    /// [`Failure::Skipped`] when this machine lacks a program, else [`Failure::Failed`] with the reason.
    pub fn run(&self, session: &Session) -> Result<(), Failure> {
        (self.run)(session)
    }
}

/// Every check, in the order in which they run.
pub fn checks() -> Vec<Check> {
    [fio::checks(), qemu_bench::checks(), qemu::checks(), plocate::checks()].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let checks = super::checks();
        let names: BTreeSet<_> = checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names.len(), checks.len());
    }
}
