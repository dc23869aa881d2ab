//! The cases that every opcode shares, made from one good SQE.
//!
//! An [`Exemplar`] says how to make a good request and which fields of the SQE mean something to
//! it. From that come: the good request on several kinds of rings, every unused field set, every flag bit,
//! wrong and closed descriptors, bad pointers, links, drain, fixed files.

use std::time::Duration;

use ringer_abi::{Cqe, Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags};

use super::case::Case;
use super::errno::outcome_name;
use super::kinds;
use super::prep;
use super::record::cqe_text;
use super::ring::{LIMIT, Ring};
use super::session::Session;

/// A field of the SQE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the uapi's own")]
pub enum Field {
    Ioprio,
    Off,
    Addr,
    Len,
    OpFlags,
    BufIndex,
    FileIndex,
    Addr3,
    Pad2,
}

impl Field {
    const ALL: [Self; 9] = [
        Self::Ioprio,
        Self::Off,
        Self::Addr,
        Self::Len,
        Self::OpFlags,
        Self::BufIndex,
        Self::FileIndex,
        Self::Addr3,
        Self::Pad2,
    ];

    /// The SQE with this field set.
    pub fn set(self, sqe: Sqe, value: u64) -> Sqe {
        match self {
            Self::Ioprio => sqe.with_ioprio(value as u16),
            Self::Off => sqe.with_off(value),
            Self::Addr => sqe.with_addr(value),
            Self::Len => sqe.with_len(value as u32),
            Self::OpFlags => sqe.with_op_flags(value as u32),
            Self::BufIndex => sqe.with_buf_index(value as u16),
            Self::FileIndex => sqe.with_file_index(value as u32),
            Self::Addr3 => sqe.with_addr3(value),
            Self::Pad2 => sqe.with_pad2(value),
        }
    }
}

/// What `fd` means to the opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FdRole {
    /// A file that the request works on; a fixed file is possible.
    File,
    /// A directory that a path starts from.
    Directory,
    /// Nothing.
    Ignored,
}

/// A request that succeeds.
pub struct Good {
    /// The request. Its `user_data` is set by the harness.
    pub sqe: Sqe,
    /// Looks at what the request did.
    pub observe: Box<dyn FnOnce(&Session)>,
}

impl Good {
    /// A request whose CQE says everything.
    pub fn new(sqe: Sqe) -> Self {
        Self { sqe, observe: Box::new(|_| ()) }
    }

    /// Adds a look at what the request did.
    #[must_use]
    pub fn observe(mut self, observe: impl FnOnce(&Session) + 'static) -> Self {
        self.observe = Box::new(observe);
        self
    }
}

/// An opcode, by a good request.
#[derive(Clone, Copy, Debug)]
pub struct Exemplar {
    /// The family's name in case names.
    pub name: &'static str,
    /// The opcode.
    pub opcode: Opcode,
    /// Makes the scene for one good request. The ring is there for requests that need others.
    pub make: fn(&Session, &Ring) -> Good,
    /// What `fd` means.
    pub fd: FdRole,
    /// The fields that mean something to the opcode, beside `fd`.
    pub uses: &'static [Field],
    /// Those of them that hold an address.
    pub pointers: &'static [Field],
    /// Bits of `op_flags` that are not tried one by one, because other cases look at them.
    pub skip_op_flags: u32,
    /// The same for `ioprio`.
    pub skip_ioprio: u16,
    /// Whether the result is a new descriptor, which is closed and whose number is not recorded.
    pub yields_fd: bool,
}

/// The `user_data` of the request under test.
pub const MAIN: u64 = 100;
const OTHER: u64 = 101;
const THIRD: u64 = 102;

/// How long a request that may never complete is waited for.
const PENDING: Duration = Duration::from_millis(1000);

impl Exemplar {
    /// An exemplar without exceptions.
    pub const fn new(
        name: &'static str,
        opcode: Opcode,
        fd: FdRole,
        uses: &'static [Field],
        pointers: &'static [Field],
        make: fn(&Session, &Ring) -> Good,
    ) -> Self {
        Self { name, opcode, make, fd, uses, pointers, skip_op_flags: 0, skip_ioprio: 0, yields_fd: false }
    }

    /// An opcode whose result is a new descriptor.
    pub const fn yielding_fd(mut self) -> Self {
        self.yields_fd = true;
        self
    }

    /// Leaves these bits of `op_flags` to other cases.
    pub const fn skipping_op_flags(mut self, bits: u32) -> Self {
        self.skip_op_flags = bits;
        self
    }

