//! The price of more than enough: a full barrier before the head's store instead of a store-release.
//!
//! `cargo bench -p ringer-ring`. One thread plays both sides: SQEs are published, taken, and their slots given
//! back by one store of the head. `docs/MEMORY_ORDERING.md` has a result.

use std::ptr::NonNull;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use linux_raw_sys::general::{MAP_SHARED, PROT_READ, PROT_WRITE};
use ringer_abi::{Params, Sqe};
use ringer_ring::{
    Area, Bases, FullBarrier, MappedClientRing, Orderings, Production, RingShape, ServingRing, SharedPages,
};

fn main() {
    divan::main();
}

enum WithFullBarrier {}

impl Orderings for WithFullBarrier {
    type SqHead = FullBarrier;
}

/// SQEs per store of the head.
const BATCHES: [u32; 2] = [1, 32];

#[divan::bench(args = BATCHES, sample_count = 500)]
fn store_release(bencher: Bencher, batch: u32) {
    submit::<Production>(bencher, batch);
}

#[divan::bench(args = BATCHES, sample_count = 500)]
fn full_barrier(bencher: Bencher, batch: u32) {
    submit::<WithFullBarrier>(bencher, batch);
}

fn submit<O: Orderings>(bencher: Bencher, batch: u32) {
    let shape = RingShape { sq_entries: 32, cq_entries: 32, sqe128: false, cqe32: false, no_sqarray: false };
    let pages = SharedPages::allocate(shape, 0, 0).expect("memory for a ring");
    let serving = ServingRing::<_, O>::over(pages);
    let map = |area, length| {
        let address =
            serving.map(area, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED).expect("a second mapping");
        NonNull::new(address as *mut u8).expect("not at zero")
    };
    let rings = map(Area::Rings, shape.rings_bytes());
    let bases = Bases { sq_ring: rings, cq_ring: rings, sqes: map(Area::Sqes, shape.sqes_bytes()) };
    let params = Params {
        sq_entries: shape.sq_entries,
        cq_entries: shape.cq_entries,
        sq_off: shape.sq_offsets(),
        cq_off: shape.cq_offsets(),
        ..Params::default()
    };
    // SAFETY: both areas are mapped as the shape says, until the process ends.
    let mut client = unsafe { MappedClientRing::from_mapped(bases, &params) };
    let sqe = Sqe::default().with_user_data(1);
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        for _ in 0..batch {
            let _ = client.sq_push(black_box(&sqe));
        }
        client.sq_publish();
        while let Some(taken) = serving.sq_take() {
            black_box(&taken);
        }
        serving.sq_publish_head();
    });
}
