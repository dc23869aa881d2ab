//! The price of more than enough: a full barrier before the head's store instead of a store-release.
//!
//! `cargo bench -p ringer-ring`. Three settings, from the bare store to the case that the question was about: the
//! store alone, one thread that plays both sides, and a polling thread that serves a program on another CPU. The
//! variants run in turn, so that a change of the machine's mood meets both, and the medians are compared.
//! `docs/MEMORY_ORDERING.md` has a result.

use std::hint::{black_box, spin_loop};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use linux_raw_sys::general::{MAP_SHARED, PROT_READ, PROT_WRITE};
use ringer_abi::{Params, Sqe};
use ringer_ring::{
    Area, Bases, FullBarrier, HeadPublication, MappedClientRing, Orderings, Production, RingShape,
    ServingRing, SharedPages, StoreRelease,
};

enum WithFullBarrier {}

impl Orderings for WithFullBarrier {
    type SqHead = FullBarrier;
}

/// Turns of each variant.
const TURNS: usize = 21;
/// Head stores, or SQEs, of one turn.
const COUNT: u32 = 1 << 20;
/// SQEs of one turn between two threads, which is slower.
const BETWEEN_THREADS: u32 = 1 << 18;

fn main() {
    println!("ns, median of {TURNS} interleaved turns");
    println!("{:<34} {:>13} {:>13} {:>6}", "", "store-release", "full barrier", "ratio");
    compare("the store alone", store_alone::<StoreRelease>, store_alone::<FullBarrier>);
    for batch in [1, 8, 32] {
        let name = format!("per SQE, one thread, batch {batch}");
        compare(&name, || one_thread::<Production>(batch), || one_thread::<WithFullBarrier>(batch));
    }
    for batch in [1, 8, 32] {
        let name = format!("per SQE, polling thread, batch {batch}");
        compare(&name, || polling_thread::<Production>(batch), || polling_thread::<WithFullBarrier>(batch));
    }
}

fn compare(name: &str, release: impl Fn() -> f64, full: impl Fn() -> f64) {
    let (mut releases, mut fulls, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (release, full) = (release(), full());
        releases.push(release);
        fulls.push(full);
        ratios.push(full / release);
    }
    let [release, full, ratio] = [releases, fulls, ratios].map(median);
    println!("{name:<34} {release:>13.2} {full:>13.2} {ratio:>6.2}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn store_alone<P: HeadPublication>() -> f64 {
    let head = AtomicU32::new(0);
    let start = Instant::now();
    for value in 0..COUNT {
        P::publish(black_box(&head), value);
    }
    start.elapsed().as_nanos() as f64 / f64::from(COUNT)
}

/// SQEs are published, taken, and their slots given back by one store of the head, all in this thread.
fn one_thread<O: Orderings>(batch: u32) -> f64 {
    with_ring::<O>(|client, serving| {
        let sqe = Sqe::default().with_user_data(1);
        let start = Instant::now();
        for _ in 0..COUNT / batch {
            for _ in 0..batch {
                client.sq_push(black_box(&sqe)).expect("the last batch is taken");
            }
            client.sq_publish();
            let mut taking = serving.sq_batch(batch);
            while let Some(taken) = taking.take() {
                black_box(&taken);
            }
            taking.publish();
        }
        start.elapsed().as_nanos() as f64 / f64::from(COUNT)
    })
}

/// The program fills slots as soon as it gets them back; a thread on another CPU takes what is there.
fn polling_thread<O: Orderings>(batch: u32) -> f64 {
    with_ring::<O>(|client, serving| {
        let sqe = Sqe::default().with_user_data(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut taken = 0;
                while taken < BETWEEN_THREADS {
                    let mut taking = serving.sq_batch(batch);
                    if taking.left() == 0 {
                        spin_loop();
                        continue;
                    }
                    taken += taking.left();
                    while let Some(one) = taking.take() {
                        black_box(&one);
                    }
                    taking.publish();
                }
            });
            let start = Instant::now();
            for _ in 0..BETWEEN_THREADS {
                while client.sq_push(black_box(&sqe)).is_err() {
                    spin_loop();
                }
                client.sq_publish();
            }
            while client.sq_space() < client.shape().sq_entries {
                spin_loop();
            }
            start.elapsed().as_nanos() as f64 / f64::from(BETWEEN_THREADS)
        })
    })
}

fn with_ring<O: Orderings>(
    run: impl FnOnce(&mut MappedClientRing, &ServingRing<SharedPages, O>) -> f64,
) -> f64 {
    let shape = RingShape {
        sq_entries: 32,
        cq_entries: 32,
        sqe128: false,
        cqe32: false,
        cqe_mixed: false,
        no_sqarray: false,
    };
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
    let time = run(&mut client, &serving);
    for (area, bytes) in [(rings, shape.rings_bytes()), (sqes, shape.sqes_bytes())] {
        // SAFETY: mapped above, and the client is not used any more.
        unsafe { rustix::mm::munmap(area.as_ptr().cast(), bytes) }.expect("a mapping of our own");
    }
    time
}
