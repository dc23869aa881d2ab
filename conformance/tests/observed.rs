//! Conservation once more, of rings that are traced and struck by faults: both are for a whole process, so that they have this one to themselves.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use ringer_abi::{CqeFlags, Sqe};
use ringer_client::calls::Embedded;
use ringer_conformance::conservation::{Kinds, Play, SETUPS, play};
use ringer_engine::System;
use ringer_engine::chaos::Injected;
use ringer_engine::trace::{Completed, Made, Tracer};

/// What was told.
#[derive(Default)]
struct Told {
    rings: u64,
    requests: u64,
    /// Requests without an end, by ring and number: their opcodes.
    pending: HashMap<(u32, u64), u8>,
    /// Results that belong to no request, or to one that had ended.
    astray: Vec<(u32, Completed)>,
    /// By kind, in the order of the plan.
    faults: [u64; 4],
}

static TOLD: Mutex<Option<Told>> = Mutex::new(None);

fn told<R>(change: impl FnOnce(&mut Told) -> R) -> R {
    change(TOLD.lock().expect("nobody panics with it").get_or_insert_default())
}

struct Listener;

impl Tracer for Listener {
    fn made(&self, _ring: u32, _made: &Made) {
        told(|told| told.rings += 1);
    }

    fn submitted(&self, ring: u32, request: u64, sqe: &Sqe) {
        told(|told| {
            told.requests += 1;
            let same = told.pending.insert((ring, request), sqe.opcode());
            assert_eq!(same, None, "request {request} of ring {ring}");
        });
    }

    fn completed(&self, ring: u32, completed: &Completed) {
        let Some(request) = completed.request else { return };
        let flags = CqeFlags::from_bits_retain(completed.cqe.flags);
        told(|told| {
            let is_known = if flags.contains(CqeFlags::MORE) {
                told.pending.contains_key(&(ring, request))
            } else {
                told.pending.remove(&(ring, request)).is_some()
            };
            // A zero-copy send that is cancelled in its chain has a notification that nothing announced, in Linux, too.
            if !is_known && !flags.contains(CqeFlags::NOTIF) {
                told.astray.push((ring, *completed));
            }
        });
    }

    fn injected(&self, _ring: u32, _request: Option<u64>, injected: &Injected) {
        let kind = match injected {
            Injected::Late(_) => 0,
            Injected::Overflow => 1,
            Injected::Partial { .. } => 2,
            Injected::Interrupt => 3,
            Injected::Error(_) | Injected::Short { .. } => return,
        };
        told(|told| told.faults[kind] += 1);
    }
}

#[test]
fn each_request_has_one_end_whatever_strikes() {
    // Nothing that a program could see in a result: conservation knows what they are.
    let plan = "1 late:2000@%30000 overflow@%30000 partial@%100000 interrupt@%30000";
    System::global().inject(plan.parse().expect("a plan")).expect("the first one");
    assert!(System::global().trace_to(&Listener).is_ok(), "the first one");
    for setup in SETUPS {
        for kinds in Kinds::ALL {
            let one = Play { setup, kinds, time: Duration::from_millis(300) };
            play::<Embedded>(&one).unwrap_or_else(|why| panic!("{setup:?}, {kinds:?}: {why}"));
        }
    }
    told(|told| {
        assert!(
            told.rings > 10 && told.requests > 10_000,
            "{} rings, {} requests",
            told.rings,
            told.requests
        );
        assert!(told.faults.iter().all(|count| *count > 10), "{:?}", told.faults);
        assert!(told.astray.is_empty(), "{} results, first {:?}", told.astray.len(), told.astray[0]);
        // Rings that are closed with something pending have no result of it.
        assert!(
            told.pending.len() as u64 * 100 < told.requests,
            "{} of {}",
            told.pending.len(),
            told.requests
        );
    });
}
