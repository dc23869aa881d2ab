//! BUFFERS, UNREGISTER_BUFFERS, BUFFERS2 and BUFFERS_UPDATE.

use ringer_abi::{RegisterOpcode, uapi};

use super::register_files::{RSRC_REGISTER, RSRC_UPDATE2, rsrc_register, rsrc_update2};
use super::rw::TEXT;
use super::rw_fixed::read_fixed;
use crate::differential::errno::result_name;
use crate::differential::memory::Memory;
use crate::differential::{Case, Ring, Session};

const BUFFERS: u32 = RegisterOpcode::Buffers.number();
const UNREGISTER: u32 = RegisterOpcode::UnregisterBuffers.number();
const BUFFERS2: u32 = RegisterOpcode::Buffers2.number();
const UPDATE: u32 = RegisterOpcode::BuffersUpdate.number();
const SPARSE: u32 = uapi::IORING_RSRC_REGISTER_SPARSE;

/// Whether eight bytes can be read to each of these addresses through slot 0, 1, 2…
fn usable(session: &Session, ring: &Ring, label: &str, addresses: &[u64]) {
    let file = session.file(TEXT);
    let seen: Vec<String> = addresses
        .iter()
        .enumerate()
        .map(|(slot, address)| {
            let sqe = read_fixed(file, *address, 8, 0, slot as u16).with_user_data(7777);
            session.one(ring, sqe).map_or("none".to_owned(), |cqe| result_name(cqe.res.into()))
        })
        .collect();
    session.close_kept(file);
    session.record(format!("{label}: slots"), seen.join(" "));
}

/// The cases of registered buffers.
pub fn cases() -> Vec<Case> {
    let mut cases = plain();
    cases.extend(tagged());
    cases
}

fn plain() -> Vec<Case> {
    vec![
        Case::general("register-buffers/arguments", |session| {
            let ring = session.ring(4);
            let block = session.memory(4096);
            let vectors = session.vectors(&[(block.addr(), 4096), (0, 0)]);
            session.outcome("unregister without", ring.register(UNREGISTER, 0, 0));
            for count in [0, 1 << 15, u32::MAX] {
                session.outcome(format!("count {count}"), ring.register(BUFFERS, vectors.addr(), count));
                let _ = ring.register(UNREGISTER, 0, 0);
            }
            session.outcome("null", ring.register(BUFFERS, 0, 1));
            session.outcome("bad address", ring.register(BUFFERS, session.bad_address(), 1));
            session.outcome("good", ring.register(BUFFERS, vectors.addr(), 2));
            usable(session, &ring, "good", &[block.addr(), block.addr(), block.addr()]);
            session.outcome("twice", ring.register(BUFFERS, vectors.addr(), 1));
            session.outcome("unregister with an argument", ring.register(UNREGISTER, vectors.addr(), 0));
            session.outcome("unregister with a count", ring.register(UNREGISTER, 0, 1));
            session.outcome("unregister", ring.register(UNREGISTER, 0, 0));
            usable(session, &ring, "unregistered", &[block.addr()]);
            session.outcome("good again", ring.register(BUFFERS, vectors.addr(), 1));
        })
        .expect(&[("unregister without", "-ENXIO"), ("count 0", "-EINVAL"), ("twice", "-EBUSY")]),
        Case::general("register-buffers/vectors", |session| {
            let block = session.memory(8192);
            let here = block.addr();
            let vectors = [
                ("null and empty", (0, 0)),
                ("null with a length", (0, 8)),
                ("address without a length", (here, 0)),
                ("bad address", (session.bad_address(), 8)),
                ("runs into a bad page", (session.edge(8).addr(), 16)),
                ("kernel half", (0xffff_8000_0000_0000, 8)),
                ("one byte", (here, 1)),
                ("across pages", (here + 4090, 12)),
                ("over a gibibyte", (here, (1 << 30) + 1)),
                ("negative", (here, 1 << 63)),
                ("wraps", (u64::MAX - 7, 16)),
            ];
            for (label, vector) in vectors {
                let ring = session.ring(4);
                let array = session.vectors(&[vector]);
                session.outcome(label, ring.register(BUFFERS, array.addr(), 1));
                let array = session.vectors(&[(here, 4096), vector]);
                session.outcome(format!("{label}, second"), ring.register(BUFFERS, array.addr(), 2));
            }
        }),
        Case::general("register-buffers/overlapping", |session| {
            let ring = session.ring(4);
            let block = session.memory(4096);
            let vectors =
                session.vectors(&[(block.addr(), 4096), (block.addr(), 4096), (block.addr() + 8, 64)]);
            session.outcome("register", ring.register(BUFFERS, vectors.addr(), 3));
            usable(session, &ring, "three", &[block.addr(), block.addr() + 100, block.addr() + 8]);
        }),
        Case::general("register-buffers/read-only-memory", |session| {
            let ring = session.ring(4);
            let page = ringer_sys::native::map_anonymous(4096).expect("a page");
            page.write(5_u64).expect("writable for now");
            ringer_sys::native::protect(page, 4096, 1).expect("a page of our own");
            let vectors = session.vectors(&[(page.get(), 4096)]);
            session.outcome("register", ring.register(BUFFERS, vectors.addr(), 1));
            let _ = ring.register(UNREGISTER, 0, 0);
            ringer_sys::native::unmap(page, 4096).expect("a page of our own");
        }),
    ]
}

