//! Nothing is lost and nothing comes twice, whatever threads do at the same time.
//!
//! Some threads draw requests and submit them to two rings, which they share with a thread that reaps and with the engine's own
//! threads. What a request does is not looked at; but it has one final completion, and none behind that.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ringer_abi::{Cqe, CqeFlags, Opcode, SetupFlags, Sqe, SqeFlags, uapi};
use ringer_client::calls::Embedded;
use ringer_client::ring::Ring;
use ringer_conformance::differential::prep;
use ringer_sys::{UserAddress, call};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::ReadWriteFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

const THREADS: usize = 3;
const SLOTS: usize = 40;
const RINGS: usize = 2;
const ENTRIES: usize = 64;
/// Of each of four kinds.
const FILES: usize = 5;
const BUFFERS: u16 = 16;
const BUFFER_BYTES: u64 = 64;
/// The memory of a slot: a buffer, and what points to it or limits it.
const SLOT_BYTES: u64 = 128;
const FILE_POSITION: u64 = u64::MAX;
const MSG_NOSIGNAL: u32 = 0x4000;
/// Of completions that nobody counts.
const UNCOUNTED: u64 = u64::MAX;
/// Of requests whose result is a new descriptor.
const OPENS: u64 = 1 << 32;

/// What a request is drawn from.
struct Draw<'a> {
    rng: &'a mut Rng,
    scene: &'a Scene,
    /// The memory of its slot.
    memory: UserAddress,
}

impl Draw<'_> {
    fn buffer(&self) -> u64 {
        self.memory.get()
    }

    /// Where a short time is, drawn anew.
    fn time(&mut self) -> u64 {
        let place = self.memory.add(64);
        place.write([0, self.rng.u64(0..3_000_000)]).expect("memory of this test");
        place.get()
    }

    fn vectors(&self) -> u64 {
        let place = self.memory.add(80);
        place.write([self.memory.get(), 32]).expect("memory of this test");
        place.get()
    }

    fn readable(&mut self) -> RawFd {
        self.rng.choice(&self.scene.files).expect("there are files").0.as_raw_fd()
    }

    fn writable(&mut self) -> RawFd {
        self.rng.choice(&self.scene.files).expect("there are files").1.as_raw_fd()
    }

    /// The `user_data` of any request.
    fn other(&mut self) -> u64 {
        user_data(self.rng.usize(..THREADS), self.rng.usize(..SLOTS))
    }

    fn word(&mut self) -> u64 {
        self.scene.words.add(8 * self.rng.u64(..4)).get()
    }

    fn futex(&mut self, opcode: Opcode) -> Sqe {
        let word = self.word();
        prep::op(opcode, 2).with_addr(word).with_addr3(u64::from(u32::MAX))
    }
}

