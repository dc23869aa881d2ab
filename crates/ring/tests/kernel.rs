//! Layout, mapping and the program's side, against the io_uring of the running kernel.
//!
//! Where the kernel refuses io_uring these tests say that they were skipped.
#![cfg(not(loom))]

mod support;

use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use linux_raw_sys::general as uapi;
use ringer_abi::{EnterFlags, OFF_CQ_RING, OFF_SQ_RING, OFF_SQES, Opcode, Params, SetupFlags, Sqe};
use ringer_ring::{Area, Bases, MappedClientRing, RingShape, SharedRegion, SharedRing};
use ringer_sys::{Errno, UserAddress, native};
use rustix::mm::{MapFlags, ProtFlags};

/// A ring of the kernel. `None`, and a line that says so, when it gives us none.
fn kernel_ring(entries: u32, flags: SetupFlags, cq_entries: u32) -> Option<(OwnedFd, Params)> {
    let mut params = Params { flags: flags.bits(), cq_entries, ..Params::default() };
    match native::io_uring_setup(entries, UserAddress::new((&raw mut params) as u64)) {
        // SAFETY: a new descriptor that nobody else knows.
        Ok(fd) => Some((unsafe { OwnedFd::from_raw_fd(fd) }, params)),
        Err(error) => {
            eprintln!("skipped: the kernel gives no ring of {entries} entries with {flags:?}: {error}");
            None
        }
    }
}

fn kernel_map(fd: &OwnedFd, arguments: (usize, usize, u32, u32), offset: u64) -> Result<usize, Errno> {
    let (address, length, protection, flags) = arguments;
    let (protection, flags) = (ProtFlags::from_bits_retain(protection), MapFlags::from_bits_retain(flags));
    // SAFETY: the tests never ask for a fixed place that somebody uses.
    unsafe { rustix::mm::mmap(address as *mut c_void, length, protection, flags, fd.as_fd(), offset) }
        .map(|address| address as usize)
}

fn unmap(address: usize, length: usize) {
    // SAFETY: a mapping of the test's own.
    unsafe { rustix::mm::munmap(address as *mut c_void, length) }.expect("mapped before");
}

#[test]
fn offsets_and_sizes_are_the_kernels() {
    let page = rustix::param::page_size();
    let extras = [
        SetupFlags::empty(),
        SetupFlags::SQE128,
        SetupFlags::CQE32,
        SetupFlags::NO_SQARRAY,
        SetupFlags::SQE128.union(SetupFlags::CQE32),
        SetupFlags::CQE32.union(SetupFlags::NO_SQARRAY),
    ];
    let mut compared = 0;
    for extra in extras {
        for (entries, cq_entries) in
            [(1, 0), (1, 1), (2, 0), (8, 0), (8, 512), (64, 64), (100, 0), (256, 0), (4096, 0), (32768, 0)]
        {
            let size = if cq_entries == 0 { SetupFlags::empty() } else { SetupFlags::CQSIZE };
            let Some((fd, params)) = kernel_ring(entries, extra | size, cq_entries) else { continue };
            let shape = RingShape::from_params(&params);
            assert_eq!(shape.sq_offsets(), params.sq_off, "{shape:?}");
            assert_eq!(shape.cq_offsets(), params.cq_off, "{shape:?}");

            // The kernel maps more than there is, so we see where its pages end.
            for (offset, bytes) in [(OFF_SQ_RING, shape.rings_bytes()), (OFF_SQES, shape.sqes_bytes())] {
                let arguments = (0, bytes + page, uapi::PROT_READ, uapi::MAP_SHARED);
                let address = kernel_map(&fd, arguments, offset).expect("an area of the kernel's ring");
                let last = UserAddress::new((address + bytes - page) as u64);
                let beyond = UserAddress::new((address + bytes) as u64);
                assert!(last.read::<u8>().is_ok(), "the last page of {shape:?} at {offset:#x}");
                assert_eq!(beyond.read::<u8>(), Err(Errno::FAULT), "behind {shape:?} at {offset:#x}");
                unmap(address, bytes + page);
            }
            same_words(&fd, shape);
            compared += 1;
        }
    }
    eprintln!("{compared} shapes compared");
}