    /// Leaves these bits of `ioprio` to other cases.
    pub const fn skipping_ioprio(mut self, bits: u16) -> Self {
        self.skip_ioprio = bits;
        self
    }

    /// A completion as text, without the number of a new descriptor.
    fn text(&self, sqe: &Sqe, cqe: &Cqe) -> String {
        if self.yields_fd && cqe.user_data == MAIN && cqe.res > 2 && sqe.file_index() == 0 {
            // A failure would be the next case's surprise: the number is open.
            let _ = ringer_sys::call::close(cqe.res);
            return cqe_text(&Cqe { res: 0, ..*cqe }).replacen('0', "a descriptor", 1);
        }
        cqe_text(cqe)
    }

    /// Submits one SQE, waits for its completion, and says what came of both.
    fn submit_text(&self, ring: &Ring, sqe: Sqe, limit: Duration) -> String {
        ring.push(sqe);
        let submitted = outcome_name(ring.submit());
        let seen = match ring.wait_for(sqe.user_data(), limit) {
            Some(cqe) => self.text(&sqe, &cqe),
            None => "no completion".to_owned(),
        };
        format!("submit {submitted}, cqe {seen}")
    }

    /// All cases made from it.
    pub fn cases(self) -> Vec<Case> {
        let mut cases = vec![
            self.case("good", Self::good),
            self.case("ring-kinds", Self::ring_kinds),
            self.case("unused-fields", Self::unused_fields),
            self.case("sqe-flags", Self::sqe_flags),
            self.case("personality", Self::personality),
            self.case("linked", Self::linked),
            self.case("drained", Self::drained),
            self.case("skip-success", Self::skip_success),
            self.case("fixed-file", Self::fixed_file),
        ];
        if self.uses.contains(&Field::OpFlags) {
            cases.push(self.case("op-flag-bits", Self::op_flag_bits));
        }
        if self.uses.contains(&Field::Ioprio) {
            cases.push(self.case("ioprio-bits", Self::ioprio_bits));
        }
        if self.fd != FdRole::Ignored {
            cases.push(self.case("bad-fd", Self::bad_fd));
            cases.push(self.case("wrong-fd", Self::wrong_fd));
        }
        if !self.pointers.is_empty() {
            cases.push(self.case("bad-pointers", Self::bad_pointers));
        }
        cases
    }

    fn case(self, aspect: &str, run: fn(&Self, &mut Session)) -> Case {
        Case::new(format!("{}/{aspect}", self.name), self.opcode, move |session| run(&self, session))
    }

    /// Plays one variant on a ring of its own: what `change` makes of the good request.
    fn variant(&self, session: &mut Session, label: &str, change: impl FnOnce(&Session, &Ring, Sqe) -> Sqe) {
        session.fresh();
        let ring = session.ring(8);
        let good = (self.make)(session, &ring);
        let sqe = change(session, &ring, good.sqe.with_user_data(MAIN));
        let text = self.submit_text(&ring, sqe, PENDING);
        session.record(label, text);
    }

    fn good(&self, session: &mut Session) {
        for (label, flags) in [("plain", SqeFlags::empty()), ("async", SqeFlags::ASYNC)] {
            session.fresh();
            let ring = session.ring(8);
            let good = (self.make)(session, &ring);
            let text = self.submit_text(&ring, good.sqe.with_user_data(MAIN).with_flags(flags), LIMIT);
            session.record(label, text);
            (good.observe)(session);
        }
    }

    fn ring_kinds(&self, session: &mut Session) {
        let kinds = [
            ("SQPOLL", SetupFlags::SQPOLL),
            ("DEFER_TASKRUN", SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER),
            ("COOP_TASKRUN", SetupFlags::COOP_TASKRUN | SetupFlags::TASKRUN_FLAG),
            ("SQE128 and CQE32", SetupFlags::SQE128 | SetupFlags::CQE32),
            ("NO_SQARRAY", SetupFlags::NO_SQARRAY | SetupFlags::SUBMIT_ALL),
            ("IOPOLL", SetupFlags::IOPOLL),
        ];
        for (label, flags) in kinds {
            session.fresh();
            let ring = session.ring_with(8, flags);
            let good = (self.make)(session, &ring);
            let limit = if flags.contains(SetupFlags::IOPOLL) { PENDING } else { LIMIT };
            let text = self.submit_text(&ring, good.sqe.with_user_data(MAIN), limit);
            session.record(label, text);
            (good.observe)(session);
        }
    }

