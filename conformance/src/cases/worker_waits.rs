//! Waits of ACCEPT, RECV and SEND on a worker: `IOSQE_ASYNC`, and what follows such a request in its chain.

use ringer_abi::{Opcode, Sqe, SqeFlags, uapi};

use crate::differential::kinds::KINDS;
use crate::differential::{Case, Session, prep};

const MULTISHOT: u16 = uapi::IORING_ACCEPT_MULTISHOT as u16;
const POLL_FIRST: u16 = uapi::IORING_ACCEPT_POLL_FIRST as u16;
/// `IORING_RECVSEND_POLL_FIRST`.
const POLL_BEFORE: u16 = uapi::IORING_RECVSEND_POLL_FIRST as u16;
const MSG_DONTWAIT: u32 = 0x40;

/// Where a request runs.
#[derive(Clone, Copy, Debug)]
enum Where {
    /// On the submitter.
    Here,
    /// On a worker, by its own wish.
    Worker,
    /// On a worker, behind another one.
    Behind,
}

const PLACES: [Where; 3] = [Where::Here, Where::Worker, Where::Behind];

/// Behind a request that a worker carries out, Linux calls without asking whether the file is ready: flags about waiting mean nothing
/// or `EAGAIN` there, as docs/SUPPORT.md says.
fn differs(place: Where, waits_as_usual: bool) -> bool {
    matches!(place, Where::Behind) && !waits_as_usual
}