/// The words of an empty ring, of the kernel's and of ours.
fn same_words(fd: &OwnedFd, shape: RingShape) {
    let length = rustix::param::page_size();
    let kernel =
        kernel_map(fd, (0, length, uapi::PROT_READ, uapi::MAP_SHARED), OFF_SQ_RING).expect("the SQ ring");
    let ours = SharedRing::allocate(shape).expect("memory for a ring");
    let ours = support::Mapped::of(&ours, Area::Rings);
    for offset in (0..64).step_by(4) {
        let word = UserAddress::new(kernel as u64 + u64::from(offset)).read::<u32>();
        assert_eq!(word, Ok(ours.word(offset).load(std::sync::atomic::Ordering::Relaxed)), "at {offset}");
    }
    unmap(kernel, length);
}

#[test]
fn mmap_answers_as_the_kernel_does() {
    let Some((fd, params)) = kernel_ring(256, SetupFlags::empty(), 0) else { return };
    let shape = RingShape::from_params(&params);
    let ours = SharedRing::allocate(shape).expect("memory for a ring");
    let (rings, sqes) = (shape.rings_bytes(), shape.sqes_bytes());
    let rw = uapi::PROT_READ | uapi::PROT_WRITE;
    let rwx = rw | uapi::PROT_EXEC;
    let shared = uapi::MAP_SHARED;
    const FREE: usize = 0x3000_0000_0000;
    let cases = [
        (0, rings, rw, shared),
        (0, rings, rw, shared | uapi::MAP_POPULATE),
        (0, rings, rw, shared | uapi::MAP_LOCKED),
        (0, rings, rw, shared | uapi::MAP_32BIT),
        (0, rings, rw, uapi::MAP_PRIVATE),
        (0, rings, rw, uapi::MAP_SHARED_VALIDATE),
        (0, rings, rw, 0),
        (0, rings, rw, shared | uapi::MAP_GROWSDOWN),
        (0, rings, rw, shared | uapi::MAP_HUGETLB),
        (0, 0, rw, shared),
        (0, 1, rw, shared),
        (0, rings + 4096, rw, shared),
        (0, sqes, rw, shared),
        (0, sqes + 4096, rw, shared),
        (0, 1 << 20, rw, shared),
        (0, 1 << 60, rw, shared),
        (0, usize::MAX, rw, shared),
        (0, usize::MAX - 8191, rw, shared),
        (0, rings, 0, shared),
        (0, rings, uapi::PROT_READ, shared),
        (0, rings, uapi::PROT_WRITE, shared),
        (0, rings, rw | 0x100, shared),
        (0, rings, rwx, shared),
        (0, rings, rwx, uapi::MAP_PRIVATE),
        (0, 1 << 60, rwx, shared),
        (0, 0, rwx, shared),
        (0x10, rings, rw, shared),
        (0x10, rings, rw, shared | uapi::MAP_FIXED),
        (0x1000, rings, rw, shared),
        (FREE, rings, rw, shared),
        (FREE, rings, rwx, shared),
        (FREE, 1 << 60, rw, shared),
        (FREE + 16, rings, rw, shared),
        (FREE, rings, rw, shared | uapi::MAP_FIXED),
        (FREE + 16, rings, rw, shared | uapi::MAP_FIXED),
        (FREE, rings, rw, shared | uapi::MAP_FIXED_NOREPLACE),
    ];
    for (area, offset) in [(Area::Rings, OFF_SQ_RING), (Area::Rings, OFF_CQ_RING), (Area::Sqes, OFF_SQES)] {
        for case in cases {
            let (address, length, protection, flags) = case;
            let theirs = kernel_map(&fd, case, offset);
            let ours = ours.map(area, address as u64, length, protection, flags);
            assert_eq!(theirs.map(drop), ours.map(drop), "{area:?} {case:x?}");
            for mapped in [theirs, ours].into_iter().flatten() {
                unmap(mapped, length);
            }
        }
    }
}