fn tagged() -> Vec<Case> {
    let update = |session: &Session, offset: u32, vectors: &Memory, tags: u64, count: u32| {
        rsrc_update2(session, offset, vectors.addr(), tags, count)
    };
    vec![
        Case::general("register-buffers/buffers2-arguments", |session| {
            let ring = session.ring(4);
            let block = session.memory(4096);
            let (vectors, tags) = (session.vectors(&[(block.addr(), 4096), (0, 0)]), session.words(&[1, 0]));
            let good = rsrc_register(session, 2, 0, vectors.addr(), tags.addr());
            for size in [0, 16, 31, 33] {
                session.outcome(format!("size {size}"), ring.register(BUFFERS2, good.addr(), size));
            }
            let reserved = session.words(&[2, 1, vectors.addr(), 0]);
            let odd = [
                ("null", 0),
                ("none", rsrc_register(session, 0, 0, vectors.addr(), 0).addr()),
                ("unknown flag", rsrc_register(session, 2, 2, vectors.addr(), 0).addr()),
                ("reserved", reserved.addr()),
                ("null array", rsrc_register(session, 2, 0, 0, 0).addr()),
                ("bad tags", rsrc_register(session, 2, 0, vectors.addr(), session.bad_address()).addr()),
                (
                    "tag on an empty slot",
                    rsrc_register(session, 2, 0, vectors.addr(), session.words(&[1, 2]).addr()).addr(),
                ),
                ("sparse with an array", rsrc_register(session, 2, SPARSE, vectors.addr(), 0).addr()),
                ("sparse with tags", rsrc_register(session, 2, SPARSE, 0, tags.addr()).addr()),
                ("too many", rsrc_register(session, (1 << 14) + 1, SPARSE, 0, 0).addr()),
            ];
            for (label, argument) in odd {
                session.outcome(label, ring.register(BUFFERS2, argument, RSRC_REGISTER));
                session.outcome(format!("{label}: unregister"), ring.register(UNREGISTER, 0, 0));
            }
            session.outcome("good", ring.register(BUFFERS2, good.addr(), RSRC_REGISTER));
            session.outcome("twice", ring.register(BUFFERS2, good.addr(), RSRC_REGISTER));
            usable(session, &ring, "good", &[block.addr(), block.addr()]);
        }),
        Case::general("register-buffers/sparse", move |session| {
            let ring = session.ring(4);
            let block = session.memory(4096);
            let sparse = rsrc_register(session, 3, SPARSE, 0, 0);
            session.outcome("register", ring.register(BUFFERS2, sparse.addr(), RSRC_REGISTER));
            usable(session, &ring, "sparse", &[block.addr(); 4]);
            let vectors = session.vectors(&[(block.addr(), 4096)]);
            let one = update(session, 1, &vectors, 0, 1);
            session.outcome("update", ring.register(UPDATE, one.addr(), RSRC_UPDATE2));
            usable(session, &ring, "updated", &[block.addr(); 4]);
            let none = session.vectors(&[(0, 0)]);
            let one = update(session, 1, &none, 0, 1);
            session.outcome("remove", ring.register(UPDATE, one.addr(), RSRC_UPDATE2));
            usable(session, &ring, "removed", &[block.addr(); 4]);
        }),
        Case::general("register-buffers/tags", move |session| {
            let ring = session.ring(8);
            let block = session.memory(4096);
            let vectors = session.vectors(&[(block.addr(), 4096); 3]);
            let tags = session.words(&[71, 0, 73]);
            let register = rsrc_register(session, 3, 0, vectors.addr(), tags.addr());
            session.outcome("register", ring.register(BUFFERS2, register.addr(), RSRC_REGISTER));
            session.quiet("nothing yet", &ring);
            let one = update(session, 0, &vectors, session.words(&[81]).addr(), 1);
            session.outcome("replace 0", ring.register(UPDATE, one.addr(), RSRC_UPDATE2));
            session.cqes("its tag", &ring.collect(1));
            let none = session.vectors(&[(0, 0)]);
            let one = update(session, 1, &none, session.words(&[5]).addr(), 1);
            session.outcome("a tag on nothing", ring.register(UPDATE, one.addr(), RSRC_UPDATE2));
            session.outcome("unregister", ring.register(UNREGISTER, 0, 0));
            session.cqes("the others", &ring.collect(2));
            session.quiet("no more", &ring);
        }),
        Case::general("register-buffers/update-arguments", move |session| {
            let ring = session.ring(4);
            let block = session.memory(4096);
            let vectors = session.vectors(&[(block.addr(), 4096), (block.addr(), 64)]);
            let good = update(session, 0, &vectors, 0, 2);
            session.outcome("no table", ring.register(UPDATE, good.addr(), RSRC_UPDATE2));
            session.outcome("register", ring.register(BUFFERS, vectors.addr(), 2));
            for size in [0, 16, 31, 33] {
                session.outcome(format!("size {size}"), ring.register(UPDATE, good.addr(), size));
            }
            let bad = session.vectors(&[(session.bad_address(), 8), (block.addr(), 64)]);
            let second_bad = session.vectors(&[(block.addr(), 64), (session.bad_address(), 8)]);
            let odd = [
                ("null", 0),
                ("none", update(session, 0, &vectors, 0, 0).addr()),
                ("past the end", update(session, 1, &vectors, 0, 2).addr()),
                ("wraps", update(session, u32::MAX, &vectors, 0, 2).addr()),
                ("null array", rsrc_update2(session, 0, 0, 0, 1).addr()),
                ("bad tags", update(session, 0, &vectors, session.bad_address(), 1).addr()),
                ("bad first", update(session, 0, &bad, 0, 2).addr()),
                ("bad second", update(session, 0, &second_bad, 0, 2).addr()),
                ("good", good.addr()),
            ];
            for (label, argument) in odd {
                session.outcome(label, ring.register(UPDATE, argument, RSRC_UPDATE2));
                usable(session, &ring, label, &[block.addr(); 2]);
            }
        }),
    ]
}