    fn unused_fields(&self, session: &mut Session) {
        for field in Field::ALL.into_iter().filter(|field| !self.uses.contains(field)) {
            for value in [1, 1 << 15, 0x8000_0000, u64::MAX] {
                // Shorter fields take the low bits: what would be zero is no test.
                if field.set(Sqe::default(), value) == Sqe::default() {
                    continue;
                }
                let label = format!("{field:?} {value:#x}");
                self.variant(session, &label, |_, _, sqe| field.set(sqe, value));
            }
        }
    }

    fn op_flag_bits(&self, session: &mut Session) {
        for bit in (0..32).filter(|bit| self.skip_op_flags & (1 << bit) == 0) {
            self.variant(session, &format!("op_flags bit {bit}"), |_, _, sqe| {
                sqe.with_op_flags(sqe.op_flags() ^ (1 << bit))
            });
        }
    }

    fn ioprio_bits(&self, session: &mut Session) {
        for bit in (0..16).filter(|bit| self.skip_ioprio & (1 << bit) == 0) {
            self.variant(session, &format!("ioprio bit {bit}"), |_, _, sqe| {
                sqe.with_ioprio(sqe.ioprio() ^ (1 << bit))
            });
        }
    }

    fn sqe_flags(&self, session: &mut Session) {
        let flags = [
            ("unknown bit", SqeFlags::from_bits_retain(0x80)),
            ("BUFFER_SELECT without buffers", SqeFlags::BUFFER_SELECT),
            ("FIXED_FILE without files", SqeFlags::FIXED_FILE),
            ("IO_LINK alone", SqeFlags::IO_LINK),
            ("IO_HARDLINK alone", SqeFlags::IO_HARDLINK),
            ("IO_DRAIN alone", SqeFlags::IO_DRAIN),
            ("IO_DRAIN and ASYNC", SqeFlags::IO_DRAIN | SqeFlags::ASYNC),
            ("CQE_SKIP_SUCCESS and IO_DRAIN", SqeFlags::CQE_SKIP_SUCCESS | SqeFlags::IO_DRAIN),
        ];
        for (label, flags) in flags {
            self.variant(session, label, |_, _, sqe| sqe.with_flags(flags));
        }
    }

    fn personality(&self, session: &mut Session) {
        for id in [1, 0xffff] {
            self.variant(session, &format!("personality {id}"), |_, _, sqe| sqe.with_personality(id));
        }
    }

