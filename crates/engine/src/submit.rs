//! Submission: SQEs out of the SQ, checked, assembled into chains, started.

mod together;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use ringer_abi::{Cqe, Opcode, SetupFlags, Sqe, SqeFlags};
use ringer_ops::{Completion, Operation, Prepare, Row, row};
use ringer_ring::{Production, SharedPages, SqBatch, Taken};
use ringer_sys::Errno;
use ringer_sys::credentials::Credentials;

use crate::Served;
use crate::alone::Moved;
use crate::chaos::Fate;
use crate::complete::Results;
use crate::files::RegisteredFile;
use crate::observed::Observed;
use crate::request::{FileRef, Held, Request};
use crate::ring::Ring;
use crate::turn::{Place, Turn};
use crate::{coalesce, drain, mapped_reads, wait};

/// Consumes up to `most` SQEs. Returns how many were consumed; a bad one ends the batch unless the
/// ring was made with `IORING_SETUP_SUBMIT_ALL`. `thread`: see [`Ring::own_thread`].
#[inline]
pub(crate) fn submit(ring: &Arc<Ring>, most: u32, thread: Option<NonZeroU32>) -> u32 {
    // Held while the requests are started: one consumer of the SQ at a time.
    let _guard = ring.shared.lock_submissions_by(thread);
    let is_polled = ring.poll_thread.get().is_some();
    if !is_polled {
        ring.count_enter();
    }
    let sqes = ring.shared.sq_batch(most);
    let sqes = if is_polled { sqes.from_elsewhere() } else { sqes };
    if sqes.left() == 0 {
        return 0;
    }
    submit_batch(ring, sqes, thread)
}

/// Serves a batch. One of SQEs that need nothing to be done has no requests, and needs no turn.
#[inline]
fn submit_batch(ring: &Arc<Ring>, sqes: Sqes<'_>, thread: Option<NonZeroU32>) -> u32 {
    // Relaxed: set by the submission of a timeout before, or a race.
    let may_be_plain = has_plain_sqes(ring)
        && ring.observed.is_none()
        && !ring.drains.load(Ordering::Relaxed)
        && !ring.completions.is_counted.load(Ordering::Relaxed);
    let first = if may_be_plain { next_result(&sqes) } else { None };
    let Some((opcode, mut cqe)) = first else { return submit_others(ring, sqes, thread, may_be_plain) };
    let count = sqes.left();
    let mut rest = sqes.clone();
    let mut results = ring.begin_results(thread);
    loop {
        if !results.push(&cqe) {
            break;
        }
        rest.take_peeked();
        if rest.left() == 0 {
            // Every SQE was read: the program may have its slots back.
            rest.publish();
            announce(ring, results);
            ring.count_submitted(opcode, Served::Inline, count.into());
            return count;
        }
        match next_result(&rest) {
            Some((next, of_next)) if next == opcode => cqe = of_next,
            _ => break,
        }
    }
    // The program has seen none of the CQEs: they come with the others, or behind what others post.
    drop(results);
    serve(ring, sqes, thread, None)
}

/// Serves a batch of which something has to be done. If it is one transfer that is over with its call, that needs no turn, either.
// Not inlined: what comes before is short without it.
#[inline(never)]
fn submit_others(
    ring: &Arc<Ring>,
    mut sqes: Sqes<'_>,
    thread: Option<NonZeroU32>,
    may_be_plain: bool,
) -> u32 {
    let moved = if may_be_plain && sqes.left() == 1 { move_alone(ring, &sqes) } else { None };
    if let Some((sqe, _, Moved::Whole)) = moved {
        let mut results = ring.begin_results(thread);
        if results.push(&Cqe::new(sqe.user_data(), sqe.len() as i32, 0)) {
            sqes.take_peeked();
            sqes.publish();
            announce(ring, results);
            ring.count_submitted(sqe.opcode(), Served::Inline, 1);
            return 1;
        }
    }
    serve(ring, sqes, thread, moved)
}

