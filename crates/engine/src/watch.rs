//! Watches: which files of the program a ring waits for.
//!
//! A request that waits for a file does so by a watch: a duplicate of the descriptor, registered with the ring's epoll
//! instance. All requests of the ring that wait for one file share one. It is edge-triggered and stays registered when a request is done,
//! so that the next one on the same descriptor makes no system call to wait. The watch of a registered file goes with the file.
//!
//! A multishot receive takes whatever is reported, and has not looked again when it waits for the next report. Its watch is
//! level-triggered: the kernel looks again by itself, whenever it is asked for reports. It is edge-triggered again when an attempt
//! found nothing after all, so that a state which no attempt ends (an error queue that nobody reads) is reported once.
//!
//! Nothing may be lost between an attempt that found the file not ready and the wait. A report takes a number when
//! it is taken from the kernel; a request that is put to wait knows what the latest number was before its attempt. If its watch has
//! reported since, to whomever, the registration is renewed, by which the kernel looks at the file once more. The same is done where
//! edges alone are not [trusted](trusts_edges).
//!
//! A report that nobody waits for narrows the registration to what is waited for, so that it is the last of its kind.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::Arc;

use ringer_abi::poll::{POLLERR, POLLHUP, POLLIN, POLLRDHUP, POLLRDNORM};
use ringer_ops::Until;
use ringer_sys::call;
use ringer_sys::ready::Trigger;

use crate::inflight::RequestId;
use crate::parking::Closes;
use crate::release::Duplicate;

/// Reported whether asked for or not.
const ALWAYS: u32 = POLLERR | POLLHUP;
/// What says that there is something to read.
const INPUT: u32 = POLLIN | POLLRDNORM | POLLRDHUP | ALWAYS;

/// Tells the tokens of watches from those of requests, whose index is smaller.
const IS_WATCH: u32 = 1 << 31;

/// Names a watch. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WatchId {
    index: u32,
    /// How often the place was given out before.
    generation: u32,
}

impl WatchId {
    pub(crate) const fn to_token(self) -> u64 {
        (self.generation as u64) << 32 | (self.index | IS_WATCH) as u64
    }

    /// `None`: the token is not of a watch.
    pub(crate) const fn from_token(token: u64) -> Option<Self> {
        let index = token as u32;
        if index & IS_WATCH == 0 {
            return None;
        }
        Some(Self { index: index & !IS_WATCH, generation: (token >> 32) as u32 })
    }
}

/// A place in the line of those that wait for one file: the least is served first.
///
/// As in a wait queue of Linux, whoever comes goes to the front, but for ACCEPTs, which go to the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct PlaceInLine(i64);

impl PlaceInLine {
    /// The place of who comes as this one, counted from the first.
    pub(crate) const fn new(number: i64, is_at_end: bool) -> Self {
        Self(if is_at_end { number } else { -number })
    }
}

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) request: RequestId,
    /// What it waits for.
    pub(crate) events: u32,
    pub(crate) place: PlaceInLine,
}

/// What a request hears of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported {
    pub(crate) request: RequestId,
    pub(crate) events: u32,
    place: PlaceInLine,
    /// It will be reported again as long as it is so.
    pub(crate) comes_again: bool,
}

impl Reported {
    /// By a registration of the request's own.
    pub(crate) fn alone(request: RequestId, events: u32) -> Self {
        Self { request, events, place: PlaceInLine::default(), comes_again: false }
    }
}

/// One file that requests wait for.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) file: Arc<Duplicate>,
    /// The program's descriptor, and how often that had been closed before it was duplicated. `None`: a registered file, with
    /// which the watch goes.
    number: Option<(RawFd, Closes)>,
    trusts_edges: bool,
    /// What the registration asks for. `None`: there is none.
    interest: Option<Interest>,
    /// The number of its latest report.
    latest_report: u64,
    /// The latest report of the ring when a request last waited for its file to be [refilled](Until::Refilled).
    latest_refill: u64,
    waiting: Vec<Waiting>,
    /// Requests that have it, waiting or not.
    users: u32,
    /// A request was done with it since the latest sweep.
    is_used: bool,
    /// It stays when no request has it.
    is_kept: bool,
    /// It has reported that nothing more will come. Sockets of datagrams stay ready then, and have nothing: no edge will tell of that again.
    is_ended: bool,
    /// A worker makes an attempt for one of its requests, and the others wait for what that leaves.
    is_held: bool,
}

