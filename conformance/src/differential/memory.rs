//! Memory that a case gives to the backend under test.
//!
//! None of it is a Rust object: it is mapped by hand and looked at by guarded copies only, so that
//! the backend may write to it at any time. A block is never freed within a case, because a request
//! may outlive what started it; the process ends soon.

use std::cell::Cell;

use ringer_sys::user::Plain;
use ringer_sys::{UserAddress, native};

/// A bump allocator over one mapping, with an unreadable page at its end.
#[derive(Debug)]
pub struct Arena {
    start: UserAddress,
    used: Cell<usize>,
}

const ARENA: usize = 512 * 1024;
/// The size of a page here.
pub const PAGE: usize = 4096;

impl Arena {
    /// An empty arena of 512 KiB.
    pub fn new() -> Self {
        let start = native::map_anonymous(ARENA + PAGE).expect("memory for one case");
        native::protect(start.add(ARENA as u64), PAGE, 0).expect("the page was just mapped");
        Self { start, used: Cell::new(0) }
    }

    /// Zeroed memory, aligned to 64 bytes; to a page when it is a page or more.
    pub fn allocate(&self, bytes: usize) -> Memory {
        let align = if bytes >= PAGE { PAGE } else { 64 };
        let from = self.used.get().next_multiple_of(align);
        assert!(from + bytes <= ARENA, "the case uses more memory than an arena has");
        self.used.set(from + bytes);
        Memory { address: self.start.add(from as u64), len: bytes }
    }

    /// An address in a page that nothing may touch.
    pub fn unreadable(&self) -> u64 {
        self.start.add(ARENA as u64 + 64).get()
    }

    /// The last `bytes` bytes before the unreadable page: what follows them faults.
    pub fn edge(&self, bytes: usize) -> Memory {
        Memory { address: self.start.add((ARENA - bytes) as u64), len: bytes }
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

/// A block of an [`Arena`].
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    address: UserAddress,
    len: usize,
}

impl Memory {
    /// Its address as an SQE holds it.
    pub fn addr(&self) -> u64 {
        self.address.get()
    }

    /// Its address as the calls take it.
    pub fn user(&self) -> UserAddress {
        self.address
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes a value `offset` bytes in.
    pub fn put<T: Plain>(&self, offset: usize, value: T) {
        assert!(offset + size_of::<T>() <= self.len, "outside of the block");
        self.address.add(offset as u64).write(value).expect("an arena is writable");
    }

    /// Reads a value `offset` bytes in.
    pub fn get<T: Plain>(&self, offset: usize) -> T {
        assert!(offset + size_of::<T>() <= self.len, "outside of the block");
        self.address.add(offset as u64).read().expect("an arena is readable")
    }

    /// Writes bytes to its start.
    pub fn fill(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.len, "outside of the block");
        self.address.write_from(bytes).expect("an arena is writable");
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.address.read_vec(self.len).expect("an arena is readable")
    }
}
