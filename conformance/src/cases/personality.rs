//! PERSONALITY: requests with registered credentials.

use ringer_abi::{Opcode, RegisterOpcode};

use crate::differential::{Case, prep};

const REGISTER: u32 = RegisterOpcode::Personality.number();
const UNREGISTER: u32 = RegisterOpcode::UnregisterPersonality.number();

/// The cases of the two calls.
pub fn cases() -> Vec<Case> {
    vec![
        Case::general("register-personality/use", |session| {
            let ring = session.ring(8);
            session.outcome("first", ring.register(REGISTER, 0, 0));
            session.outcome("second", ring.register(REGISTER, 0, 0));
            let (file, memory) = (session.file(b"0123456789"), session.memory(8));
            for id in [1, 2, 3] {
                let read = prep::read(file, memory.addr(), 8, 0).with_personality(id);
                session.one_recorded(format!("read as {id}"), &ring, read);
                session.one_recorded(format!("nop as {id}"), &ring, prep::nop().with_personality(id));
            }
            let (read, write) = session.pipe();
            ring.push(prep::read(read, memory.addr(), 8, 0).with_personality(1).with_user_data(1));
            session.outcome("waits", ring.submit());
            session.write_fd(write, b"data");
            session.cqes("waited", &ring.collect(1));
            session.outcome("take back", ring.register(UNREGISTER, 0, 1));
            session.outcome("take back twice", ring.register(UNREGISTER, 0, 1));
            session.one_recorded("gone", &ring, prep::nop().with_personality(1));
            session.one_recorded("the other stays", &ring, prep::nop().with_personality(2));
        }),
        Case::general("register-personality/arguments", |session| {
            let ring = session.ring(8);
            session.outcome("argument", ring.register(REGISTER, 8, 0));
            session.outcome("count", ring.register(REGISTER, 0, 1));
            session.outcome("take back with argument", ring.register(UNREGISTER, 8, 1));
            session.outcome("take back nothing", ring.register(UNREGISTER, 0, 0));
            session.outcome("take back too large", ring.register(UNREGISTER, 0, 1 << 16));
        }),
        Case::new("openat/registered-personality", Opcode::Openat, |session| {
            // As another user where this one may become one: that is for the liburing suite. Here: the same.
            let ring = session.ring(8);
            session.outcome("register", ring.register(REGISTER, 0, 0));
            let path = session.memory_of(b"/does/not/exist\0");
            let open = prep::op(Opcode::Openat, -100).with_addr(path.addr()).with_personality(1);
            session.one_recorded("missing", &ring, open);
        }),
    ]
}