/// Makes the call for the next SQE, if that is a transfer alone.
#[inline]
fn move_alone(ring: &Ring, sqes: &Sqes<'_>) -> Option<(Sqe, &'static Row, Moved)> {
    let sqe = sqes.peek()?;
    let row = plain_row(&sqe)?;
    Some((sqe, row, ring.move_alone(&sqe)?))
}

/// The opcode of the next SQE and its CQE, if that needs nothing to be done.
#[inline]
fn next_result(sqes: &Sqes<'_>) -> Option<(u8, Cqe)> {
    let sqe = sqes.peek()?;
    let result = result_of(plain_row(&sqe)?, &sqe)?;
    Some((sqe.opcode(), Cqe::new(sqe.user_data(), result, 0)))
}

/// Posts these results, and tells whoever waits for some.
#[inline(always)]
fn announce(ring: &Arc<Ring>, results: Results<'_>) {
    let posted = results.post();
    // Relaxed, as above.
    if ring.completions.is_counted.load(Ordering::Relaxed) {
        expire_counts(ring, posted.so_far);
    }
    ring.completions.eventfd.signal(ring, false);
    ring.announce_completions(posted.waiters);
}

/// A thread has submitted a timeout with a count meanwhile.
#[cold]
fn expire_counts(ring: &Arc<Ring>, posted: u32) {
    let mut turn = Turn::new(ring, Place::Reactor);
    turn.expire_counts(posted);
    turn.run_ready();
    turn.finish();
}

/// Serves what is left of the batch. `moved`: the first SQE is a transfer alone whose call was made. Returns how many SQEs were taken.
// Not inlined: it has a turn in its frame.
#[inline(never)]
fn serve(
    ring: &Arc<Ring>,
    sqes: Sqes<'_>,
    thread: Option<NonZeroU32>,
    moved: Option<(Sqe, &Row, Moved)>,
) -> u32 {
    let mut batch = Batch {
        turn: Turn::by(ring, Place::Submitter, thread),
        chain: Vec::new(),
        is_plain: false,
        fate: None,
        sqes,
    };
    batch.look_again();
    let all = batch.sqes.left();
    let limit = ring.observed.as_ref().map_or(u32::MAX, |observed| observed.limit(ring, all));
    let mut submitted = 0;
    if let Some((sqe, row, moved)) = moved {
        // As it was read before: the program may have changed it since.
        batch.sqes.take_peeked();
        submitted += 1;
        batch.end_alone(&sqe, row, Some(moved));
    }
    // A chain is taken as a whole.
    while (submitted < limit || !batch.chain.is_empty())
        && let Some(Taken::Sqe { mut sqe }) = batch.sqes.take()
    {
        submitted += 1;
        batch.observe(&mut sqe);
        let goes_on = match batch.plain_row(&sqe) {
            Some(row) => match result_of(row, &sqe) {
                Some(result) => {
                    batch.turn.count(sqe.opcode(), Served::Inline);
                    let cqe = Cqe::new(sqe.user_data(), result, 0);
                    batch.turn.trace_numbered(Some(batch.turn.number), &cqe, Served::Inline, true);
                    batch.turn.post(cqe);
                    true
                }
                None => {
                    let (more, goes_on) = batch.serve_plain(&sqe, row);
                    submitted += more;
                    goes_on
                }
            },
            None => batch.accept(&sqe),
        };
        if !goes_on && !ring.setup.contains(SetupFlags::SUBMIT_ALL) {
            break;
        }
    }
    if !batch.chain.is_empty() {
        batch.start_chain();
    }
    if submitted >= limit
        && let Some(observed) = &ring.observed
    {
        observed.was_limited(all, submitted);
    }
    // Every SQE was read: the program may have its slots back.
    batch.sqes.publish();
    let armed_edge = batch.turn.armed_edge;
    batch.turn.finish();
    if armed_edge && !ring.defers_completions() {
        // An edge-triggered watch reports a file that is ready already: that belongs to this submission.
        wait::drive(ring);
    }
    submitted
}

/// Whether it may be refused although it is prepared.
fn may_be_refused_later(sqe: &Sqe) -> bool {
    const SEND_ZC: u8 = Opcode::SendZc.number();
    const SENDMSG_ZC: u8 = Opcode::SendmsgZc.number();
    matches!(sqe.opcode(), SEND_ZC | SENDMSG_ZC)
}

