//! RESTRICTIONS: what a ring serves once it is enabled.

use ringer_abi::{EnterFlags, Opcode, RegisterOpcode, SetupFlags, SqeFlags};

use crate::differential::{Case, Ring, Session, prep};

const RESTRICTIONS: u32 = RegisterOpcode::Restrictions.number();
const ENABLE: u32 = RegisterOpcode::EnableRings.number();

const CALL: u16 = 0;
const OPERATION: u16 = 1;
const ALLOWED: u16 = 2;
const REQUIRED: u16 = 3;

/// Registers restrictions: a kind and a value each.
fn restrict(session: &Session, ring: &Ring, label: &str, entries: &[(u16, u8)]) {
    let words: Vec<i32> = entries
        .iter()
        .flat_map(|(kind, value)| [i32::from(*kind) | i32::from(*value) << 16, 0, 0, 0])
        .collect();
    let place = if words.is_empty() { session.memory(16) } else { session.ints(&words) };
    session.outcome(label, ring.register(RESTRICTIONS, place.addr(), entries.len() as u32));
}

fn disabled(session: &Session) -> Ring {
    session.ring_with(8, SetupFlags::R_DISABLED)
}

/// The cases of this call.
pub fn cases() -> Vec<Case> {
    vec![
        Case::general("register-restrictions/arguments", |session| {
            let ring = session.ring(8);
            restrict(session, &ring, "not disabled", &[(OPERATION, 0)]);
            let ring = disabled(session);
            session.outcome("null", ring.register(RESTRICTIONS, 0, 1));
            session.outcome("null, none", ring.register(RESTRICTIONS, 0, 0));
            session.outcome("bad address", ring.register(RESTRICTIONS, session.bad_address(), 1));
            let many = session.memory(16 * 300);
            for count in [102, 103, 104, 105, 106, 200, u32::MAX] {
                let ring = disabled(session);
                session.outcome(format!("{count}"), ring.register(RESTRICTIONS, many.addr(), count));
            }
            for (kind, value) in [
                (4, 0),
                (0xffff, 0),
                (OPERATION, 62),
                (OPERATION, 63),
                (OPERATION, 64),
                (OPERATION, 255),
                (CALL, 35),
                (CALL, 36),
                (CALL, 255),
                (ALLOWED, 255),
                (REQUIRED, 255),
            ] {
                let ring = disabled(session);
                restrict(session, &ring, &format!("{kind} {value}"), &[(kind, value)]);
                restrict(session, &ring, &format!("{kind} {value} again"), &[(OPERATION, 0)]);
            }
            let ring = disabled(session);
            restrict(session, &ring, "none", &[]);
            restrict(session, &ring, "after none", &[(OPERATION, 0)]);
            session.outcome("enable", ring.register(ENABLE, 0, 0));
            restrict(session, &ring, "after enabling", &[(OPERATION, 0)]);
            let reserved = session.ints(&[i32::from(OPERATION), 5, 6, 7]);
            let ring = disabled(session);
            session.outcome("reserved words", ring.register(RESTRICTIONS, reserved.addr(), 1));
            let byte = session.ints(&[i32::from(OPERATION) | 7 << 24, 0, 0, 0]);
            let ring = disabled(session);
            session.outcome("reserved byte", ring.register(RESTRICTIONS, byte.addr(), 1));
        }),
        Case::general("register-restrictions/calls", |session| {
            let ring = disabled(session);
            restrict(session, &ring, "restrict", &[(CALL, ENABLE as u8), (CALL, 8), (OPERATION, 0)]);
            let files = session.ints(&[-1]);
            let register = |label: &str| {
                let probe = session.memory(16 + 8 * 4);
                session.outcome(format!("{label}: probe"), ring.register(8, probe.addr(), 4));
                session.outcome(format!("{label}: files"), ring.register(2, files.addr(), 1));
                session.outcome(format!("{label}: unregister"), ring.register(3, 0, 0));
                let update = session.words(&[u64::from(u32::MAX), ring.fd as u64]);
                session.outcome(format!("{label}: ring"), ring.register(20, update.addr(), 1));
                session.outcome(format!("{label}: bad number"), ring.register(99, 0, 0));
                session.outcome(format!("{label}: bad clock"), ring.register(29, 0, 0));
            };
            register("before");
            session.outcome("enable", ring.register(ENABLE, 0, 0));
            register("after");
            session.outcome("enable again", ring.register(ENABLE, 0, 0));
        }),
        Case::general("register-restrictions/operations", |session| {
            let ring = disabled(session);
            restrict(session, &ring, "restrict", &[(OPERATION, Opcode::Nop.number()), (OPERATION, 22)]);
            session.outcome("enter before", ring.enter(0, 0, EnterFlags::empty()));
            session.outcome("enable", ring.register(ENABLE, 0, 0));
            let buffer = session.memory(8).addr();
            let file = session.file(b"text");
            session.one_recorded("nop", &ring, prep::nop());
            session.one_recorded("read", &ring, prep::read(file, buffer, 4, 0));
            session.one_recorded("write", &ring, prep::write(file, buffer, 4, 0));
            session.one_recorded("unknown", &ring, prep::nop().with_opcode(200));
            session.one_recorded("bad fd", &ring, prep::read(-1, buffer, 4, 0));
            session.one_recorded("ioprio", &ring, prep::nop().with_ioprio(1));
            session.one_recorded("refused with ioprio", &ring, prep::op(Opcode::Close, -1).with_ioprio(1));
            for flags in [SqeFlags::IO_LINK, SqeFlags::ASYNC, SqeFlags::IO_DRAIN, SqeFlags::BUFFER_SELECT] {
                session.one_recorded(format!("{flags:?}"), &ring, prep::nop().with_flags(flags));
            }
            session.batch(
                "one refused in a batch",
                &ring,
                &[
                    prep::nop().with_user_data(1),
                    prep::op(Opcode::Close, -1).with_user_data(2),
                    prep::nop().with_user_data(3),
                ],
            );
        }),
        Case::general("register-restrictions/flags", |session| {
            let link = SqeFlags::IO_LINK.bits();
            let asynchronous = SqeFlags::ASYNC.bits();
            for (label, entries) in [
                ("allowed", vec![(ALLOWED, link)]),
                ("required", vec![(REQUIRED, asynchronous)]),
                ("both", vec![(ALLOWED, link), (REQUIRED, asynchronous)]),
                ("the last counts", vec![(ALLOWED, link), (ALLOWED, asynchronous)]),
                ("required unknown", vec![(REQUIRED, 0x80)]),
            ] {
                let ring = disabled(session);
                let mut all = vec![(OPERATION, Opcode::Nop.number())];
                all.extend(entries);
                restrict(session, &ring, label, &all);
                session.outcome(format!("{label}: enable"), ring.register(ENABLE, 0, 0));
                for flags in [
                    SqeFlags::empty(),
                    SqeFlags::IO_LINK,
                    SqeFlags::ASYNC,
                    SqeFlags::IO_LINK | SqeFlags::ASYNC,
                    SqeFlags::IO_DRAIN,
                    SqeFlags::IO_DRAIN | SqeFlags::ASYNC,
                    SqeFlags::FIXED_FILE | SqeFlags::ASYNC,
                    SqeFlags::from_bits_retain(0x80),
                ] {
                    let sqe = prep::nop().with_flags(flags);
                    session.one_recorded(format!("{label}: {flags:?}"), &ring, sqe);
                }
            }
        }),
        Case::general("register-restrictions/without-any", |session| {
            let ring = disabled(session);
            restrict(session, &ring, "none", &[]);
            session.outcome("enable", ring.register(ENABLE, 0, 0));
            session.one_recorded("nop", &ring, prep::nop());
            session.outcome("register", ring.register(3, 0, 0));
        }),
    ]
}
