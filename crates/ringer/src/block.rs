//! The outer filter of `--block-kernel`: what Docker's default profile does to io_uring.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::failure::Failure;

/// `io_uring_setup`, `io_uring_enter`, `io_uring_register`: the same numbers on every architecture.
const CALLS: [i64; 3] = [425, 426, 427];

/// Makes the three calls fail with `EPERM` in this process and all that it starts.
pub fn block() -> Result<(), Failure> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| Failure::Architecture)?;
    let refused = SeccompAction::Errno(rustix::io::Errno::PERM.raw_os_error().cast_unsigned());
    let rules: BTreeMap<_, _> = CALLS.into_iter().map(|number| (number, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture)
        .and_then(BpfProgram::try_from)
        .map_err(seccompiler::Error::Backend)?;
    Ok(seccompiler::apply_filter(&filter)?)
}
