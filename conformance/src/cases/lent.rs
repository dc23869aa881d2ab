//! What follows in a chain behind a request that a worker makes here, and that Linux makes where it was submitted: it waits as usual,
//! has no buffer meanwhile, and can be cancelled.

use ringer_abi::{Opcode, Sqe, SqeFlags};

use super::buffer_ring_use::{Buffers, INCREMENTAL};
use super::rw::TEXT;
use crate::differential::{Case, Ring, Session, prep};

const FILE_POSITION: u64 = u64::MAX;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("lent/write-to-a-spliced-pipe", Opcode::Write, |session| {
            behind(session, |session, ring| {
                let from = session.memory_of(b"written");
                prep::write(spliced_pipe(session, ring).1, from.addr(), 4, FILE_POSITION)
            });
        }),
        Case::new("lent/read-of-a-spliced-pipe", Opcode::Read, |session| {
            behind(session, |session, ring| {
                let to = session.memory(8);
                prep::read(spliced_pipe(session, ring).0, to.addr(), 4, FILE_POSITION)
            });
        }),
        Case::new("lent/accept-of-a-blocking-listener", Opcode::Accept, |session| {
            behind(session, |session, _| {
                let (listener, port) = session.listener();
                let client = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
                session.keep(client);
                prep::op(Opcode::Accept, listener)
            });
        }),
    ]
}

/// A pipe that was spliced into, with four bytes in it: it cannot be asked any more to refuse instead of waiting.
fn spliced_pipe(session: &Session, ring: &Ring) -> (i32, i32) {
    let (read, write) = session.pipe();
    let input = session.file(TEXT) as u32;
    let splice = prep::op(Opcode::Splice, write).with_off(FILE_POSITION).with_addr(1).with_len(4);
    session.one_recorded("splice", ring, splice.with_file_index(input));
    (read, write)
}

/// Links reads of an empty pipe to what `first` makes, and cancels them.
fn behind(session: &mut Session, first: impl Fn(&Session, &Ring) -> Sqe) {
    for kind in [0, INCREMENTAL] {
        for opcode in [Opcode::Read, Opcode::Readv] {
            let label = format!("{opcode:?}, {kind}");
            let ring = session.ring(8);
            let buffers = Buffers::new(session, &ring, 1, 4, 16, kind);
            let (empty, _write) = session.pipe();
            let first = first(session, &ring).with_flags(SqeFlags::IO_LINK);
            let makes_file = first.opcode() == Opcode::Accept.number();
            ring.push(first.with_user_data(1));
            let vectors = session.vectors(&[(0, 16)]);
            let read = match opcode {
                Opcode::Read => prep::read(empty, 0, 8, FILE_POSITION),
                _ => prep::op(Opcode::Readv, empty)
                    .with_addr(vectors.addr())
                    .with_len(1)
                    .with_off(FILE_POSITION),
            };
            ring.push(buffers.select(read).with_user_data(2));
            session.outcome(format!("{label}: submit"), ring.submit());
            let mut first = ring.collect(1);
            session.close_brought(&mut first, |_| makes_file);
            session.cqes(format!("{label}: first"), &first);
            session.quiet(format!("{label}: waits"), &ring);
            ring.push(prep::cancel(2, 0).with_user_data(3));
            session.outcome(format!("{label}: cancel"), ring.submit());
            session.cqes(format!("{label}: cancelled"), &ring.collect(2));
            buffers.look(session, &ring, &label);
        }
        session.fresh();
    }
}