impl Watch {
    pub(crate) fn new(file: Arc<Duplicate>, number: Option<(RawFd, Closes)>) -> Self {
        Self {
            trusts_edges: trusts_edges(&file),
            file,
            number,
            interest: None,
            latest_report: 0,
            latest_refill: 0,
            waiting: Vec::new(),
            users: 1,
            is_used: true,
            is_kept: false,
            is_ended: false,
            is_held: false,
        }
    }

    /// What must be asked of the kernel before a request waits for `events`. `None`: nothing.
    ///
    /// `seen` is the latest report before the request's attempt.
    pub(crate) fn change_for(&self, events: u32, until: Until, seen: u64) -> Option<Change> {
        let trigger = if until == Until::Refilled { Trigger::Level } else { Trigger::Edge };
        let Some(interest) = self.interest else { return Some(Change::Add(Interest { events, trigger })) };
        let is_reported = self.trusts_edges && interest.trigger == trigger && events & !interest.events == 0;
        let is_good = is_reported
            && match until {
                Until::Refilled => true,
                // Others have looked, and found the file not ready.
                Until::ReadyAgain => !self.is_ended && events & !INPUT == 0 && self.latest_report <= seen,
                Until::Ready | Until::Change => false,
            };
        (!is_good).then_some(Change::Renew(Interest { events: interest.events | events, trigger }))
    }

    /// The program's descriptor. `None`: a registered file.
    pub(crate) fn number(&self) -> Option<RawFd> {
        self.number.map(|(number, _)| number)
    }

    /// A request waits for the file to be [refilled](Until::Refilled), which it has read empty. `number` is a new one of a report: what is taken
    /// from the kernel by who does not know it may be from before.
    pub(crate) fn note_refill(&mut self, number: u64) {
        self.latest_refill = number;
    }

    fn is_level_triggered(&self) -> bool {
        self.interest.is_some_and(|interest| interest.trigger == Trigger::Level)
    }

    /// Whether `events` were reported, but no attempt should be made for them. Two threads can take the same report of a level-triggered
    /// registration, and one of them has had the file read empty. `known` was the latest report when this one was asked for.
    pub(crate) fn is_outdated(&self, events: u32, known: u64) -> bool {
        self.latest_refill > known
            && self.is_level_triggered()
            && call::poll_now(self.file.raw(), events as u16) == Ok(0)
    }

    /// The registration asks for this now.
    pub(crate) fn set_interest(&mut self, interest: Interest) {
        self.interest = Some(interest);
    }

    /// One of its requests goes to a worker: ACCEPTs of the others would be caught in the call there if that takes all there is.
    pub(crate) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Whether a worker makes an attempt for one of its requests.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// The worker is done. Returns the registration to be renewed, for who waits.
    pub(crate) fn let_go(&mut self) -> Option<Interest> {
        self.is_held = false;
        self.interest.filter(|_| !self.waiting.is_empty())
    }

    /// A registration that asks for no more than what is waited for, if it asks for more.
    fn narrowed(&self) -> Option<Interest> {
        let events = self.waiting.iter().fold(0, |all, waiting| all | waiting.events);
        let wanted = Interest { events, trigger: Trigger::Edge };
        self.interest.filter(|interest| *interest != wanted).map(|_| wanted)
    }
}

/// What a registration asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interest {
    events: u32,
    pub(crate) trigger: Trigger,
}

impl Interest {
    /// What is asked of the kernel: with what is to be read, whether that was the last.
    pub(crate) const fn asked_for(self) -> u32 {
        if self.events & POLLIN == 0 { self.events } else { self.events | POLLRDHUP }
    }
}

/// A change of a registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Add(Interest),
    Renew(Interest),
}

/// What became of a watch that a request has left.
#[derive(Debug)]
pub(crate) enum Left {
    /// Other requests have it, too, or its registered file.
    InUse,
    /// It is kept for the next request on its descriptor.
    Idle,
    /// Nobody has it: it is to be ended.
    Over(Watch),
}

/// Whether "nothing to read" and "readable again" of this file always have an edge between them. They have where the file's own
/// wait queue tells of each arrival. A driver or a file system may tell only who has asked since.
fn trusts_edges(file: &Duplicate) -> bool {
    call::is_pipe_or_socket(file.raw()) || call::is_anonymous(file.raw())
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    watch: Option<Watch>,
}

/// The watches of one ring.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    places: Vec<Place>,
    free: Vec<u32>,
    /// Those that the next request on the same descriptor may find.
    by_number: HashMap<RawFd, WatchId>,
    /// Requests that joined a line so far.
    in_line: i64,
}