    fn linked(&self, session: &mut Session) {
        let nop = |user_data| prep::nop().with_user_data(user_data);
        let failing = prep::read(-1, 0, 0, 0).with_user_data(OTHER);
        type Chain = (&'static str, fn(Sqe, Sqe, Sqe) -> [Sqe; 3]);
        let chains: [Chain; 5] = [
            ("head of two", |main, nop, last| [main.with_flags(SqeFlags::IO_LINK), nop, last]),
            ("tail of two", |main, nop, last| [nop.with_flags(SqeFlags::IO_LINK), main, last]),
            ("middle of three", |main, nop, last| {
                [nop.with_flags(SqeFlags::IO_LINK), main.with_flags(SqeFlags::IO_LINK), last]
            }),
            ("hard head of two", |main, nop, last| [main.with_flags(SqeFlags::IO_HARDLINK), nop, last]),
            ("async head of two", |main, nop, last| {
                [main.with_flags(SqeFlags::IO_LINK | SqeFlags::ASYNC), nop, last]
            }),
        ];
        for (label, chain) in chains {
            session.fresh();
            let ring = session.ring(8);
            let good = (self.make)(session, &ring);
            let sqes = chain(good.sqe.with_user_data(MAIN), nop(OTHER), nop(THIRD));
            self.chain(session, &ring, label, &sqes, LIMIT);
            (good.observe)(session);
        }
        session.fresh();
        let ring = session.ring(8);
        let good = (self.make)(session, &ring);
        let main = good.sqe.with_user_data(MAIN);
        self.chain(session, &ring, "after a failure", &[failing.with_flags(SqeFlags::IO_LINK), main], LIMIT);
        let main = main.with_flags(SqeFlags::from_bits_retain(0x80 | SqeFlags::IO_LINK.bits()));
        self.chain(session, &ring, "refused head", &[main, nop(OTHER)], LIMIT);
    }

    /// Submits a chain and records the results of its members in the chain's order.
    fn chain(&self, session: &Session, ring: &Ring, label: &str, sqes: &[Sqe], limit: Duration) {
        ring.push_all(sqes);
        session.outcome(format!("{label}: submit"), ring.submit());
        let ours = |user_data| sqes.iter().any(|sqe| sqe.user_data() == user_data);
        let seen = ring
            .collect_until(limit, |seen| seen.iter().filter(|cqe| ours(cqe.user_data)).count() == sqes.len());
        let mut texts: Vec<String> = Vec::new();
        for sqe in sqes {
            let of_it = seen.iter().filter(|cqe| cqe.user_data == sqe.user_data());
            texts.extend(of_it.map(|cqe| format!("{}: {}", cqe.user_data, self.text(sqe, cqe))));
        }
        session.record(label, texts.join(", "));
    }

    fn drained(&self, session: &mut Session) {
        session.fresh();
        let ring = session.ring(8);
        let good = (self.make)(session, &ring);
        let nop = |user_data| prep::nop().with_user_data(user_data);
        // A request that the scene left pending before it holds the drain back: then nothing of the three but the first completes.
        let main = good.sqe.with_user_data(MAIN).with_flags(SqeFlags::IO_DRAIN);
        self.chain(session, &ring, "between two", &[nop(OTHER), main, nop(THIRD)], PENDING);
        (good.observe)(session);
    }

    fn skip_success(&self, session: &mut Session) {
        session.fresh();
        let ring = session.ring(8);
        let good = (self.make)(session, &ring);
        let main = good.sqe.with_user_data(MAIN).with_flags(SqeFlags::CQE_SKIP_SUCCESS | SqeFlags::IO_LINK);
        ring.push_all(&[main, prep::nop().with_user_data(OTHER)]);
        session.outcome("submit", ring.submit());
        let next = ring.wait_for(OTHER, LIMIT);
        session.record("next in the chain", next.map_or("none".into(), |cqe| cqe_text(&cqe)));
        let skipped = ring.reap_all().iter().any(|cqe| cqe.user_data == MAIN);
        session.record("posted a CQE of its own", skipped);
        (good.observe)(session);
        // A failure is posted all the same.
        let bad = SqeFlags::CQE_SKIP_SUCCESS | SqeFlags::BUFFER_SELECT | SqeFlags::FIXED_FILE;
        self.variant(session, "failure", |_, _, sqe| sqe.with_flags(bad).with_personality(9));
    }

    fn fixed_file(&self, session: &mut Session) {
        let register = |session: &Session, ring: &Ring, fd: i32| {
            let table = session.ints(&[-1, fd]);
            session.outcome("register", ring.register(RegisterOpcode::Files.number(), table.addr(), 2));
        };
        let fixed = SqeFlags::FIXED_FILE;
        if self.fd == FdRole::File {
            session.fresh();
            let ring = session.ring(8);
            let good = (self.make)(session, &ring);
            register(session, &ring, good.sqe.fd());
            let sqe = good.sqe.with_user_data(MAIN).with_fd(1).with_flags(fixed);
            session.record("registered", self.submit_text(&ring, sqe, LIMIT));
            (good.observe)(session);
        }
        for (label, index) in [("empty slot", 0), ("past the end", 2), ("negative", -1), ("in range", 1)] {
            if label == "in range" && self.fd == FdRole::File {
                continue;
            }
            self.variant(session, label, |session, ring, sqe| {
                register(session, ring, if sqe.fd() >= 0 { sqe.fd() } else { session.file(b"") });
                sqe.with_fd(index).with_flags(fixed)
            });
        }
    }

    fn bad_fd(&self, session: &mut Session) {
        for fd in [-1, -100, i32::MIN, i32::MAX, 19_999] {
            self.variant(session, &format!("fd {fd}"), |_, _, sqe| sqe.with_fd(fd));
        }
        self.variant(session, "closed", |session, _, sqe| sqe.with_fd(session.closed_fd()));
        self.variant(session, "closed, async", |session, _, sqe| {
            sqe.with_fd(session.closed_fd()).with_flags(SqeFlags::ASYNC)
        });
    }

    fn wrong_fd(&self, session: &mut Session) {
        for (label, make) in kinds::KINDS {
            self.variant(session, label, |session, ring, sqe| sqe.with_fd(make(session, ring)));
        }
    }

    fn bad_pointers(&self, session: &mut Session) {
        for field in self.pointers {
            let bad = [
                ("null", 0),
                ("low", 8),
                ("kernel half", 0xffff_8000_0000_0000),
                ("last byte", u64::MAX),
                ("non-canonical", 1 << 50),
            ];
            for (label, address) in bad {
                self.variant(session, &format!("{field:?} {label}"), |_, _, sqe| field.set(sqe, address));
            }
            self.variant(session, &format!("{field:?} unmapped"), |session, _, sqe| {
                field.set(sqe, session.bad_address())
            });
            self.variant(session, &format!("{field:?} unmapped, async"), |session, _, sqe| {
                field.set(sqe, session.bad_address()).with_flags(SqeFlags::ASYNC)
            });
        }
    }
}
