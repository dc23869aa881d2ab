//! FSETXATTR, SETXATTR, FGETXATTR and GETXATTR: extended attributes.

use ringer_abi::{Opcode, Sqe};
use ringer_sys::{Errno, UserAddress, call};

use crate::check::{no_fixed_file, with_brief_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};
use crate::path::Path;

/// `XATTR_CREATE` and `XATTR_REPLACE`.
const SET_FLAGS: u32 = 0x3;
/// `XATTR_SIZE_MAX`: the largest value, in bytes.
const LARGEST_VALUE: u32 = 1 << 16;

/// Whose attribute it is: that of the file of the request, or that of a path.
#[derive(Debug)]
struct Attribute {
    path: Option<Path>,
    name: Path,
}

impl Attribute {
    fn prepare(sqe: &Sqe) -> Result<Self, Errno> {
        let by_path = [Opcode::Setxattr.number(), Opcode::Getxattr.number()].contains(&sqe.opcode());
        if by_path {
            no_fixed_file(sqe)?;
        }
        // Linux calls an empty name out of range, not missing.
        let name = Path::new(sqe.addr())
            .map_err(|errno| if errno == Errno::NOENT { Errno::RANGE } else { errno })?;
        let path = if by_path { Some(Path::new(sqe.addr3())?) } else { None };
        Ok(Self { path, name })
    }

    fn capture(&mut self) -> Result<(), Errno> {
        self.name
            .capture()
            .map_err(|errno| if errno == Errno::NAMETOOLONG { Errno::RANGE } else { errno })?;
        self.path.as_mut().map_or(Ok(()), Path::capture)
    }
}

/// `IORING_OP_FSETXATTR` and `IORING_OP_SETXATTR`. Source: `io_uring_prep_setxattr.3`, `setxattr.2`.
#[derive(Debug)]
struct SetAttribute {
    attribute: Attribute,
    value: UserAddress,
    captured: Option<Box<[u8]>>,
    size: u32,
    flags: u32,
}

impl SetAttribute {
    fn prepare(sqe: &Sqe) -> Result<Self, Errno> {
        let flags = sqe.op_flags();
        if flags & !SET_FLAGS != 0 {
            return Err(Errno::INVAL);
        }
        let attribute = Attribute::prepare(sqe)?;
        let (value, size) = (UserAddress::new(sqe.off()), sqe.len());
        if size > LARGEST_VALUE {
            return Err(Errno::TOOBIG);
        }
        if size != 0 {
            // The kernel copies the value at preparation; a bad address is noticed then.
            value.read::<u8>()?;
        }
        Ok(Self { attribute, value, captured: None, size, flags })
    }

    fn capture(&mut self) -> Result<(), Errno> {
        self.attribute.capture()?;
        self.captured = Some(self.value.read_vec::<u8>(self.size as usize)?.into_boxed_slice());
        Ok(())
    }

    fn issue(&self, context: &Issue<'_>) -> Outcome {
        let name = self.attribute.name.address();
        let value = self.captured.as_ref().map_or(self.value, |bytes| UserAddress::of(bytes.as_ptr()));
        let size = self.size as usize;
        with_brief_patience(context, || match &self.attribute.path {
            None => call::fsetxattr(context.fd, name, value, size, self.flags),
            Some(path) => call::setxattr(path.address(), name, value, size, self.flags),
        })
        .tolerated_of(context.fd)
    }
}

#[derive(Debug)]
struct GetAttribute {
    attribute: Attribute,
    buffer: UserAddress,
    size: u32,
}

impl GetAttribute {
    fn prepare(sqe: &Sqe) -> Result<Self, Errno> {
        if sqe.op_flags() != 0 {
            return Err(Errno::INVAL);
        }
        let attribute = Attribute::prepare(sqe)?;
        Ok(Self { attribute, buffer: UserAddress::new(sqe.off()), size: sqe.len() })
    }

    fn issue(&self, context: &Issue<'_>) -> Outcome {
        let name = self.attribute.name.address();
        let size = self.size as usize;
        with_brief_patience(context, || match &self.attribute.path {
            None => call::fgetxattr(context.fd, name, self.buffer, size),
            Some(path) => call::getxattr(path.address(), name, self.buffer, size),
        })
        .tolerated_of(context.fd)
    }
}

macro_rules! operation {
    ($(#[$meta:meta])* $name:ident, $inner:ident, $traits:expr) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name($inner);

        impl Op for $name {
            const TRAITS: Traits = $traits;

            fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
                $inner::prepare(sqe).map(Self)
            }

            fn capture(&mut self) -> Result<(), Errno> {
                self.0.capture()
            }

            fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
                self.0.issue(context)
            }
        }
    };
}

impl GetAttribute {
    fn capture(&mut self) -> Result<(), Errno> {
        self.attribute.capture()
    }
}

operation! {
    /// `IORING_OP_FSETXATTR`. Source: `io_uring_prep_fsetxattr.3`, `fsetxattr.2`.
    FileSetxattr, SetAttribute, Traits::FILE
}
operation! {
    /// `IORING_OP_SETXATTR`. Source: `io_uring_prep_setxattr.3`, `setxattr.2`.
    PathSetxattr, SetAttribute, Traits::NONE
}
operation! {
    /// `IORING_OP_FGETXATTR`. Source: `io_uring_prep_fgetxattr.3`, `fgetxattr.2`.
    FileGetxattr, GetAttribute, Traits::FILE
}
operation! {
    /// `IORING_OP_GETXATTR`. Source: `io_uring_prep_getxattr.3`, `getxattr.2`.
    PathGetxattr, GetAttribute, Traits::NONE
}