type MakeRequest = fn(&mut Draw<'_>) -> Sqe;

/// Requests that end by themselves once their files are fed.
const SINGLE: &[MakeRequest] = &[
    |draw| prep::read(draw.readable(), draw.buffer(), 24, FILE_POSITION),
    |draw| prep::readv(draw.readable(), draw.vectors(), 1, FILE_POSITION),
    |draw| prep::recv(draw.readable(), draw.buffer(), 16, 0),
    |draw| {
        let read = prep::read(draw.readable(), 0, 0, FILE_POSITION);
        read.with_flags(SqeFlags::BUFFER_SELECT).with_buf_index(1)
    },
    |draw| prep::write(draw.writable(), draw.scene.one.get(), 8, FILE_POSITION),
    |draw| prep::send(draw.writable(), draw.scene.one.get(), 8, MSG_NOSIGNAL),
    |draw| prep::poll(draw.readable(), 1),
    |_| prep::nop(),
    |draw| prep::timeout(draw.time(), draw.rng.u64(..3), 0),
    |draw| prep::timeout_remove(draw.other()),
    |draw| prep::poll_remove(draw.other()),
    |draw| prep::cancel(draw.other(), 0),
    |draw| {
        prep::cancel(0, uapi::IORING_ASYNC_CANCEL_FD | uapi::IORING_ASYNC_CANCEL_ALL).with_fd(draw.readable())
    },
    |draw| draw.futex(Opcode::FutexWake).with_off(2),
    |draw| prep::op(Opcode::Openat, draw.scene.directory.as_raw_fd()).with_addr(draw.scene.dot.get()),
    |draw| {
        let target = draw.rng.usize(..RINGS);
        prep::op(Opcode::MsgRing, draw.scene.descriptors[target]).with_off(UNCOUNTED)
    },
];

/// Requests that only end when they are cancelled, or woken by another one.
const ENDLESS: &[MakeRequest] = &[
    |draw| prep::poll(draw.readable(), 1).with_len(uapi::IORING_POLL_ADD_MULTI),
    |draw| {
        let receive = prep::recv(draw.readable(), 0, 0, 0).with_ioprio(uapi::IORING_RECV_MULTISHOT as u16);
        receive.with_flags(SqeFlags::BUFFER_SELECT).with_buf_index(1)
    },
    |draw| prep::timeout(draw.time(), 20, uapi::IORING_TIMEOUT_MULTISHOT),
    |draw| draw.futex(Opcode::FutexWait),
];

fn user_data(thread: usize, slot: usize) -> u64 {
    (thread * SLOTS + slot) as u64
}

#[derive(Default)]
struct Slot {
    is_pending: AtomicBool,
    opcode: AtomicU8,
}

struct Scene {
    rings: Vec<Mutex<Ring<Embedded>>>,
    descriptors: Vec<RawFd>,
    files: Vec<(OwnedFd, OwnedFd)>,
    slots: Vec<Slot>,
    memory: UserAddress,
    provided: UserAddress,
    /// Provided buffers that were used, for each ring.
    spent: Vec<Mutex<Vec<u16>>>,
    words: UserAddress,
    one: UserAddress,
    dot: UserAddress,
    directory: OwnedFd,
    is_polled: bool,
    is_over: AtomicBool,
}

/// Memory that stays: a request that is never heard of again may still point to it.
fn lasting(bytes: &[u8]) -> UserAddress {
    let memory: &'static mut [u8] = bytes.to_vec().leak();
    UserAddress::of(memory)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pair(kind: usize) -> (OwnedFd, OwnedFd) {
    let sockets =
        |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("a pair of sockets");
    let (read, write) = match kind {
        0 => rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe"),
        1 => sockets(SocketType::STREAM),
        2 => sockets(SocketType::DGRAM),
        _ => {
            let eventfd = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
            return (eventfd.try_clone().expect("a descriptor"), eventfd);
        }
    };
    rustix::io::ioctl_fionbio(&write, true).expect("any file");
    (read, write)
}

impl Scene {
    fn new(setup: SetupFlags) -> Self {
        let rings: Vec<_> =
            (0..RINGS).map(|_| Ring::<Embedded>::new(ENTRIES, setup, 5).expect("a ring")).collect();
        let count = THREADS * SLOTS;
        Self {
            descriptors: rings.iter().map(Ring::descriptor).collect(),
            rings: rings.into_iter().map(Mutex::new).collect(),
            files: (0..4 * FILES).map(|number| pair(number / FILES)).collect(),
            slots: (0..count).map(|_| Slot::default()).collect(),
            memory: lasting(&vec![0; count * SLOT_BYTES as usize]),
            provided: lasting(&[0; BUFFERS as usize * BUFFER_BYTES as usize]),
            spent: (0..RINGS).map(|_| Mutex::new((0..BUFFERS).collect())).collect(),
            words: lasting(&[0; 64]),
            one: lasting(&1_u64.to_ne_bytes()),
            dot: lasting(b".\0"),
            directory: std::fs::File::open("/").expect("there is a root").into(),
            is_polled: setup.contains(SetupFlags::SQPOLL),
            is_over: AtomicBool::new(false),
        }
    }

    /// A request for a free slot of this thread, if there is one.
    fn draw(&self, rng: &mut Rng, thread: usize, kinds: &[MakeRequest]) -> Option<Sqe> {
        let first = rng.usize(..SLOTS);
        let is_free = |slot: &usize| !self.slots[user_data(thread, *slot) as usize].is_pending.load(Relaxed);
        let number = user_data(thread, (first..SLOTS).find(is_free)?);
        let memory = self.memory.add(number * SLOT_BYTES);
        let make = rng.choice(kinds).expect("there are kinds");
        let sqe = make(&mut Draw { rng, scene: self, memory });
        Some(self.begin(sqe, number))
    }

    /// A LINK_TIMEOUT, likewise.
    fn limit(&self, rng: &mut Rng, thread: usize) -> Option<Sqe> {
        self.draw(rng, thread, &[|draw| prep::link_timeout(draw.time(), 0)])
    }

    fn begin(&self, sqe: Sqe, number: u64) -> Sqe {
        let slot = &self.slots[number as usize];
        assert!(!slot.is_pending.swap(true, Relaxed));
        slot.opcode.store(sqe.opcode(), Relaxed);
        let opens = if sqe.opcode() == Opcode::Openat.number() { OPENS } else { 0 };
        sqe.with_user_data(number | opens)
    }

    /// Submits a few requests, some of them in chains.
    fn submit(&self, rng: &mut Rng, thread: usize, kinds: &[MakeRequest], drains: bool) {
        let target = rng.usize(..RINGS);
        let mut ring = lock(&self.rings[target]);
        self.give_back(&mut ring, target);
        for _ in 0..rng.u32(1..6) {
            if ring.space() == 0 {
                break;
            }
            let mut next = self.draw(rng, thread, kinds);
            while let Some(sqe) = next.take() {
                // Room for what follows.
                let goes_on = rng.u8(..5) == 0 && ring.space() > 2;
                if goes_on {
                    next = if rng.u8(..4) == 0 {
                        self.limit(rng, thread)
                    } else {
                        self.draw(rng, thread, kinds)
                    };
                }
                let mut flags = sqe.flags();
                flags.set(SqeFlags::ASYNC, rng.u8(..6) == 0 && sqe.opcode() != Opcode::LinkTimeout.number());
                flags.set(SqeFlags::IO_DRAIN, drains && rng.u8(..40) == 0);
                if next.is_some() {
                    flags |= if rng.bool() { SqeFlags::IO_LINK } else { SqeFlags::IO_HARDLINK };
                }
                ring.push(&sqe.with_flags(flags)).expect("there is room");
            }
        }
        self.send(&mut ring);
    }

    /// Provides the buffers again that were used.
    fn give_back(&self, ring: &mut Ring<Embedded>, target: usize) {
        let mut spent = lock(&self.spent[target]);
        while let Some(number) = spent.pop_if(|_| ring.space() > 8) {
            let place = self.provided.add(u64::from(number) * BUFFER_BYTES);
            let provide = prep::op(Opcode::ProvideBuffers, 1).with_addr(place.get()).with_buf_index(1);
            let provide = provide.with_len(BUFFER_BYTES as u32).with_off(number.into());
            ring.push(&provide.with_user_data(UNCOUNTED)).expect("there is room");
        }
    }

    fn send(&self, ring: &mut Ring<Embedded>) {
        let sent = if self.is_polled { ring.hand_over() } else { ring.submit() };
        sent.expect("a submission");
    }

    fn cancel_all(&self, target: usize) {
        let mut ring = lock(&self.rings[target]);
        let all = uapi::IORING_ASYNC_CANCEL_ANY | uapi::IORING_ASYNC_CANCEL_ALL;
        if ring.space() > 0 {
            ring.push(&prep::cancel(0, all).with_user_data(UNCOUNTED)).expect("there is room");
            self.send(&mut ring);
        }
        // A call that asks for completions brings those that the CQ had no room for.
        ring.submit_and_wait(0).expect("a call");
    }

    fn feed(&self) {
        for (_, write) in &self.files {
            // One that is full is fed well enough.
            let _ = rustix::io::write(write, &1_u64.to_ne_bytes());
        }
    }

    /// Takes what is there, for who waits for room. Who drains waits for that, and holds up whoever would take it.
    fn empty(&self) {
        for (read, _) in &self.files {
            let mut bytes = [0; 4096];
            let buffer = std::io::IoSliceMut::new(&mut bytes);
            // The engine may be faster.
            let _ = rustix::io::preadv2(read, &mut [buffer], FILE_POSITION, ReadWriteFlags::NOWAIT);
        }
    }

    fn reap(&self, target: usize) {
        let mut ring = lock(&self.rings[target]);
        while let Some(cqe) = ring.pop() {
            self.account(target, &cqe);
        }
    }

    fn account(&self, target: usize, cqe: &Cqe) {
        let flags = CqeFlags::from_bits_retain(cqe.flags);
        if flags.contains(CqeFlags::BUFFER) {
            lock(&self.spent[target]).push((cqe.flags >> 16) as u16);
        }
        if cqe.user_data == UNCOUNTED {
            return;
        }
        if cqe.user_data & OPENS != 0 && cqe.res >= 0 {
            call::close(cqe.res).expect("a new descriptor");
        }
        let slot = &self.slots[(cqe.user_data & !OPENS) as usize];
        assert!(
            slot.is_pending.load(Relaxed),
            "behind the last completion of opcode {}: {cqe:?}",
            slot.opcode.load(Relaxed)
        );
        if !flags.contains(CqeFlags::MORE) {
            slot.is_pending.store(false, Relaxed);
        }
    }

    fn pending(&self) -> Vec<u8> {
        let pending = self.slots.iter().filter(|slot| slot.is_pending.load(Relaxed));
        pending.map(|slot| slot.opcode.load(Relaxed)).collect()
    }
}

/// Has threads submit for a while, and waits until all is back.
fn play(setup: SetupFlags, kinds: &[MakeRequest], drains: bool) {
    const TIME: Duration = Duration::from_millis(1500);
    const LIMIT: Duration = Duration::from_secs(20);
    let scene = &Scene::new(setup);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut rng = Rng::new();
                while !scene.is_over.load(Relaxed) {
                    scene.submit(&mut rng, thread, kinds, drains);
                    if rng.u8(..4) == 0 {
                        std::thread::sleep(Duration::from_micros(rng.u64(..200)));
                    }
                }
            });
        }
        for target in 0..RINGS {
            scope.spawn(move || {
                while !scene.is_over.load(Relaxed) {
                    scene.reap(target);
                    std::thread::sleep(Duration::from_micros(50));
                }
            });
        }
        let end = Instant::now() + TIME;
        for round in 0.. {
            scene.feed();
            if round % 8 == 0 {
                (0..RINGS).for_each(|target| scene.cancel_all(target));
            }
            if Instant::now() > end {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        scene.is_over.store(true, Relaxed);
    });
    let end = Instant::now() + LIMIT;
    while !scene.pending().is_empty() {
        assert!(Instant::now() < end, "never heard of again, by opcode: {:?}", scene.pending());
        for target in 0..RINGS {
            scene.cancel_all(target);
            scene.reap(target);
        }
        scene.empty();
        scene.feed();
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn each_request_has_one_last_completion() {
    let all: Vec<MakeRequest> = SINGLE.iter().chain(ENDLESS).copied().collect();
    for setup in [SetupFlags::empty(), SetupFlags::SQPOLL, SetupFlags::COOP_TASKRUN] {
        play(setup, &all, false);
        // What is endless would hold back what drains.
        play(setup, SINGLE, true);
    }
}
