//! EVENTFD, EVENTFD_ASYNC and UNREGISTER_EVENTFD.

use ringer_abi::{CQ_EVENTFD_DISABLED, RegisterOpcode, SqeFlags};

use crate::differential::{Case, Ring, Session, prep};

const EVENTFD: u32 = RegisterOpcode::Eventfd.number();
const EVENTFD_ASYNC: u32 = RegisterOpcode::EventfdAsync.number();
const UNREGISTER: u32 = RegisterOpcode::UnregisterEventfd.number();

fn register(session: &Session, ring: &Ring, opcode: u32, fd: i32) {
    let array = session.ints(&[fd]);
    session.outcome("register", ring.register(opcode, array.addr(), 1));
}

/// The cases of the family.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::general("register-eventfd/arguments", |session| {
            for opcode in [EVENTFD, EVENTFD_ASYNC] {
                let ring = session.ring(4);
                let counter = session.ints(&[session.eventfd(0), session.eventfd(0)]);
                for count in [0, 2, u32::MAX] {
                    session.outcome(format!("count {count}"), ring.register(opcode, counter.addr(), count));
                }
                session.outcome("null", ring.register(opcode, 0, 1));
                session.outcome("bad address", ring.register(opcode, session.bad_address(), 1));
                for (label, fd) in [
                    ("-1", -1),
                    ("closed", session.closed_fd()),
                    ("a file", session.file(b"")),
                    ("a pipe", session.pipe().0),
                    ("the ring", ring.fd),
                ] {
                    let array = session.ints(&[fd]);
                    session.outcome(label, ring.register(opcode, array.addr(), 1));
                }
                session.outcome("unregister without", ring.register(UNREGISTER, 0, 0));
                session.outcome("good", ring.register(opcode, counter.addr(), 1));
                session.outcome("twice", ring.register(opcode, counter.addr() + 4, 1));
                session.outcome("unregister with an argument", ring.register(UNREGISTER, counter.addr(), 0));
                session.outcome("unregister with a count", ring.register(UNREGISTER, 0, 1));
                session.outcome("unregister", ring.register(UNREGISTER, 0, 0));
                session.outcome("unregister twice", ring.register(UNREGISTER, 0, 0));
                session.outcome("good again", ring.register(opcode, counter.addr(), 1));
            }
        })
        .expect(&[("count 0", "-EINVAL"), ("twice", "-EBUSY"), ("unregister without", "-ENXIO")]),
        Case::general("register-eventfd/inline-completions", |session| {
            for (label, opcode) in [("plain", EVENTFD), ("async", EVENTFD_ASYNC)] {
                let ring = session.ring(8);
                let counter = session.eventfd(0);
                register(session, &ring, opcode, counter);
                ring.push(prep::nop());
                let _ = ring.submit();
                session.record(format!("{label}: one nop"), session.eventfd_count(counter));
                (0..4).for_each(|_| ring.push(prep::nop()));
                let _ = ring.submit();
                // How often a batch signals is not promised, only that it does.
                session.record(format!("{label}: four nops"), session.eventfd_count(counter) > 0);
                let _ = ring.enter(0, 0, ringer_abi::EnterFlags::GETEVENTS);
                session.record(format!("{label}: nothing"), session.eventfd_count(counter));
            }
        }),
        Case::general("register-eventfd/late-completions", |session| {
            for (label, opcode) in [("plain", EVENTFD), ("async", EVENTFD_ASYNC)] {
                let ring = session.ring(8);
                let counter = session.eventfd(0);
                register(session, &ring, opcode, counter);
                let time = session.timespec(0, 5_000_000);
                ring.push(prep::timeout(time.addr(), 0, 0).with_user_data(1));
                let _ = ring.submit();
                session.record(format!("{label}: pending"), session.eventfd_count(counter));
                std::thread::sleep(std::time::Duration::from_millis(60));
                session.record(format!("{label}: expired"), session.eventfd_count(counter));
                session.cqes(format!("{label}: completion"), &ring.collect(1));
                let (read, write) = session.pipe();
                ring.push(prep::poll(read, 1).with_user_data(2));
                let _ = ring.submit();
                session.record(format!("{label}: armed"), session.eventfd_count(counter));
                session.write_fd(write, b"x");
                std::thread::sleep(std::time::Duration::from_millis(60));
                session.record(format!("{label}: fired"), session.eventfd_count(counter));
                session.cqes(format!("{label}: completion"), &ring.collect(1));
            }
        }),
        Case::general("register-eventfd/worker-completions", |session| {
            for (label, opcode) in [("plain", EVENTFD), ("async", EVENTFD_ASYNC)] {
                let ring = session.ring(8);
                let counter = session.eventfd(0);
                register(session, &ring, opcode, counter);
                ring.push(prep::nop().with_flags(SqeFlags::ASYNC));
                let _ = ring.submit();
                session.cqes(label, &ring.collect(1));
                std::thread::sleep(std::time::Duration::from_millis(20));
                session.record(format!("{label}: signals"), session.eventfd_count(counter));
            }
        }),
        Case::general("register-eventfd/skipped-completions", |session| {
            let ring = session.ring(8);
            let counter = session.eventfd(0);
            register(session, &ring, EVENTFD, counter);
            ring.push(prep::nop().with_flags(SqeFlags::CQE_SKIP_SUCCESS));
            session.outcome("submit", ring.submit());
            session.record("signals", session.eventfd_count(counter));
        }),
        Case::general("register-eventfd/unregistered", |session| {
            let ring = session.ring(8);
            let counter = session.eventfd(0);
            register(session, &ring, EVENTFD, counter);
            session.outcome("unregister", ring.register(UNREGISTER, 0, 0));
            ring.push(prep::nop());
            let _ = ring.submit();
            session.record("signals", session.eventfd_count(counter));
        }),
        Case::general("register-eventfd/closed-by-the-program", |session| {
            // The ring keeps the file, not the number.
            let ring = session.ring(8);
            let counter = session.eventfd(0);
            let copy =
                session.with_kept(counter, |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3)).expect("a duplicate");
            let copy = session.keep(copy);
            register(session, &ring, EVENTFD, counter);
            session.close_kept(counter);
            ring.push(prep::nop());
            let _ = ring.submit();
            session.record("signals", session.eventfd_count(copy));
        }),
    ];
    cases.push(Case::general("register-eventfd/disabled-by-the-program", |session| {
        let ring = session.ring(8);
        let counter = session.eventfd(0);
        register(session, &ring, EVENTFD, counter);
        ring.write_word(ring.params.cq_off.flags, CQ_EVENTFD_DISABLED);
        ring.push(prep::nop());
        let _ = ring.submit();
        session.record("disabled", session.eventfd_count(counter));
        ring.write_word(ring.params.cq_off.flags, 0);
        ring.push(prep::nop());
        let _ = ring.submit();
        session.record("enabled", session.eventfd_count(counter));
    }));
    cases
}
