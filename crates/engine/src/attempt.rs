//! One attempt: what it needs is looked up, the operation is issued, its provided buffer settled.

use std::time::Instant;

use ringer_abi::{Opcode, Sqe, SqeFlags};
use ringer_ops::{Attempt, Completion, Issue, Operation, Outcome, Patience, Prepare, Row, row};
use ringer_sys::{Errno, descriptor};

use crate::Served;
use crate::provided::Selected;
use crate::request::{Facts, FileRef, Held, Request};
use crate::system::System;
use crate::turn::{Place, Turn, cqe_of};

impl Turn<'_> {
    /// Prepares and starts a request that stands alone: no chain, no drain, no credentials of its own. Most are done at the
    /// first attempt, and never become a [`Request`].
    ///
    /// # Errors
    /// Those of the preparation.
    pub(crate) fn start(&mut self, sqe: &Sqe, context: &Prepare, row: &Row) -> Result<(), Errno> {
        let facts = Facts::of(sqe);
        self.note_close(&facts);
        if row.needs_nothing() && !facts.flags.contains(SqeFlags::BUFFER_SELECT) {
            return self.start_without_resources(sqe, context, row);
        }
        let mut held = Held::default();
        let goes_on = Operation::start(sqe, context, &mut |operation| match self
            .attempt(&facts, row, operation, &mut held)
        {
            Outcome::Done(completion) => {
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
        let goes_on = Operation::start(sqe, context, &mut |operation| {
            let mut issue = Issue::new(-1, self.patience(), &**self.ring);
            let started = (issue.patience == Patience::Brief && row.may_be_slow).then(Instant::now);
            let outcome = operation.issue(&mut issue);
            if let Some(started) = started {
                self.ring.latency.record(started);
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

    /// What is kept of a descriptor goes before it is closed.
    #[inline]
    fn note_close(&self, facts: &Facts) {
        if facts.opcode == Opcode::Close.number() && System::global().closing(facts.fd) {
            System::global().closed(facts.fd);
        }
    }

    /// Posts the result of a request that never became one.
    #[inline]
    fn complete_at_once(&mut self, sqe: &Sqe, completion: &Completion, extra: [u64; 2]) {
        self.count(sqe.opcode(), Served::Inline);
        if !sqe.flags().contains(SqeFlags::CQE_SKIP_SUCCESS) || completion.fails_link {
            self.post(cqe_of(sqe.user_data(), completion, extra));
        }
    }

    /// Goes on with an operation that was not done at its first attempt.
    fn start_to_wait(&mut self, sqe: &Sqe, (operation, outcome): (Operation, Outcome), held: Held) {
        let request = Request { held, ..Request::new(sqe, operation) };
        let next = self.go_on(request, outcome);
        self.run_from(next);
    }

    /// How long an attempt may take.
    #[inline]
    fn patience(&self) -> Patience {
        match self.place {
            Place::Worker => Patience::Unlimited,
            Place::Submitter | Place::Reactor => self.ring.latency.patience(),
        }
    }

    /// Makes an attempt at a request.
    pub(crate) fn attempt_request(&mut self, request: &mut Request) -> Outcome {
        // Every request has a row: preparation refuses the others.
        let Some(row) = row(request.opcode) else { return request.operation.refuse(Errno::INVAL) };
        let facts = request.facts();
        self.note_close(&facts);
        self.attempt(&facts, row, &mut request.operation, &mut request.held)
    }

    fn attempt(&mut self, facts: &Facts, row: &Row, operation: &mut dyn Attempt, held: &mut Held) -> Outcome {
        let selected = match self.resolve(facts, row, held).and_then(|()| self.select(facts, operation, held))
        {
            Ok(selected) => selected,
            Err(errno) => return operation.refuse(errno),
        };
        let registered = held.buffer.as_ref().map(|(_, buffer)| *buffer);
        let mut issue = Issue::new(held.file.raw(), self.patience(), &**self.ring);
        if let Some(selected) = &selected {
            issue.buffer = Some(selected.first());
            issue.more_buffers = selected.others();
            issue.buffers_ran_out = selected.emptied();
            issue.buffer_is_classic = selected.is_classic();
        } else {
            issue.buffer = registered;
        }
        match &held.file {
            FileRef::Registered(file) => issue.status_flags = Some(file.status_flags()),
            FileRef::Program(fd) => issue.is_direct = self.ring.beliefs.is_direct(*fd),
            FileRef::Owned { .. } | FileRef::None => {}
        }
        let believed = issue.is_direct;
        let started = (issue.patience == Patience::Brief && row.may_be_slow).then(Instant::now);
        let outcome = operation.issue(&mut issue);
        held.extra = issue.extra;
        if let (FileRef::Program(fd), None, Some(is_direct)) = (&held.file, believed, issue.is_direct) {
            self.ring.beliefs.note(*fd, is_direct);
        }
        let used = issue.buffer_used;
        let bytes_used = issue.bytes_used;
        if let Some(started) = started {
            self.ring.latency.record(started);
        }
        match selected {
            None => outcome,
            Some(selected) => self.settle(selected, used, bytes_used, outcome, held),
        }
    }

    /// Ends a request that waited. Returns the one that follows in its chain.
    pub(crate) fn refuse(&mut self, mut request: Request, errno: Errno) -> Option<Request> {
        let mut outcome = request.operation.refuse(errno);
        if let Outcome::More(completion) = outcome {
            self.post_more(&request, &completion);
            outcome = request.operation.refuse(errno);
        }
        let completion = match outcome {
            Outcome::Done(completion) => completion,
            _ => Completion::error(errno),
        };
        self.complete(request, completion)
    }

    /// Takes a provided buffer for the attempt, if it needs one.
    ///
    /// # Errors
    /// Those of the group.
    fn select(
        &self,
        facts: &Facts,
        operation: &dyn Attempt,
        held: &mut Held,
    ) -> Result<Option<Selected>, Errno> {
        if !facts.flags.contains(SqeFlags::BUFFER_SELECT) {
            return Ok(None);
        }
        if let Some(selected) = held.selected.take() {
            return Ok(Some(selected));
        }
        let Some(demand) = operation.wants_buffers() else { return Ok(None) };
        let mut provided = self.ring.provided.lock();
        match provided.select(facts.buffer_index, &demand) {
            // Sends and bundles name a buffer group that does not exist by another errno than the others.
            Err(_) if (demand.at_once || demand.bundle) && !provided.has_group(facts.buffer_index) => {
                Err(Errno::NOENT)
            }
            result => result.map(Some),
        }
    }

    /// What becomes of the provided buffer of an attempt.
    fn settle(
        &mut self,
        mut selected: Selected,
        used: bool,
        bytes_used: Option<u64>,
        mut outcome: Outcome,
        held: &mut Held,
    ) -> Outcome {
        match &mut outcome {
            Outcome::Done(completion) | Outcome::More(completion) if completion.result > 0 || used => {
                let bytes = bytes_used.unwrap_or(completion.result.max(0) as u64);
                completion.flags |= self.ring.provided.lock().use_up(&mut selected, bytes);
            }
            // It holds a part of the data, or gives the rest of it, at the next attempt.
            Outcome::WaitFor { .. } | Outcome::Punt if used => {
                if selected.at_once {
                    self.ring.provided.lock().use_up(&mut selected, 0);
                }
                held.selected = Some(selected);
            }
            _ => self.ring.provided.lock().put_back(selected),
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
                FileRef::Program(facts.fd)
            };
        }
        if row.traits.fixed_buffer && held.buffer.is_none() {
            let buffer = self.ring.buffers.lock().get(facts.buffer_index).ok_or(Errno::FAULT)?;
            let range = buffer.range(facts.range.0, facts.range.1)?;
            held.buffer = Some((buffer, range));
        }
        Ok(())
    }
}
