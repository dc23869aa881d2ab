//! Where the bytes of a READ or WRITE are: one range of memory, or several.

use ringer_sys::{Errno, UserAddress};

/// `UIO_MAXIOV`: the most vectors of one request.
const MOST_VECTORS: u32 = 1024;

/// One `struct iovec`: address and length.
pub(crate) type Vector = [u64; 2];

/// Where the bytes are.
#[derive(Debug)]
pub(crate) enum Memory {
    /// One range. A vector of one element is one, too.
    Range(Vector),
    /// Several, copied from the program at preparation.
    Vectors(Box<[Vector]>),
}

impl Memory {
    /// The vectors that an SQE points to.
    ///
    /// # Errors
    /// `EINVAL` for too many of them or a negative length, `EFAULT`.
    pub(crate) fn read_vectors(address: u64, count: u32) -> Result<Self, Errno> {
        if count > MOST_VECTORS {
            return Err(Errno::INVAL);
        }
        if count == 1 {
            let vector = UserAddress::new(address).read::<Vector>()?;
            check_length(vector[1])?;
            return Ok(Self::Range(vector));
        }
        let vectors = UserAddress::new(address).read_vec::<Vector>(count as usize)?;
        for [_, length] in &vectors {
            check_length(*length)?;
        }
        Ok(Self::Vectors(vectors.into_boxed_slice()))
    }

    /// How many bytes that is.
    pub(crate) fn wanted(&self) -> u64 {
        match self {
            Self::Range([_, length]) => *length,
            Self::Vectors(vectors) => vectors.iter().map(|[_, length]| length).sum(),
        }
    }
}

fn check_length(length: u64) -> Result<(), Errno> {
    if length > i64::MAX as u64 { Err(Errno::INVAL) } else { Ok(()) }
}

/// The vectors that remain after the first `bytes`.
pub(crate) fn without_first(vectors: &[Vector], mut bytes: u64) -> Vec<Vector> {
    let mut rest = Vec::with_capacity(vectors.len());
    for [address, length] in vectors {
        let skipped = bytes.min(*length);
        bytes -= skipped;
        if skipped < *length {
            rest.push([address + skipped, length - skipped]);
        }
    }
    rest
}
