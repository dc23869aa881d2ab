//! The memory of a message: one range of bytes or several, and what is left of them.

use ringer_sys::{Errno, UserAddress};

use crate::net::check_user_space;
use crate::selection::Segment;

/// `UIO_MAXIOV`: the most segments of one message.
const MOST_SEGMENTS: u64 = 1024;

/// Where the bytes of a message are. Copied from the program, so that it may reuse its vector.
#[derive(Debug)]
pub(crate) enum Segments {
    One([Segment; 1]),
    Many { list: Box<[Segment]>, first: usize },
}

impl Segments {
    /// One range.
    pub(crate) const fn one(address: u64, length: u64) -> Self {
        Self::One([[address, length]])
    }

    /// These ranges.
    pub(crate) fn of(segments: &[Segment]) -> Self {
        match segments {
            [segment] => Self::One([*segment]),
            _ => Self::Many { list: segments.into(), first: 0 },
        }
    }

    /// Copies a vector of the program.
    ///
    /// # Errors
    /// `EMSGSIZE` for too many segments, `EINVAL` for a negative length, `EFAULT`.
    pub(crate) fn read(address: u64, count: u64) -> Result<Self, Errno> {
        if count > MOST_SEGMENTS {
            return Err(Errno::MSGSIZE);
        }
        if count == 1 {
            let segment = UserAddress::new(address).read::<Segment>()?;
            check(segment)?;
            return Ok(Self::One([segment]));
        }
        let list = UserAddress::new(address).read_vec::<Segment>(count as usize)?;
        list.iter().try_for_each(|segment| check(*segment))?;
        Ok(Self::Many { list: list.into_boxed_slice(), first: 0 })
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &[Segment] {
        match self {
            Self::One(segment) => segment,
            Self::Many { list, first } => &list[*first..],
        }
    }

    /// The bytes that are left.
    pub(crate) fn length(&self) -> u64 {
        self.rest().iter().map(|[_, length]| *length).fold(0, u64::saturating_add)
    }

    /// Takes the first `bytes` away.
    pub(crate) fn advance(&mut self, mut bytes: u64) {
        let (list, first) = match self {
            Self::One(segment) => (&mut segment[..], &mut 0),
            Self::Many { list, first } => (&mut list[..], first),
        };
        while bytes > 0 && *first < list.len() {
            let [address, length] = &mut list[*first];
            let taken = bytes.min(*length);
            *address = address.wrapping_add(taken);
            *length -= taken;
            bytes -= taken;
            if *length == 0 {
                *first += 1;
            }
        }
    }
}

fn check([address, length]: Segment) -> Result<(), Errno> {
    if length > i64::MAX as u64 {
        return Err(Errno::INVAL);
    }
    check_user_space(address, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_starts_inside_a_segment() {
        let vector: [Segment; 4] = [[100, 10], [200, 0], [300, 5], [400, 7]];
        let mut segments = Segments::read(UserAddress::of(&raw const vector).get(), 4).expect("readable");
        assert_eq!(segments.length(), 22);
        segments.advance(10);
        assert_eq!(segments.length(), 12);
        segments.advance(7);
        assert_eq!(segments.rest(), [[402, 5]]);
        segments.advance(5);
        assert_eq!(segments.length(), 0);
        let mut one = Segments::one(8, 3);
        one.advance(2);
        assert_eq!(one.rest(), [[10, 1]]);
    }

    #[test]
    fn bad_vectors_are_refused_as_linux_refuses_them() {
        let negative: Segment = [8, u64::MAX];
        let kernel: [Segment; 2] = [[8, 1], [0xffff_8000_0000_0000, 4]];
        let read = |vector: *const Segment, count| Segments::read(UserAddress::of(vector).get(), count).err();
        assert_eq!(read(&raw const negative, 1), Some(Errno::INVAL));
        assert_eq!(read((&raw const kernel).cast(), 2), Some(Errno::FAULT));
        assert_eq!(read(&raw const negative, 1025), Some(Errno::MSGSIZE));
        assert_eq!(Segments::read(8, 1).err(), Some(Errno::FAULT));
    }
}