#[test]
fn our_mappings_have_the_access_and_the_extent_that_was_asked_for() {
    let ring = SharedRing::allocate(support::SMALL).expect("memory for a ring");
    let page = rustix::param::page_size();
    let map = |length, protection| {
        ring.map(Area::Rings, 0, length, protection, uapi::MAP_SHARED | uapi::MAP_POPULATE)
            .expect("a mapping")
    };
    let writable = map(2 * page, uapi::PROT_READ | uapi::PROT_WRITE);
    let entries = UserAddress::new((writable + 24) as u64);
    assert_eq!(entries.read::<u32>(), Ok(4));
    assert_eq!(entries.write(5_u32), Ok(()));
    assert_eq!(UserAddress::new((writable + page) as u64).read::<u8>(), Err(Errno::FAULT), "behind the area");
    let readable = map(page, uapi::PROT_READ);
    let entries = UserAddress::new((readable + 24) as u64);
    assert_eq!(entries.read::<u32>(), Ok(5), "the same pages");
    assert_eq!(entries.write(6_u32), Err(Errno::FAULT));
    let closed = map(page, uapi::PROT_NONE);
    assert_eq!(UserAddress::new(closed as u64).read::<u8>(), Err(Errno::FAULT));
    // The program's mappings outlive the engine's.
    drop(ring);
    assert_eq!(entries.read::<u32>(), Ok(5));
    for (address, length) in [(writable, 2 * page), (readable, page), (closed, page)] {
        unmap(address, length);
    }
}

/// A processor may guess by these bits where in its cache a line is.
#[test]
fn our_mappings_of_an_area_have_the_same_lower_halves_of_their_addresses() {
    let page = rustix::param::page_size();
    let region = SharedRegion::allocate(page).expect("memory for a region");
    let map = || region.map(0, page, uapi::PROT_READ, uapi::MAP_SHARED).expect("a mapping");
    let mappings = [map(), map(), map()];
    for mapping in mappings {
        assert_eq!(mapping as u32, region.address() as u32, "{mapping:x} {region:x?}");
        unmap(mapping, page);
    }
}

#[test]
fn the_programs_side_drives_the_kernels_ring() {
    for extra in [SetupFlags::empty(), SetupFlags::SQE128 | SetupFlags::CQE32, SetupFlags::NO_SQARRAY] {
        let Some((fd, params)) = kernel_ring(4, extra, 0) else { continue };
        let shape = RingShape::from_params(&params);
        let map = |offset, length| {
            let arguments = (0, length, uapi::PROT_READ | uapi::PROT_WRITE, uapi::MAP_SHARED);
            let address = kernel_map(&fd, arguments, offset).expect("an area of the kernel's ring");
            NonNull::new(ptr::with_exposed_provenance_mut::<u8>(address)).expect("not at zero")
        };
        let (rings, sqes) = (map(OFF_SQ_RING, shape.rings_bytes()), map(OFF_SQES, shape.sqes_bytes()));
        // SAFETY: both areas are mapped as the kernel reported them, until the end of the loop.
        let mut client =
            unsafe { MappedClientRing::from_mapped(Bases { sq_ring: rings, cq_ring: rings, sqes }, &params) };
        let nop = Sqe::default().with_opcode(Opcode::Nop.number());
        for round in 0..5_u64 {
            for number in 0..4 {
                client.sq_push(&nop.with_user_data(round * 4 + number)).expect("a free slot");
            }
            assert_eq!(client.sq_space(), 0);
            client.sq_publish();
            let flags = EnterFlags::GETEVENTS.bits();
            let submitted = native::io_uring_enter(fd.as_raw_fd(), 4, 4, flags, UserAddress::new(0), 0);
            assert_eq!(submitted, Ok(4));
            assert_eq!((client.sq_space(), client.cq_waiting()), (4, 4));
            for number in 0..4 {
                let cqe = client.cq_pop().expect("as many CQEs as SQEs");
                assert_eq!((cqe.user_data, cqe.res, cqe.flags), (round * 4 + number, 0, 0));
            }
        }
        if !shape.no_sqarray {
            client.sq_push_index(4).expect("a free position");
            client.sq_publish();
            let submitted = native::io_uring_enter(fd.as_raw_fd(), 1, 0, 0, UserAddress::new(0), 0);
            assert_eq!((submitted, client.sq_dropped()), (Ok(0), 1), "what Taken::Dropped stands for");
            assert_eq!(client.sq_space(), 4);
        }
        unmap(rings.as_ptr() as usize, shape.rings_bytes());
        unmap(sqes.as_ptr() as usize, shape.sqes_bytes());
    }
}
