//! What is pending: every request that outlived its submission, and where it stands.

use std::collections::VecDeque;
use std::sync::Arc;

use ringer_abi::{Opcode, SqeFlags};
use ringer_sys::interrupt::Work;

use crate::futex::FutexSleep;
use crate::request::Request;
use crate::timer::{TimerKey, TimerQueue};
use crate::user_data::UserDataIndex;
use crate::watch::{PlaceInLine, Reported, Waiting, WatchId, Watches};

/// Names a pending request. Never reused: a number is in use once, its slot many times.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct RequestId {
    /// The slot.
    pub(crate) index: u32,
    /// How often the slot was given out before.
    pub(crate) generation: u32,
}

impl RequestId {
    pub(crate) const fn to_token(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    pub(crate) const fn from_token(token: u64) -> Self {
        Self { index: token as u32, generation: (token >> 32) as u32 }
    }
}

/// Where a pending request stands.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Its file will report readiness.
    Armed(Box<Request>),
    /// A timer will expire. LINK_TIMEOUTs name the request they limit.
    Timer { request: Box<Request>, key: Option<TimerKey>, limits: Option<RequestId> },
    /// A fault has it begin later: see [`System::inject`](crate::System::inject).
    Held { request: Box<Request>, key: TimerKey },
    /// It waits for a worker.
    Queued(Box<Request>),
    /// A device carries it out. Nobody can stop that, nor find it to cancel it.
    Device(Box<Request>),
    /// A thread of its own waits for its futexes.
    Asleep { request: Box<Request>, sleep: Arc<FutexSleep> },
    /// A thread runs it, a worker if it is its work. What happens meanwhile is noted here.
    Running { cancelled: bool, reported: bool, work: Option<Work> },
    /// It was cancelled and has not told so yet. One that waited for its file can be cancelled again.
    Cancelled { waited_for_file: bool },
}

impl Stage {
    /// Nothing has happened yet.
    const fn running() -> Self {
        Self::Running { cancelled: false, reported: false, work: None }
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    opcode: u8,
    /// `fd` and whether it is an index of the registered files.
    file: (i32, bool),
    /// When it became pending, relative to the others.
    order: u64,
    /// The watch that it waits for, and its position there.
    waits_for: Option<(WatchId, u32)>,
    stage: Option<Stage>,
}

/// A chain that waits for everything before it (`IOSQE_IO_DRAIN`), or behind one that does.
#[derive(Debug)]
pub(crate) struct Drained {
    pub(crate) head: Box<Request>,
    pub(crate) drain: bool,
}

/// The pending requests of one ring in this process.
#[derive(Debug, Default)]
pub(crate) struct Inflight {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_user_data: UserDataIndex,
    used: usize,
    next_order: u64,
    pub(crate) timers: TimerQueue,
    pub(crate) watches: Watches,
    pub(crate) drained: VecDeque<Drained>,
    /// The latest chain had `IOSQE_IO_DRAIN`, or waited behind one.
    pub(crate) drain_was_last: bool,
    /// The next chain drains, whatever its flags say.
    pub(crate) drain_next: bool,
    /// Timeouts that complete when so many CQEs were posted, the first to do so first.
    pub(crate) counted: Vec<(u32, RequestId)>,
    /// How many CQEs were posted when `counted` was last looked at.
    pub(crate) counted_from: u32,
    /// A request with `IOSQE_IO_DRAIN` runs: what follows waits for it.
    pub(crate) draining: bool,
    /// Requests whose stage is `Armed` or `Device`.
    pub(crate) armed: usize,
    /// The ring is closed: nothing becomes pending any more.
    pub(crate) closed: bool,
    /// This process ends: what was left to others, by itself among them, is not for it.
    pub(crate) is_leaving: bool,
}

impl Inflight {
    /// How many requests are pending, those in the drain queue not counted.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Whether a chain that comes now has to wait for others. `drain`: for all that are pending.
    pub(crate) fn holds_back(&self, drain: bool) -> bool {
        self.draining || !self.drained.is_empty() || (drain && self.used > 0)
    }

    /// Gives the request a slot, unless it has one, and puts it there.
    pub(crate) fn put(
        &mut self,
        mut request: Box<Request>,
        stage: impl FnOnce(Box<Request>) -> Stage,
    ) -> RequestId {
        let id = match request.slot {
            Some(id) => {
                self.rename(id, &request);
                id
            }
            None => self.reserve(&request),
        };
        request.slot = Some(id);
        let stage = stage(request);
        self.armed += usize::from(matches!(stage, Stage::Armed(_) | Stage::Device(_)));
        self.slots[id.index as usize].stage = Some(stage);
        id
    }