/// Whether the ring has nothing against any opcode.
#[inline]
fn has_plain_sqes(ring: &Ring) -> bool {
    !ring.setup.contains(SetupFlags::IOPOLL) && !ring.restrictions.any()
}

/// The row of an SQE that asks for nothing that has to be checked.
#[inline]
fn plain_row(sqe: &Sqe) -> Option<&'static Row> {
    let is_plain = sqe.flags().difference(SqeFlags::FIXED_FILE).is_empty()
        && sqe.ioprio() == 0
        && sqe.personality() == 0;
    if is_plain { row(sqe.opcode()) } else { None }
}

/// The result of a plain SQE that needs nothing to be done.
#[inline]
fn result_of(row: &Row, sqe: &Sqe) -> Option<i32> {
    row.result.filter(|_| sqe.op_flags() == 0)
}

type Sqes<'a> = SqBatch<'a, SharedPages, Production>;

struct Batch<'a> {
    turn: Turn<'a>,
    /// The chain that is being assembled.
    chain: Vec<Request>,
    /// Whether the ring has nothing against any opcode, and nothing of what came before concerns the next SQE.
    is_plain: bool,
    /// Of the SQE that is taken.
    fate: Option<Fate>,
    sqes: Sqes<'a>,
}

impl Batch<'_> {
    /// The row of an SQE of which [`check`](Self::check) has nothing to say, and which nothing else delays: of most.
    #[inline]
    fn plain_row(&self, sqe: &Sqe) -> Option<&'static Row> {
        if self.is_plain { plain_row(sqe) } else { None }
    }

    /// An SQE was taken. It becomes what is served in its place.
    #[inline(always)]
    fn observe(&mut self, sqe: &mut Sqe) {
        if let Some(observed) = &self.turn.ring.observed {
            self.observe_by(observed, sqe);
        }
    }

    // Not inlined: the loop over the SQEs is short without it.
    #[cold]
    #[inline(never)]
    fn observe_by(&mut self, observed: &Observed, sqe: &mut Sqe) {
        (self.turn.number, *sqe, self.fate) = observed.submitted(sqe);
    }

    /// Finds out whether the next SQEs may be plain. What was [assembled](Self::assemble) can change that.
    fn look_again(&mut self) {
        let ring = self.turn.ring;
        self.is_plain = has_plain_sqes(ring)
            && !ring.observed.as_ref().is_some_and(Observed::may_be_struck)
            && self.is_undelayed();
    }

    /// Serves such a one, and those after it that can be served with it. Returns how many more were taken, and whether
    /// none was refused.
    // Not inlined: the loop over the SQEs is short without it.
    #[inline(never)]
    fn serve_plain(&mut self, sqe: &Sqe, row: &'static Row) -> (u32, bool) {
        if coalesce::may_be_in_run(sqe) || mapped_reads::may_be_in_run(sqe) {
            (self.take_transfers(sqe, row), true)
        } else if let Some(are_independent) =
            row.are_independent.filter(|_| self.turn.ring.observed.is_none())
        {
            self.take_together(sqe, row, are_independent)
        } else if may_be_refused_later(sqe) {
            (0, self.accept(sqe))
        } else {
            (0, self.start_plain(sqe, row))
        }
    }

    /// Starts such a one. Returns false if it was refused.
    #[inline]
    fn start_plain(&mut self, sqe: &Sqe, row: &Row) -> bool {
        let context = Prepare { setup: self.turn.ring.setup, limits_request: false };
        match self.turn.start(sqe, &context, row) {
            Ok(()) => true,
            Err(errno) => {
                let request = self.refused(sqe, errno);
                self.assemble(request, false)
            }
        }
    }

    /// Takes any SQE. Returns false if it was refused and is not followed by more of its chain.
    #[inline(never)]
    fn accept(&mut self, sqe: &Sqe) -> bool {
        let limits_request =
            self.chain.last().is_some_and(|last| last.opcode != Opcode::LinkTimeout.number());
        let context = Prepare { setup: self.turn.ring.setup, limits_request };
        let checked = self.check(sqe);
        let prepared = match checked {
            Ok((row, None)) if self.stands_alone(sqe) => match self.turn.start(sqe, &context, row) {
                Ok(()) => return true,
                Err(errno) => Err(errno),
            },
            Ok((_, personality)) => {
                Operation::prepare(sqe, &context).map(|operation| (operation, personality))
            }
            Err(errno) => Err(errno),
        };
        let (request, goes_on) = match prepared {
            Ok((operation, personality)) => {
                let refusal = operation.refusal().map(|errno| -errno.raw_os_error());
                let (number, fate) = (self.turn.number, self.fate.take().map(Box::new));
                let early_result = refusal;
                let request =
                    Request { personality, number, fate, early_result, ..Request::new(sqe, operation) };
                let goes_on = refusal.is_none() || request.is_linked();
                (request, goes_on)
            }
            Err(errno) => {
                let request = self.refused(sqe, errno);
                let is_linked = request.is_linked();
                (request, is_linked)
            }
        };
        self.assemble(request, goes_on)
    }

    fn refused(&mut self, sqe: &Sqe, errno: Errno) -> Request {
        let mut request = Request { number: self.turn.number, ..Request::refused(sqe) };
        if self.check_flags(sqe).is_err() {
            request.flags.remove(SqeFlags::IO_DRAIN);
        } else {
            let drain = request.flags.contains(SqeFlags::IO_DRAIN);
            self.turn.note_refused(drain, self.chain.is_empty());
        }
        request.early_result = Some(-errno.raw_os_error());
        request
    }

    /// Starts a request, once its chain is complete. Returns `goes_on`.
    fn assemble(&mut self, request: Request, goes_on: bool) -> bool {
        let ends = !request.is_linked();
        if ends && self.chain.is_empty() {
            // The common case: no chain, nothing to assemble.
            self.start(Box::new(request));
        } else {
            self.chain.push(request);
            if ends {
                self.start_chain();
            }
        }
        self.look_again();
        goes_on
    }

    /// Serves a plain transfer, and those after it that can be served with it. Returns how many more than the first were taken.
    fn take_transfers(&mut self, first: &Sqe, row: &Row) -> u32 {
        self.turn.settle_before(first.opcode(), &FileRef::None);
        let mapped = self.turn.mapped_file(first, self.sqes.left() > 0);
        let belongs = if mapped.is_some() { mapped_reads::belongs } else { coalesce::follows };
        if mapped.is_none() && !self.sqes.peek().is_some_and(|next| belongs(first, &next)) {
            let moved = self.turn.ring.move_alone(first);
            self.end_alone(first, row, moved);
            return 0;
        }
        self.take_run(first, mapped, belongs)
    }

    /// Goes on with a transfer whose call was made, if it was.
    fn end_alone(&mut self, sqe: &Sqe, row: &Row, moved: Option<Moved>) {
        if !moved.is_some_and(|moved| self.turn.end_alone(sqe, moved)) {
            // It cannot be refused by more than its own CQE.
            self.start_plain(sqe, row);
        }
    }

    fn take_run(
        &mut self,
        first: &Sqe,
        mapped: Option<Arc<RegisteredFile>>,
        belongs: fn(&Sqe, &Sqe) -> bool,
    ) -> u32 {
        let mut run = ArrayVec::<Sqe, { coalesce::MOST_OF_A_RUN }>::new();
        run.push(*first);
        let first_number = self.turn.number;
        while !run.is_full()
            && let Some(mut sqe) = self.sqes.peek()
            && belongs(&run[run.len() - 1], &sqe)
        {
            self.sqes.take_peeked();
            self.observe(&mut sqe);
            run.push(sqe);
        }
        let mut held = Held::default();
        let done = match mapped {
            Some(file) => {
                let done = self.turn.read_from_mapping(&file, &run);
                held.file = FileRef::Registered(file);
                done
            }
            None => self.turn.transfer_together(&run, &mut held),
        };
        for (index, sqe) in run.iter().enumerate() {
            self.turn.number = first_number + index as u64;
            if done >> index & 1 != 0 {
                self.turn.complete_at_once(sqe, &Completion::new(sqe.len() as i32), [0; 2]);
            } else {
                // None of them can be refused by more than its own CQE.
                self.accept(sqe);
            }
        }
        if held.is_tagged() {
            self.turn.publish();
        }
        (run.len() - 1) as u32
    }

    /// What is checked of every SQE before its operation looks at it. Returns its row, and who it is to be done as.
    fn check(&self, sqe: &Sqe) -> Result<(&'static Row, Option<Arc<Credentials>>), Errno> {
        let row = self.check_flags(sqe)?;
        if !self.turn.ring.restrictions.allow(sqe) {
            return Err(Errno::ACCESS);
        }
        if sqe.ioprio() != 0 && !row.traits.ioprio {
            return Err(Errno::INVAL);
        }
        if self.turn.ring.setup.contains(SetupFlags::IOPOLL) && !row.traits.iopoll {
            return Err(Errno::INVAL);
        }
        let personality = match sqe.personality() {
            0 => None,
            id => Some(self.turn.ring.registrations.lock().personality(id).ok_or(Errno::INVAL)?),
        };
        Ok((row, personality))
    }

    /// What is checked before a drain counts.
    fn check_flags(&self, sqe: &Sqe) -> Result<&'static Row, Errno> {
        let flags = sqe.flags();
        let row = row(sqe.opcode()).ok_or(Errno::INVAL)?;
        if SqeFlags::from_bits(flags.bits()).is_none() {
            return Err(Errno::INVAL);
        }
        if flags.contains(SqeFlags::BUFFER_SELECT) && !row.traits.buffer_select {
            return Err(Errno::OPNOTSUPP);
        }
        if flags.contains(SqeFlags::CQE_SKIP_SUCCESS) {
            // Relaxed: read and written under the submission lock only.
            self.turn.ring.skips_completions.store(true, Ordering::Relaxed);
        }
        // A drain counts completions: it cannot be had once some are skipped.
        if flags.contains(SqeFlags::IO_DRAIN) && self.turn.ring.skips_completions.load(Ordering::Relaxed) {
            return Err(Errno::OPNOTSUPP);
        }
        Ok(row)
    }

    /// Whether nothing but the SQE itself says when it starts.
    fn stands_alone(&self, sqe: &Sqe) -> bool {
        const OTHERS: SqeFlags =
            SqeFlags::IO_LINK.union(SqeFlags::IO_HARDLINK).union(SqeFlags::IO_DRAIN).union(SqeFlags::ASYNC);
        !sqe.flags().intersects(OTHERS)
            && !may_be_refused_later(sqe)
            && self.fate.is_none()
            && self.is_undelayed()
    }

    /// Whether nothing that came before says when the next SQE starts.
    fn is_undelayed(&self) -> bool {
        self.chain.is_empty() && !self.turn.ring.drains.load(Ordering::Relaxed)
    }

    fn start(&mut self, request: Box<Request>) {
        let drain = request.flags.contains(SqeFlags::IO_DRAIN);
        if request.early_result.is_some() {
            self.turn.run(request);
        } else if let Some(request) = self.turn.start_or_drain(request, drain) {
            self.turn.run(request);
        }
    }

    /// Starts the assembled chain. A refused SQE anywhere in it fails all of it.
    fn start_chain(&mut self) {
        let refused = self.chain.iter().any(|request| request.early_result.is_some());
        let mut head: Option<Box<Request>> = None;
        while let Some(mut request) = self.chain.pop() {
            request.next = head;
            head = Some(Box::new(request));
        }
        let Some(mut head) = head else { return };
        let drain = drain::wants_drain(&head);
        let drains_within = head.next.as_deref().is_some_and(drain::wants_drain);
        if refused {
            self.turn.note_refused(drain, true);
            self.turn.refuse_chain(head);
            if drains_within {
                self.turn.drain_next();
            }
            return;
        }
        if let Some(rest) = head.next.as_deref_mut() {
            self.turn.capture_chain(rest);
        }
        let started = self.turn.start_or_drain(head, drain);
        if drains_within {
            self.turn.drain_next();
        }
        if let Some(head) = started {
            self.turn.run(head);
        }
    }
}
