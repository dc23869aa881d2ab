//! One attempt: what it needs is looked up, the operation is issued, its provided buffer settled.

use std::os::fd::RawFd;
use std::sync::Arc;

use ringer_abi::{Opcode, Sqe, SqeFlags};
use ringer_ops::{Attempt, Buffer, Completion, Issue, Operation, Outcome, Patience, Prepare, Row, row};
use ringer_sys::interrupt::Work;
use ringer_sys::{Errno, call, descriptor};

use crate::Served;
use crate::buffers::RegisteredBuffer;
use crate::files::RegisteredFile;
use crate::provided::Selection;
use crate::request::{Facts, FileRef, Held, Request};
use crate::ring::Ring;
use crate::system::System;
use crate::turn::{Place, Turn, cqe_of, is_heard_of};

impl Ring {
    /// How long an attempt of the submitter or the reactor may take. Where the size of files is limited (`RLIMIT_FSIZE` of `getrlimit.2`), a
    /// write raises SIGXFSZ: not in Linux, which leaves such writes to a worker.
    #[inline]
    pub(crate) fn patience_of(&self, opcode: u8) -> Patience {
        match self.latency.patience() {
            Patience::Brief if self.limits_sizes && ringer_ops::rw::is_write(opcode) => Patience::None,
            patience => patience,
        }
    }
}

/// What is kept of a descriptor goes before it is closed.
#[inline]
pub(crate) fn note_close(opcode: u8, fd: RawFd) {
    if opcode == Opcode::Close.number() && System::global().closing(fd) {
        System::global().closed(fd);
    }
}