    /// Reserves a slot for a request that runs already.
    pub(crate) fn reserve(&mut self, request: &Request) -> RequestId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                opcode: 0,
                file: (-1, false),
                order: 0,
                waits_for: None,
                stage: None,
            });
            // The memory for 2^32 slots is not to be had.
            (self.slots.len() - 1) as u32
        });
        self.used += 1;
        self.next_order += 1;
        let slot = &mut self.slots[index as usize];
        slot.opcode = request.opcode;
        slot.file = (request.fd, request.flags.contains(SqeFlags::FIXED_FILE));
        slot.order = self.next_order;
        slot.stage = Some(Stage::running());
        self.by_user_data.insert(index, request.user_data);
        RequestId { index, generation: slot.generation }
    }

    /// The slot passes on to another request of the same chain, or the request's `user_data` changes.
    pub(crate) fn pass_on(&mut self, id: RequestId, request: &Request) {
        self.rename(id, request);
        match self.stage(id) {
            Some(stage @ Stage::Cancelled { .. }) => *stage = Stage::running(),
            // It was the other that was cancelled.
            Some(Stage::Running { cancelled, .. }) => *cancelled = false,
            _ => {}
        }
    }

    fn rename(&mut self, id: RequestId, request: &Request) {
        let slot = &mut self.slots[id.index as usize];
        slot.opcode = request.opcode;
        slot.file = (request.fd, request.flags.contains(SqeFlags::FIXED_FILE));
        if self.by_user_data.user_data(id.index) != request.user_data {
            self.by_user_data.remove(id.index);
            self.by_user_data.insert(id.index, request.user_data);
        }
    }

    /// Gives the slot back: the request is finished.
    pub(crate) fn release(&mut self, id: RequestId) {
        let Some(slot) =
            self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)
        else {
            return;
        };
        slot.stage = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.by_user_data.remove(id.index);
        self.free.push(id.index);
        self.used -= 1;
    }

    /// The slot that the request has, or a new one.
    pub(crate) fn slot_of(&mut self, request: &mut Request) -> RequestId {
        let id = request.slot.unwrap_or_else(|| self.reserve(request));
        request.slot = Some(id);
        id
    }

    fn slot(&mut self, id: RequestId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.index as usize)
            .filter(|slot| slot.generation == id.generation && slot.stage.is_some())
    }

    /// The stage of a pending request.
    pub(crate) fn stage(&mut self, id: RequestId) -> Option<&mut Stage> {
        self.slot(id).and_then(|slot| slot.stage.as_mut())
    }

    /// Takes a request out to run it. Its slot stays reserved. `None` if it is not pending, or runs.
    pub(crate) fn take(&mut self, id: RequestId) -> Option<Box<Request>> {
        let slot = self.slot(id)?;
        // `slot` gives only slots in use.
        match slot.stage.replace(Stage::running())? {
            Stage::Armed(request) => {
                self.armed -= 1;
                self.stop_waiting(id);
                Some(request)
            }
            Stage::Queued(request) | Stage::Asleep { request, .. } => Some(request),
            Stage::Timer { request, key, .. } => {
                if let Some(key) = key {
                    self.timers.remove(key);
                }
                Some(request)
            }
            Stage::Held { request, key } => {
                self.timers.remove(key);
                Some(request)
            }
            stage @ (Stage::Running { .. } | Stage::Cancelled { .. } | Stage::Device(_)) => {
                slot.stage = Some(stage);
                None
            }
        }
    }

    /// Takes a request out for a worker, whose work it is now.
    pub(crate) fn take_as(&mut self, id: RequestId, of_worker: Option<&Work>) -> Option<Box<Request>> {
        let request = self.take(id)?;
        if let Some(Stage::Running { work, .. }) = self.stage(id) {
            *work = of_worker.cloned();
        }
        Some(request)
    }

    /// The request in this slot waits for a watch, as long as it is armed.
    pub(crate) fn wait_for(&mut self, id: RequestId, watch: WatchId, events: u32, place: PlaceInLine) {
        let position = self.watches.wait(watch, Waiting { request: id, events, place });
        self.slots[id.index as usize].waits_for = Some((watch, position));
    }

    /// Whether an armed request has to wait for what a worker leaves of that for which it waits.
    pub(crate) fn is_held_back(&mut self, id: RequestId) -> bool {
        let slot = self.slot(id).filter(|slot| slot.opcode == Opcode::Accept.number());
        let watch = slot.and_then(|slot| slot.waits_for);
        watch.is_some_and(|(watch, _)| self.watches.get(watch).is_some_and(|watch| watch.is_held()))
    }

    /// Whether what an armed request hears of is gone: see [`Watch::is_outdated`](crate::watch::Watch::is_outdated).
    pub(crate) fn is_outdated(&mut self, reported: &Reported, known: u64) -> bool {
        if !reported.comes_again {
            return false;
        }
        let watch = self.slot(reported.request).and_then(|slot| slot.waits_for);
        watch.is_some_and(|(watch, _)| {
            self.watches.get(watch).is_some_and(|watch| watch.is_outdated(reported.events, known))
        })
    }

    fn stop_waiting(&mut self, id: RequestId) {
        let waited = self.slots[id.index as usize].waits_for.take();
        if let Some((watch, position)) = waited
            && let Some(moved) = self.watches.stop(watch, position)
        {
            self.slots[moved.index as usize].waits_for = Some((watch, position));
        }
    }

    /// Takes a request out to cancel it. `None` if it is not pending, or runs.
    pub(crate) fn take_to_cancel(&mut self, id: RequestId) -> Option<Box<Request>> {
        let waited_for_file = matches!(self.stage(id), Some(Stage::Armed(_)));
        let request = self.take(id)?;
        if let Some(stage) = self.stage(id) {
            *stage = Stage::Cancelled { waited_for_file };
        }
        Some(request)
    }

    /// Takes a request that a device carried out.
    pub(crate) fn take_transfer(&mut self, id: RequestId) -> Option<Box<Request>> {
        let slot = self.slot(id)?;
        match slot.stage.replace(Stage::running())? {
            Stage::Device(request) => {
                self.armed -= 1;
                Some(request)
            }
            stage => {
                slot.stage = Some(stage);
                None
            }
        }
    }

    /// The request in a slot, unless it runs.
    pub(crate) fn request(&mut self, id: RequestId) -> Option<&mut Request> {
        match self.stage(id)? {
            Stage::Armed(request) | Stage::Queued(request) | Stage::Device(request) => Some(request),
            Stage::Timer { request, .. } | Stage::Held { request, .. } | Stage::Asleep { request, .. } => {
                Some(request)
            }
            Stage::Running { .. } | Stage::Cancelled { .. } => None,
        }
    }

    /// The work of the worker that runs a request which was cancelled meanwhile.
    pub(crate) fn cancelled_work(&mut self, id: RequestId) -> Option<&Work> {
        match self.stage(id)? {
            Stage::Running { cancelled: true, work, .. } => work.as_ref(),
            _ => None,
        }
    }

    /// Whether a running request was cancelled meanwhile.
    pub(crate) fn is_cancelled(&mut self, id: RequestId) -> bool {
        matches!(self.stage(id), Some(Stage::Running { cancelled: true, .. }))
    }

    /// The pending requests with this `user_data`, the longest pending first.
    pub(crate) fn with_user_data(&self, user_data: u64) -> Vec<RequestId> {
        let mut found: Vec<u32> = self.by_user_data.find(user_data).collect();
        found.sort_by_key(|index| self.slots[*index as usize].order);
        found.into_iter().map(|index| self.id_of(index)).collect()
    }

    /// All pending requests, the longest pending first.
    pub(crate) fn all(&self) -> Vec<RequestId> {
        let mut found: Vec<u32> = (0..self.slots.len() as u32)
            .filter(|index| self.slots[*index as usize].stage.is_some())
            .collect();
        found.sort_by_key(|index| self.slots[*index as usize].order);
        found.into_iter().map(|index| self.id_of(index)).collect()
    }

    /// Takes every request out that nobody runs, to be left behind.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Box<Request>> {
        let pending = self.slots.iter_mut().filter_map(|slot| slot.stage.take());
        pending.filter_map(|stage| match stage {
            Stage::Armed(request) | Stage::Queued(request) | Stage::Device(request) => Some(request),
            Stage::Timer { request, .. } | Stage::Held { request, .. } | Stage::Asleep { request, .. } => {
                Some(request)
            }
            Stage::Running { .. } | Stage::Cancelled { .. } => None,
        })
    }

    fn id_of(&self, index: u32) -> RequestId {
        RequestId { index, generation: self.slots[index as usize].generation }
    }

    /// What a pending request can be recognised by: `user_data`, opcode, file.
    pub(crate) fn describe(&self, id: RequestId) -> (u64, u8, (i32, bool)) {
        let slot = &self.slots[id.index as usize];
        (self.by_user_data.user_data(id.index), slot.opcode, slot.file)
    }
}
