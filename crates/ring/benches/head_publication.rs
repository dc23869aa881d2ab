//! The price of more than enough: a full barrier before the head's store instead of a store-release.
//!
//! `cargo bench -p ringer-ring`. One thread plays both sides: SQEs are published, taken, and their slots given
//! back by one store of the head. The variants run in turn, so that a change of the machine's mood
//! meets both, and the medians are compared. `docs/MEMORY_ORDERING.md` has a result.

use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Instant;

use linux_raw_sys::general::{MAP_SHARED, PROT_READ, PROT_WRITE};
use ringer_abi::{Params, Sqe};
use ringer_ring::{
    Area, Bases, FullBarrier, MappedClientRing, Orderings, Production, RingShape, ServingRing, SharedPages,
};

enum WithFullBarrier {}

impl Orderings for WithFullBarrier {
    type SqHead = FullBarrier;
}

/// Turns of each variant.
const TURNS: usize = 21;
/// SQEs of one turn.
const SQES: u32 = 1 << 20;

fn main() {
    println!("ns per SQE, median of {TURNS} interleaved turns of {SQES}");
    println!("{:>5} {:>13} {:>13} {:>6}", "batch", "store-release", "full barrier", "ratio");
    for batch in [1, 8, 32] {
        let (mut release, mut full) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            release.push(nanoseconds_per_sqe::<Production>(batch));
            full.push(nanoseconds_per_sqe::<WithFullBarrier>(batch));
        }
        let (release, full) = (median(release), median(full));
        println!("{batch:>5} {release:>13.2} {full:>13.2} {:>6.2}", full / release);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn nanoseconds_per_sqe<O: Orderings>(batch: u32) -> f64 {
    let shape = RingShape { sq_entries: 32, cq_entries: 32, sqe128: false, cqe32: false, no_sqarray: false };
    let pages = SharedPages::allocate(shape, 0, 0).expect("memory for a ring");
    let serving = ServingRing::<_, O>::over(pages);
    let map = |area, length| {
        let address =
            serving.map(area, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED).expect("a second mapping");
        NonNull::new(address as *mut u8).expect("not at zero")
    };
    let (rings, sqes) = (map(Area::Rings, shape.rings_bytes()), map(Area::Sqes, shape.sqes_bytes()));
    let params = Params {
        sq_entries: shape.sq_entries,
        cq_entries: shape.cq_entries,
        sq_off: shape.sq_offsets(),
        cq_off: shape.cq_offsets(),
        ..Params::default()
    };
    let bases = Bases { sq_ring: rings, cq_ring: rings, sqes };
    // SAFETY: both areas are mapped as the shape says, until after the last use of the client.
    let mut client = unsafe { MappedClientRing::from_mapped(bases, &params) };
    let sqe = Sqe::default().with_user_data(1);
    let start = Instant::now();
    for _ in 0..SQES / batch {
        for _ in 0..batch {
            client.sq_push(black_box(&sqe)).expect("the last batch is taken");
        }
        client.sq_publish();
        while let Some(taken) = serving.sq_take() {
            black_box(&taken);
        }
        serving.sq_publish_head();
    }
    let elapsed = start.elapsed();
    for (area, bytes) in [(rings, shape.rings_bytes()), (sqes, shape.sqes_bytes())] {
        // SAFETY: mapped above, and the client is not used any more.
        unsafe { rustix::mm::munmap(area.as_ptr().cast(), bytes) }.expect("a mapping of our own");
    }
    elapsed.as_nanos() as f64 / f64::from(SQES)
}
