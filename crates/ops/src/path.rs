//! A path argument: the program's until it is captured.

use std::ffi::CString;

use ringer_sys::{Errno, UserAddress};

/// `AT_EMPTY_PATH` of `linkat.2` and `statx.2`.
pub(crate) const AT_EMPTY_PATH: u32 = 0x1000;

/// Where a NUL-terminated string of the program is: a path, or the name of an attribute.
#[derive(Debug)]
pub(crate) enum Path {
    /// Still in the program's memory. The kernel reads it during the call.
    Program(UserAddress),
    /// Copied, because the request outlived `enter`.
    Captured(CString),
}

impl Path {
    /// The path at an address from an SQE.
    ///
    /// The kernel copies paths at preparation, and a request that fails there ends the batch. So the
    /// first byte is looked at here; the rest is seen by the system call, or by [`capture`](Self::capture).
    ///
    /// # Errors
    /// `EFAULT` for a bad address, `ENOENT` for an empty path.
    pub(crate) fn new(address: u64) -> Result<Self, Errno> {
        Self::with_flags(address, 0)
    }

    /// As [`new`](Self::new), but with [`AT_EMPTY_PATH`] it may be empty: the directory descriptor
    /// itself is meant. The null address, which newer hosts take for an empty path, is `EFAULT` all the same.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub(crate) fn with_flags(address: u64, flags: u32) -> Result<Self, Errno> {
        let address = UserAddress::new(address);
        if address.read::<u8>()? == 0 && flags & AT_EMPTY_PATH == 0 {
            return Err(Errno::NOENT);
        }
        Ok(Self::Program(address))
    }

    /// Copies it.
    ///
    /// # Errors
    /// `EFAULT`, `ENAMETOOLONG`, `ENOMEM`.
    pub(crate) fn capture(&mut self) -> Result<(), Errno> {
        if let Self::Program(address) = self {
            *self = Self::Captured(address.read_path()?);
        }
        Ok(())
    }

    /// The address to hand to a system call.
    pub(crate) fn address(&self) -> UserAddress {
        match self {
            Self::Program(address) => *address,
            Self::Captured(path) => UserAddress::of(path.as_ptr()),
        }
    }
}