impl Watches {
    pub(crate) fn get(&mut self, id: WatchId) -> Option<&mut Watch> {
        let place = self.places.get_mut(id.index as usize)?;
        if place.generation == id.generation { place.watch.as_mut() } else { None }
    }

    /// The watch of a descriptor that was closed so often. Whether it is still of that file must be asked.
    pub(crate) fn find(&mut self, number: RawFd, closes: Closes) -> Option<(WatchId, Arc<Duplicate>)> {
        let id = *self.by_number.get(&number)?;
        let watch = self.get(id).filter(|watch| watch.number == Some((number, closes)))?;
        Some((id, Arc::clone(&watch.file)))
    }

    /// One more request has the watch. False if there is no such watch any more.
    pub(crate) fn join(&mut self, id: WatchId) -> bool {
        let watch = self.get(id);
        watch.map(|watch| watch.users += 1).is_some()
    }

    /// Puts a new watch in, which a request has. Returns the one of the same descriptor that it replaces, if no request has that.
    pub(crate) fn insert(&mut self, watch: Watch) -> (WatchId, Option<Watch>) {
        let number = watch.number();
        let replaced = number.and_then(|number| self.unlink(number));
        let id = self.put(watch);
        if let Some(number) = number {
            self.by_number.insert(number, id);
        }
        (id, replaced)
    }