impl Turn<'_> {
    /// Prepares and starts a request that stands alone: no chain, no drain, no credentials of its own. Most are done at the
    /// first attempt, and never become a [`Request`].
    ///
    /// # Errors
    /// Those of the preparation.
    pub(crate) fn start(&mut self, sqe: &Sqe, context: &Prepare, row: &Row) -> Result<(), Errno> {
        note_close(sqe.opcode(), sqe.fd());
        if row.needs_nothing() && !sqe.flags().contains(SqeFlags::BUFFER_SELECT) {
            return self.start_without_resources(sqe, context, row);
        }
        let facts = Facts::of(sqe);
        let mut held = Held::default();
        let goes_on = (row.start)(sqe, context, &mut |operation| match self
            .attempt(&facts, row, operation, &mut held)
        {
            Outcome::Done(completion) => {
                if is_heard_of(sqe.flags(), &completion) {
                    self.ask_for_more(&mut held);
                }
                self.complete_at_once(sqe, &completion, held.extra);
                None
            }
            outcome => Some(outcome),
        })?;
        if let Some(goes_on) = goes_on {
            self.start_to_wait(sqe, *goes_on, held);
        } else if held.is_tagged() {
            self.publish();
        }
        Ok(())
    }

    /// The same for an operation that needs no file and no buffer: there is nothing to look up, and nothing to hold.
    fn start_without_resources(&mut self, sqe: &Sqe, context: &Prepare, row: &Row) -> Result<(), Errno> {
        let goes_on = (row.start)(sqe, context, &mut |operation| {
            self.settle_before(sqe.opcode(), &FileRef::None);
            let mut issue = Issue::new(-1, self.patience(), &**self.ring);
            let started =
                (issue.patience == Patience::Brief && row.may_be_slow).then(|| self.ring.latency.begin());
            let outcome = operation.issue(&mut issue);
            if let Some(started) = started {
                self.ring.latency.end(started);
            }
            // Looked at where the operation left it: moving it would be most of the work of one without a system call.
            match &outcome {
                Outcome::Done(completion) => {
                    self.complete_at_once(sqe, completion, issue.extra);
                    None
                }
                _ => Some(outcome),
            }
        })?;
        if let Some(goes_on) = goes_on {
            self.start_to_wait(sqe, *goes_on, Held::default());
        }
        Ok(())
    }

    /// Posts the result of a request that never became one.
    #[inline]
    pub(crate) fn complete_at_once(&mut self, sqe: &Sqe, completion: &Completion, extra: [u64; 2]) {
        self.count(sqe.opcode(), Served::Inline);
        if self.ring.observed.is_some() {
            self.trace_at_once(sqe, completion, extra);
        }
        if is_heard_of(sqe.flags(), completion) {
            self.post(cqe_of(sqe.user_data(), completion, extra));
        }
    }

    #[cold]
    #[inline(never)]
    fn trace_at_once(&self, sqe: &Sqe, completion: &Completion, extra: [u64; 2]) {
        let cqe = cqe_of(sqe.user_data(), completion, extra);
        self.trace_numbered(Some(self.number), &cqe, Served::Inline, is_heard_of(sqe.flags(), completion));
    }

    /// Goes on with a plain read whose attempt has found that it waits for its device. Returns false if it cannot even start.
    pub(crate) fn lend(&mut self, sqe: &Sqe) -> bool {
        let (facts, mut held) = (Facts::of(sqe), Held::default());
        let context = Prepare { setup: self.ring.setup, limits_request: false };
        let operation = row(facts.opcode).and_then(|row| {
            match self.file_of_reads(sqe) {
                Some(file) => held.file = FileRef::Registered(file),
                None => self.resolve(&facts, row, &mut held).ok()?,
            }
            Operation::prepare(sqe, &context).ok()
        });
        operation.map(|operation| self.start_to_wait(sqe, (operation, Outcome::Lend), held)).is_some()
    }

    /// The file of a read, if it is kept as if it were registered: it needs no duplicate of its own.
    fn file_of_reads(&self, sqe: &Sqe) -> Option<Arc<RegisteredFile>> {
        let parking = System::global().parking();
        parking.file(sqe.fd()).filter(|file| parking.is_still(sqe.fd(), file))
    }

    /// Goes on with an operation that was not done at its first attempt.
    fn start_to_wait(&mut self, sqe: &Sqe, (operation, outcome): (Operation, Outcome), held: Held) {
        let request = Request { held, number: self.number, ..Request::new(sqe, operation) };
        let next = self.go_on(Box::new(request), outcome);
        self.run_from(next);
    }

    /// How long an attempt may take.
    #[inline]
    pub(crate) fn patience(&self) -> Patience {
        match self.place {
            Place::Worker => Patience::Unlimited,
            Place::Submitter | Place::Reactor => self.ring.latency.patience(),
        }
    }

    /// The same for an opcode.
    #[inline]
    pub(crate) fn patience_of(&self, opcode: u8) -> Patience {
        match self.place {
            Place::Worker => Patience::Unlimited,
            Place::Submitter | Place::Reactor => self.ring.patience_of(opcode),
        }
    }

    /// Makes an attempt at a request.
    pub(crate) fn attempt_request(&mut self, request: &mut Request) -> Outcome {
        // Every request has a row: preparation refuses the others.
        let Some(row) = row(request.opcode) else { return request.operation.refuse(Errno::INVAL) };
        let facts = request.facts();
        note_close(facts.opcode, facts.fd);
        self.attempt(&facts, row, &mut request.operation, &mut request.held)
    }

    fn attempt(&mut self, facts: &Facts, row: &Row, operation: &mut dyn Attempt, held: &mut Held) -> Outcome {
        if let Err(errno) = self.resolve(facts, row, held) {
            return operation.refuse(errno);
        }
        self.settle_before(facts.opcode, &held.file);
        let selects = facts.flags.contains(SqeFlags::BUFFER_SELECT);
        // A worker may wait with what it has taken: it waits for the others when it posts.
        if selects && self.place != Place::Worker {
            self.hold_bits();
        }
        let mut selection =
            selects.then(|| Selection::new(&self.ring.provided, facts.buffer_index, &mut held.taken));
        let mut issue = Issue::new(held.file.raw(), self.patience_of(facts.opcode), &**self.ring);
        issue.buffer = held.buffer.as_ref().map(|(_, buffer)| *buffer);
        issue.ring = held.ring.as_deref().map(|ring| ring as _);
        issue.provided = selection.as_mut().map(|selection| selection as _);
        match &held.file {
            FileRef::Registered(file) => {
                issue.status_flags = Some(file.status_flags());
                issue.kind = file.kind();
            }
            FileRef::Program(fd) => issue.opened_for = self.ring.opened_files.recall(*fd),
            FileRef::Owned(_) | FileRef::None => {}
        }
        let believed = issue.opened_for;
        let started =
            (issue.patience == Patience::Brief && row.may_be_slow).then(|| self.ring.latency.begin());
        let mut outcome = match &self.work {
            Some(work) if issue.may_block() => issue_as_work(work, operation, &mut issue),
            _ => operation.issue(&mut issue),
        };
        (held.extra, held.asks_for_more) = (issue.extra, issue.asks_for_more);
        if let (FileRef::Program(fd), None, Some(found)) = (&held.file, believed, issue.opened_for) {
            self.ring.opened_files.note(*fd, found);
        }
        if let (FileRef::Registered(file), Some(kind)) = (&held.file, issue.kind) {
            file.note_kind(kind);
        }
        drop(selection);
        if let Some(started) = started {
            self.ring.latency.end(started);
        }
        if let Outcome::Done(completion)
        | Outcome::More(completion)
        | Outcome::Drained(completion)
        | Outcome::Notifies(completion) = &mut outcome
        {
            completion.flags |= held.taken.take_flags();
        } else if selects {
            self.let_go_of_bits();
        }
        outcome
    }

    /// Looks up the file and the registered buffer of a request, when it starts (`IORING_FEAT_LINKED_FILE`).
    #[inline]
    pub(crate) fn resolve(&self, facts: &Facts, row: &Row, held: &mut Held) -> Result<(), Errno> {
        if row.traits.needs_file && matches!(held.file, FileRef::None) {
            held.file = if facts.flags.contains(SqeFlags::FIXED_FILE) {
                let file = u32::try_from(facts.fd).ok().and_then(|index| self.ring.files.lock().get(index));
                FileRef::Registered(file.ok_or(Errno::BADF)?)
            } else if facts.fd < 0 || descriptor::reserved().engine.contains(&facts.fd) {
                return Err(Errno::BADF);
            } else {
                if descriptor::reserved().rings.contains(&facts.fd) {
                    // Other files may lie there, too.
                    held.ring = System::global().ring_of(facts.fd);
                }
                FileRef::Program(facts.fd)
            };
        }
        if row.traits.fixed_buffer && held.buffer.is_none() {
            held.buffer = Some(self.registered_buffer(facts).map_err(|errno| match held.file {
                // A descriptor that is not open counts first.
                FileRef::Program(fd) => call::check_open(fd).err().unwrap_or(errno),
                _ => errno,
            })?);
        }
        Ok(())
    }

    /// The same for a request that is not attempted yet.
    pub(crate) fn resolve_request(&self, request: &mut Request) -> Result<(), Errno> {
        let facts = request.facts();
        // Every request has a row: preparation refuses the others.
        let row = row(facts.opcode).ok_or(Errno::INVAL)?;
        self.resolve(&facts, row, &mut request.held)
    }

    fn registered_buffer(&self, facts: &Facts) -> Result<(Arc<RegisteredBuffer>, Buffer), Errno> {
        let buffer = self.ring.buffers.lock().get(facts.buffer_index).ok_or(Errno::FAULT)?;
        let range = buffer.range(facts.range.0, facts.range.1)?;
        Ok((buffer, range))
    }
}

/// Makes an attempt that may wait, and that others may interrupt.
fn issue_as_work(work: &Work, operation: &mut dyn Attempt, issue: &mut Issue<'_>) -> Outcome {
    const INTERRUPTED: i32 = -Errno::INTR.raw_os_error();
    loop {
        let outcome = work.while_waiting(|| operation.issue(issue));
        let was_interrupted = matches!(&outcome, Outcome::Done(done) if done.result == INTERRUPTED);
        if !was_interrupted || !work.was_disturbed() {
            return outcome;
        }
    }
}