/// Submits a request there, brings what it may wait for, cancels it.
fn play(session: &Session, label: &str, place: Where, sqe: Sqe, bring: impl Fn(&Session)) {
    let label = format!("{label}, {place:?}");
    let ring = session.ring(8);
    let sqe = sqe.with_user_data(1);
    match place {
        Where::Here => ring.push(sqe),
        Where::Worker => ring.push(sqe.with_flags(sqe.flags() | SqeFlags::ASYNC)),
        Where::Behind => {
            ring.push(prep::nop().with_flags(SqeFlags::ASYNC | SqeFlags::IO_LINK).with_user_data(3));
            ring.push(sqe);
        }
    }
    session.outcome(format!("{label}: submit"), ring.submit());
    let record = |what: &str| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut seen = ring.collect_until(std::time::Duration::from_millis(1), |_| false);
        seen.retain(|cqe| cqe.user_data != 3);
        session.close_brought(&mut seen, |cqe| cqe.user_data == 1 && sqe.opcode() == Opcode::Accept.number());
        session.cqes_in_order(format!("{label}: {what}"), &seen);
    };
    record("at first");
    bring(session);
    record("then");
    ring.push(prep::cancel(1, 0).with_user_data(2));
    session.outcome(format!("{label}: cancel"), ring.submit());
    record("end");
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("accept/where-it-waits", Opcode::Accept, |session| {
            for place in PLACES {
                for nonblocking in [false, true] {
                    for ioprio in
                        (0..8_u16).filter(|ioprio| !differs(place, !nonblocking && *ioprio & !MULTISHOT == 0))
                    {
                        let (listener, port) = session.listener();
                        session
                            .with_kept(listener, |fd| rustix::io::ioctl_fionbio(fd, nonblocking))
                            .expect("a socket");
                        let sqe = prep::accept(listener, 0).with_ioprio(ioprio);
                        let label = format!("{nonblocking}, {ioprio}");
                        play(session, &label, place, sqe, |session| {
                            session.client(port);
                        });
                    }
                    session.fresh();
                }
            }
        }),
        Case::new("accept/of-what-does-not-listen", Opcode::Accept, |session| {
            // A ring's descriptor is an eventfd here; and Linux waits in one of eight ways until an epoll instance has events.
            let kinds = KINDS.iter().filter(|(label, _)| !matches!(*label, "the ring" | "epoll"));
            for (label, make) in kinds {
                for ioprio in [0, MULTISHOT, POLL_FIRST, MULTISHOT | POLL_FIRST] {
                    for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
                        let ring = session.ring(8);
                        let sqe = prep::accept(make(session, &ring), 0).with_ioprio(ioprio);
                        ring.push(sqe.with_flags(flags).with_user_data(1));
                        session.outcome(format!("{label}, {ioprio}, {flags:?}: submit"), ring.submit());
                        let seen =
                            ring.collect_until(std::time::Duration::from_millis(30), |seen| !seen.is_empty());
                        let texts: Vec<String> =
                            seen.iter().map(|cqe| format!("{} {:#x}", cqe.res.min(1), cqe.flags)).collect();
                        session.record(format!("{label}, {ioprio}, {flags:?}"), texts.join(", "));
                    }
                }
                session.fresh();
            }
        }),
        Case::new("accept/registered-while-it-did-not-wait", Opcode::Accept, |session| {
            let set = |fd, nonblocking| {
                session.with_kept(fd, |fd| rustix::io::ioctl_fionbio(fd, nonblocking)).expect("any file");
            };
            let ring = session.ring(8);
            let (listener, port) = session.listener();
            let (fifo, room) = (session.fifo(), session.memory(16));
            let both = [listener, fifo];
            both.iter().for_each(|fd| set(*fd, true));
            let table = session.ints(&both);
            let register = ringer_abi::RegisterOpcode::Files.number();
            session.outcome("register", ring.register(register, table.addr(), 2));
            both.iter().for_each(|fd| set(*fd, false));
            ring.push(prep::accept(0, 0).with_flags(SqeFlags::FIXED_FILE).with_user_data(1));
            let read = prep::read(1, room.addr(), 16, u64::MAX);
            ring.push(read.with_flags(SqeFlags::FIXED_FILE).with_user_data(2));
            session.outcome("submit", ring.submit());
            session.quiet("nothing", &ring);
            session.client(port);
            session.write_fd(fifo, b"text");
            std::thread::sleep(std::time::Duration::from_millis(20));
            let mut seen = ring.collect_until(std::time::Duration::from_millis(1), |_| false);
            session.close_brought(&mut seen, |cqe| cqe.user_data == 1);
            session.cqes("then", &seen);
        }),
        Case::new("connect/to-a-full-listener", Opcode::Connect, |session| {
            use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
            let socket = |session: &Session| {
                let flags = SocketFlags::CLOEXEC;
                let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
                session.keep(socket.expect("a socket"))
            };
            // Set when the socket is registered, and when it connects.
            for (before, after) in [(false, false), (true, true), (true, false)] {
                for extra in [SqeFlags::empty(), SqeFlags::ASYNC] {
                    let label = format!("{before}, {after}, {extra:?}");
                    let ring = session.ring(8);
                    let path = session.new_path();
                    let address = SocketAddrUnix::new(&path).expect("a short path");
                    let (listener, first, second) = (socket(session), socket(session), socket(session));
                    let started = session
                        .with_kept(listener, |fd| {
                            rustix::net::bind(fd, &address).and_then(|()| rustix::net::listen(fd, 0))
                        })
                        .and_then(|()| session.with_kept(first, |fd| rustix::net::connect(fd, &address)));
                    session.outcome(format!("{label}: the first"), started.map(|()| 0));
                    let set = |nonblocking| {
                        session
                            .with_kept(second, |fd| rustix::io::ioctl_fionbio(fd, nonblocking))
                            .expect("a socket");
                    };
                    set(before);
                    let table = session.ints(&[second]);
                    let register = ringer_abi::RegisterOpcode::Files.number();
                    session.outcome(format!("{label}: register"), ring.register(register, table.addr(), 1));
                    set(after);
                    let mut bytes = vec![1, 0];
                    bytes.extend(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
                    bytes.push(0);
                    let address = session.memory_of(&bytes);
                    let sqe =
                        prep::op(Opcode::Connect, 0).with_addr(address.addr()).with_off(bytes.len() as u64);
                    ring.push(sqe.with_flags(extra | SqeFlags::FIXED_FILE).with_user_data(1));
                    session.outcome(format!("{label}: submit"), ring.submit());
                    session.quiet(format!("{label}: full"), &ring);
                    session.with_kept(listener, |fd| rustix::net::accept(fd)).expect("the first waits");
                    session.quiet(format!("{label}: room"), &ring);
                }
                session.fresh();
            }
        }),
        Case::new("recv/where-it-waits", Opcode::Recv, |session| {
            for place in PLACES {
                for flags in [0, MSG_DONTWAIT] {
                    for ioprio in [0, POLL_BEFORE].into_iter().filter(|ioprio| !differs(place, *ioprio == 0))
                    {
                        for nonblocking in [false, true] {
                            let (left, right) = session.pair();
                            session
                                .with_kept(left, |fd| rustix::io::ioctl_fionbio(fd, nonblocking))
                                .expect("a socket");
                            let room = session.memory(16);
                            let sqe = prep::recv(left, room.addr(), 16, flags).with_ioprio(ioprio);
                            let label = format!("{flags}, {ioprio}, {nonblocking}");
                            play(session, &label, place, sqe, |session| session.write_fd(right, b"text"));
                        }
                    }
                    session.fresh();
                }
            }
        }),
        Case::new("send/where-it-waits", Opcode::Send, |session| {
            for place in PLACES {
                for flags in [0, MSG_DONTWAIT] {
                    for ioprio in [0, POLL_BEFORE].into_iter().filter(|ioprio| !differs(place, *ioprio == 0))
                    {
                        let (left, _right) = session.pair();
                        let text = session.memory_of(b"some text");
                        let sqe = prep::send(left, text.addr(), 9, flags).with_ioprio(ioprio);
                        play(session, &format!("{flags}, {ioprio}"), place, sqe, |_| {});
                    }
                    session.fresh();
                }
            }
        }),
    ]
}