    fn put(&mut self, watch: Watch) -> WatchId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.watch = Some(watch);
        WatchId { index, generation: place.generation }
    }

    /// A request is done with its watch. Returns what becomes of the watch.
    pub(crate) fn leave(&mut self, id: WatchId) -> Left {
        let Some(watch) = self.get(id) else { return Left::InUse };
        watch.users -= 1;
        watch.is_used = true;
        if watch.users > 0 {
            return Left::InUse;
        }
        let is_kept = watch.is_kept;
        let Some((number, _)) = watch.number else { return Left::InUse };
        let is_found = self.by_number.get(&number) == Some(&id);
        if is_found && is_kept {
            return Left::Idle;
        }
        if is_found {
            self.by_number.remove(&number);
        }
        self.remove(id).map_or(Left::InUse, Left::Over)
    }

    /// The watch stays for the next request on its descriptor, until it is [unlinked](Self::unlink) or [swept](Self::sweep).
    pub(crate) fn keep(&mut self, id: WatchId) {
        if let Some(watch) = self.get(id) {
            watch.is_kept = true;
        }
    }

    /// The next request on the descriptor does not find its watch. Returns the watch if no request has it.
    pub(crate) fn unlink(&mut self, number: RawFd) -> Option<Watch> {
        let id = self.by_number.remove(&number)?;
        let is_free = self.get(id).is_some_and(|watch| watch.users == 0);
        if is_free { self.remove(id) } else { None }
    }

    /// [`unlink`](Self::unlink) for all descriptors that are meant.
    pub(crate) fn unlink_all(&mut self, is_meant: impl Fn(RawFd) -> bool) -> Vec<Watch> {
        let numbers: Vec<RawFd> = self.by_number.keys().copied().filter(|number| is_meant(*number)).collect();
        numbers.into_iter().filter_map(|number| self.unlink(number)).collect()
    }

    /// Takes out what no request was done with since the last sweep, and none has. Tells, too, whether there are others that no
    /// request has.
    pub(crate) fn sweep(&mut self) -> (Vec<Watch>, bool) {
        let mut unused = Vec::new();
        let mut has_idle = false;
        for watch in self.places.iter_mut().filter_map(|place| place.watch.as_mut()) {
            let is_used = std::mem::take(&mut watch.is_used);
            match (watch.number, watch.users, is_used) {
                (Some((number, _)), 0, false) => unused.push(number),
                (Some(_), 0, true) => has_idle = true,
                _ => {}
            }
        }
        (unused.into_iter().filter_map(|number| self.unlink(number)).collect(), has_idle)
    }

    /// Takes a watch out.
    pub(crate) fn remove(&mut self, id: WatchId) -> Option<Watch> {
        let place = self.places.get_mut(id.index as usize)?;
        if place.generation != id.generation || place.watch.is_none() {
            return None;
        }
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.index);
        place.watch.take()
    }

    /// The number of the next request that joins a line.
    pub(crate) fn next_in_line(&mut self) -> i64 {
        self.in_line += 1;
        self.in_line
    }

    /// A request waits now. Returns its position, to be told when it stops.
    pub(crate) fn wait(&mut self, id: WatchId, waiting: Waiting) -> u32 {
        let Some(watch) = self.get(id) else { return 0 };
        watch.waiting.push(waiting);
        (watch.waiting.len() - 1) as u32
    }

    /// The request at this position waits no more. Returns the one that has the position now.
    pub(crate) fn stop(&mut self, id: WatchId, position: u32) -> Option<RequestId> {
        let watch = self.get(id)?;
        watch.waiting.swap_remove(position as usize);
        watch.waiting.get(position as usize).map(|moved| moved.request)
    }

    /// A watch has reported, as report `number` of the ring: adds the requests that wait for that to `requests`, in their order. Returns a
    /// narrower registration to be made if there are none.
    pub(crate) fn report(
        &mut self,
        id: WatchId,
        events: u32,
        number: u64,
        requests: &mut Vec<Reported>,
    ) -> Option<(Arc<Duplicate>, Interest)> {
        let watch = self.get(id)?;
        watch.latest_report = number;
        watch.is_ended |= events & POLLRDHUP != 0;
        let before = requests.len();
        let interested = watch.waiting.iter().filter(|waiting| (waiting.events | ALWAYS) & events != 0);
        let comes_again = watch.is_level_triggered();
        requests.extend(interested.map(|waiting| {
            let Waiting { request, place, .. } = *waiting;
            Reported { request, events, place, comes_again }
        }));
        if requests.len() > before {
            requests[before..].sort_unstable_by_key(|reported| reported.place);
            return None;
        }
        let interest = watch.narrowed()?;
        watch.set_interest(interest);
        Some((Arc::clone(&watch.file), interest))
    }

    /// In a child after fork: the registrations are the parent's, only the duplicates are given up.
    pub(crate) fn abandon(&mut self) {
        let watches = std::mem::take(self).places.into_iter().filter_map(|place| place.watch);
        watches.for_each(|watch| Duplicate::abandon(watch.file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringer_abi::poll::POLLOUT;

    const FIRST: RequestId = RequestId { index: 3, generation: 0 };
    const SECOND: RequestId = RequestId { index: 4, generation: 7 };
    const THIRD: RequestId = RequestId { index: 5, generation: 0 };
    const FOURTH: RequestId = RequestId { index: 6, generation: 1 };

    const fn edge(events: u32) -> Interest {
        Interest { events, trigger: Trigger::Edge }
    }

    const fn level(events: u32) -> Interest {
        Interest { events, trigger: Trigger::Level }
    }

    /// Watches with one of a pipe, whose other end is returned as well.
    fn watching() -> (Watches, WatchId, std::io::PipeWriter) {
        let (read, write) = std::io::pipe().expect("a pipe");
        let duplicate = Duplicate::from(std::os::fd::OwnedFd::from(read));
        let mut watches = Watches::default();
        let (id, _) = watches.insert(Watch::new(Arc::new(duplicate), Some((5, Closes::default()))));
        (watches, id, write)
    }

    #[test]
    fn tokens_tell_watches_from_requests() {
        let id = WatchId { index: 9, generation: u32::MAX };
        assert_eq!(WatchId::from_token(id.to_token()), Some(id));
        assert_eq!(WatchId::from_token(SECOND.to_token()), None);
    }

    #[test]
    fn the_second_wait_asks_nothing_of_the_kernel() {
        let (mut watches, id, _write) = watching();
        let watch = watches.get(id).expect("it is there");
        assert_eq!(watch.change_for(POLLIN, Until::ReadyAgain, 0), Some(Change::Add(edge(POLLIN))));
        watch.set_interest(edge(POLLIN));
        assert_eq!(watch.change_for(POLLIN, Until::ReadyAgain, 0), None);
    }

    #[test]
    fn what_is_read_empty_over_and_over_is_looked_at_by_the_kernel() {
        let (mut watches, id, _write) = watching();
        let watch = watches.get(id).expect("it is there");
        watch.set_interest(edge(POLLIN));
        let to_level = Some(Change::Renew(level(POLLIN)));
        assert_eq!(watch.change_for(POLLIN, Until::Refilled, 0), to_level);
        watch.set_interest(level(POLLIN));
        assert!(watches.report(id, POLLIN, 7, &mut Vec::new()).is_some_and(|(_, now)| now == edge(0)));
        let watch = watches.get(id).expect("it is there");
        watch.set_interest(level(POLLIN));
        assert_eq!(watch.change_for(POLLIN, Until::Refilled, 0), None, "whatever was reported since");
        let to_edge = Some(Change::Renew(edge(POLLIN)));
        assert_eq!(watch.change_for(POLLIN, Until::ReadyAgain, 7), to_edge, "there was nothing");
    }

    #[test]
    fn a_report_that_another_thread_took_as_well_is_looked_at() {
        let (mut watches, id, mut write) = watching();
        let watch = watches.get(id).expect("it is there");
        watch.set_interest(level(POLLIN));
        watch.note_refill(8);
        assert!(watch.is_outdated(POLLIN, 7), "asked for before the pipe was read empty");
        assert!(!watch.is_outdated(POLLIN, 8));
        std::io::Write::write_all(&mut write, b"x").expect("there is room");
        assert!(!watch.is_outdated(POLLIN, 7), "there is more");
    }

    #[test]
    fn the_kernel_looks_again_when_something_may_have_been_missed() {
        let (mut watches, id, _write) = watching();
        watches.get(id).expect("it is there").set_interest(edge(POLLIN | POLLOUT));
        assert_eq!(
            watches.report(id, POLLIN, 7, &mut Vec::new()).map(|(_, interest)| interest),
            Some(edge(0))
        );
        let watch = watches.get(id).expect("it is there");
        watch.set_interest(edge(POLLIN | POLLOUT));
        let renewed = Some(Change::Renew(edge(POLLIN | POLLOUT)));
        let again = Until::ReadyAgain;
        assert_eq!(watch.change_for(POLLIN, again, 6), renewed, "a report since the attempt");
        assert_eq!(watch.change_for(POLLIN, again, 7), None);
        assert_eq!(watch.change_for(POLLIN, Until::Ready, 7), renewed, "nobody has looked");
        assert_eq!(watch.change_for(POLLOUT, again, 7), renewed, "for output edges are not trusted");
    }

    #[test]
    fn a_report_finds_who_waits_for_it() {
        let (mut watches, id, _write) = watching();
        watches.get(id).expect("it is there").set_interest(edge(POLLIN));
        let mut wait = |request, number, is_at_end| {
            watches.wait(id, Waiting { request, events: POLLIN, place: PlaceInLine::new(number, is_at_end) })
        };
        assert_eq!(wait(FIRST, 1, true), 0);
        assert_eq!(wait(SECOND, 2, false), 1);
        assert_eq!(wait(THIRD, 3, false), 2);
        assert_eq!(wait(FOURTH, 4, true), 3);
        let mut requests = Vec::new();
        assert!(watches.report(id, POLLIN, 1, &mut requests).is_none());
        let order: Vec<RequestId> = requests.iter().map(|reported| reported.request).collect();
        assert_eq!(order, [THIRD, SECOND, FIRST, FOURTH]);
        assert_eq!(watches.stop(id, 0), Some(FOURTH));
        assert_eq!(watches.stop(id, 2), None);
    }

    #[test]
    fn a_watch_goes_with_its_last_request_once_it_cannot_be_found() {
        let (mut watches, id, _write) = watching();
        watches.keep(id);
        assert!(watches.join(id));
        assert!(watches.unlink(5).is_none(), "two requests have it");
        assert!(matches!(watches.leave(id), Left::InUse));
        assert!(matches!(watches.leave(id), Left::Over(_)));
        assert!(watches.get(id).is_none() && !watches.join(id));
    }

    #[test]
    fn a_watch_that_is_not_kept_goes_with_its_last_request() {
        let (mut watches, id, _write) = watching();
        assert!(watches.find(5, Closes::default()).is_some());
        assert!(matches!(watches.leave(id), Left::Over(_)));
        assert!(watches.find(5, Closes::default()).is_none());
    }

    #[test]
    fn what_is_not_used_between_two_sweeps_goes() {
        let (mut watches, id, _write) = watching();
        watches.keep(id);
        for _ in 0..2 {
            let (gone, has_idle) = watches.sweep();
            assert!(gone.is_empty() && !has_idle, "a request has it");
        }
        assert!(matches!(watches.leave(id), Left::Idle));
        let (gone, has_idle) = watches.sweep();
        assert!(gone.is_empty() && has_idle);
        let (gone, has_idle) = watches.sweep();
        assert!(gone.len() == 1 && !has_idle);
        assert!(watches.find(5, Closes::default()).is_none());
    }
}
