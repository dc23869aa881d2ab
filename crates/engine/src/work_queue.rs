//! What workers are to do, in the order in which it came; of jobs that write to the same part of a file, one at a time.
//!
//! A regular file has a lock that a buffered write holds to its end. Workers that write to one file at a time would wait for each other there,
//! each with a thread, and in no order. So such jobs take turns, the oldest first, as they do in Linux. Not those that wait for the device behind that
//! lock (`O_DSYNC`), which is faster side by side: they take turns only where their parts of the file overlap. And not those that the program wants to be
//! done by workers (`IOSQE_ASYNC`), in Linux neither.
//!
//! Of bounded and of unbounded work no more runs at a time than the program allows (`IORING_REGISTER_IOWQ_MAX_WORKERS`): one kind does not wait
//! for the other.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use ringer_sys::file_identity::FileIdentity;

/// The two kinds of work that a program sets limits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// It ends by itself: a transfer from or to a regular file or a block device, and what else is done with one.
    Bounded,
    /// It may wait for others.
    Unbounded,
}

/// A job that is of one of the kinds.
pub(crate) trait Work {
    fn kind(&self) -> Kind;
}

/// How many jobs of each [`Kind`] may run at a time.
pub(crate) type Limits = [usize; 2];

/// Where a job writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FilePart {
    pub(crate) file: FileIdentity,
    /// The bytes of it. `None`: they may be any.
    pub(crate) part: Option<Range<u64>>,
}

/// A turn that a job has at its place until [`WorkQueue::end_turn`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileTurn {
    file: FileIdentity,
    number: u64,
}

#[derive(Debug)]
pub(crate) struct WorkQueue<J> {
    /// The jobs of each kind that are ready.
    ready: [VecDeque<Ready<J>>; 2],
    /// How many of each kind run.
    running: [usize; 2],
    /// The jobs of each file that are not done, the oldest first.
    files: HashMap<FileIdentity, VecDeque<Entry<J>>>,
    /// The number of the next job.
    next: u64,
}

#[derive(Debug)]
struct Ready<J> {
    /// Since when it is ready.
    order: u64,
    job: J,
    turn: Option<FileTurn>,
}

#[derive(Debug)]
struct Entry<J> {
    number: u64,
    part: Option<Range<u64>>,
    /// `None`: it has the turn. It is ready, or runs.
    waiting: Option<J>,
}

impl<J> Entry<J> {
    fn is_behind(&self, older: &Self) -> bool {
        match (&self.part, &older.part) {
            (Some(part), Some(older)) => part.start < older.end && older.start < part.end,
            _ => true,
        }
    }
}

impl<J> Default for WorkQueue<J> {
    fn default() -> Self {
        Self { ready: Default::default(), running: [0; 2], files: HashMap::new(), next: 0 }
    }
}

impl<J: Work> WorkQueue<J> {
    /// Adds a job, and where it takes turns with others. It is ready at once unless an older one is to write there.
    pub(crate) fn push(&mut self, job: J, place: Option<FilePart>) {
        let Some(FilePart { file, part }) = place else { return self.make_ready(job, None) };
        let number = self.number();
        let others = self.files.entry(file).or_default();
        let mut entry = Entry { number, part, waiting: None };
        if others.iter().any(|older| entry.is_behind(older)) {
            entry.waiting = Some(job);
            others.push_back(entry);
        } else {
            others.push_back(entry);
            self.make_ready(job, Some(FileTurn { file, number }));
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn make_ready(&mut self, job: J, turn: Option<FileTurn>) {
        let order = self.number();
        self.ready[job.kind() as usize].push_back(Ready { order, job, turn });
    }

    /// How many jobs could run now, besides those that do.
    pub(crate) fn ready(&self, limits: Limits) -> usize {
        (0..2).map(|kind| self.ready[kind].len().min(limits[kind].saturating_sub(self.running[kind]))).sum()
    }

    /// Takes the job that has been ready for longest, to run it until [`end`](Self::end). One that has a turn keeps it until
    /// [`end_turn`](Self::end_turn).
    pub(crate) fn pop(&mut self, limits: Limits) -> Option<(J, Option<FileTurn>)> {
        let may_run = |kind: &usize| self.running[*kind] < limits[*kind];
        let kind =
            (0..2).filter(may_run).filter_map(|kind| Some((self.ready[kind].front()?.order, kind))).min()?.1;
        let Ready { job, turn, .. } = self.ready[kind].pop_front()?;
        self.running[kind] += 1;
        Some((job, turn))
    }

    /// A job of this kind runs no longer.
    pub(crate) fn end(&mut self, kind: Kind) {
        self.running[kind as usize] -= 1;
    }

    /// The job that had this turn is done with its file. Returns how many others have become ready by it.
    pub(crate) fn end_turn(&mut self, FileTurn { file, number }: FileTurn) -> usize {
        let Some(entries) = self.files.get_mut(&file) else { return 0 };
        let Some(at) = entries.iter().position(|entry| entry.number == number) else { return 0 };
        let Some(done) = entries.remove(at) else { return 0 };
        let mut ready = Vec::new();
        for index in at..entries.len() {
            let entry = &entries[index];
            let is_free = entry.waiting.is_some()
                && entry.is_behind(&done)
                && !entries.iter().take(index).any(|older| entry.is_behind(older));
            let number = entry.number;
            if is_free && let Some(job) = entries[index].waiting.take() {
                ready.push((job, FileTurn { file, number }));
            }
            if entries[index].part.is_none() {
                // Everything else is behind it.
                break;
            }
        }
        if entries.is_empty() {
            self.files.remove(&file);
        }
        let count = ready.len();
        ready.into_iter().for_each(|(job, turn)| self.make_ready(job, Some(turn)));
        count
    }

    /// Takes out a job that nobody runs yet. Returns how many others have become ready by it. `None`: there is none.
    pub(crate) fn remove(&mut self, is_it: impl Fn(&J) -> bool) -> Option<usize> {
        for kind in 0..2 {
            if let Some(at) = self.ready[kind].iter().position(|ready| is_it(&ready.job)) {
                let turn = self.ready[kind].remove(at)?.turn;
                return Some(turn.map_or(0, |turn| self.end_turn(turn)));
            }
        }
        let waits = self.files.iter().find_map(|(&file, entries)| {
            let entry = entries.iter().find(|entry| entry.waiting.as_ref().is_some_and(&is_it))?;
            Some(FileTurn { file, number: entry.number })
        });
        // What is behind it alone is ready now.
        waits.map(|turn| self.end_turn(turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: Limits = [usize::MAX; 2];

    impl Work for u32 {
        fn kind(&self) -> Kind {
            if *self < 100 { Kind::Bounded } else { Kind::Unbounded }
        }
    }

    fn identity(number: u64) -> FileIdentity {
        FileIdentity { device: 1, inode: number }
    }

    fn file(number: u64) -> Option<FilePart> {
        Some(FilePart { file: identity(number), part: None })
    }

    fn part(part: Range<u64>) -> Option<FilePart> {
        Some(FilePart { file: identity(7), part: Some(part) })
    }

    /// Takes the next job, which must be this one.
    fn take(queue: &mut WorkQueue<u32>, job: u32) -> FileTurn {
        let (next, turn) = queue.pop(MANY).expect("one is ready");
        assert_eq!(next, job);
        turn.expect("it has a turn")
    }

    #[test]
    fn jobs_of_one_file_are_ready_one_at_a_time_in_order() {
        let mut queue = WorkQueue::default();
        for job in 0..4 {
            queue.push(job, file(7));
        }
        queue.push(4, file(8));
        queue.push(5, None);
        assert_eq!(queue.ready(MANY), 3);
        let mut turn = take(&mut queue, 0);
        let other = take(&mut queue, 4);
        assert_eq!(queue.pop(MANY), Some((5, None)));
        assert_eq!(queue.pop(MANY), None);
        for job in 1..4 {
            assert_eq!(queue.end_turn(turn), 1);
            turn = take(&mut queue, job);
        }
        assert_eq!((queue.end_turn(turn), queue.end_turn(other)), (0, 0));
        queue.push(6, file(7));
        take(&mut queue, 6);
        assert_eq!(queue.pop(MANY), None);
    }

    #[test]
    fn parts_of_a_file_wait_for_those_that_they_overlap() {
        let mut queue = WorkQueue::default();
        for (job, part) in [0..4, 4..8, 2..6, 8..9, 5..9].into_iter().map(part).enumerate() {
            queue.push(job as u32, part);
        }
        assert_eq!(queue.ready(MANY), 3);
        let first = take(&mut queue, 0);
        let second = take(&mut queue, 1);
        let fourth = take(&mut queue, 3);
        assert_eq!(queue.end_turn(first), 0, "the third waits for the second, too");
        assert_eq!(queue.end_turn(fourth), 0, "the last waits for the second and the third");
        assert_eq!(queue.end_turn(second), 1);
        let third = take(&mut queue, 2);
        assert_eq!(queue.end_turn(third), 1);
        let last = take(&mut queue, 4);
        assert_eq!(queue.end_turn(last), 0);
        assert!(queue.files.is_empty());
    }

    #[test]
    fn a_job_that_may_write_anywhere_waits_for_all_and_keeps_all_waiting() {
        let mut queue = WorkQueue::default();
        for (job, place) in [part(0..4), part(4..8), file(7), part(8..9), part(9..10)].into_iter().enumerate()
        {
            queue.push(job as u32, place);
        }
        let turns = [0, 1].map(|job| take(&mut queue, job));
        assert_eq!(turns.map(|turn| queue.end_turn(turn)), [0, 1]);
        let all = take(&mut queue, 2);
        assert_eq!(queue.pop(MANY), None);
        assert_eq!(queue.end_turn(all), 2);
        let turns = [3, 4].map(|job| take(&mut queue, job));
        assert_eq!(turns.map(|turn| queue.end_turn(turn)), [0, 0]);
        assert!(queue.files.is_empty());
    }

    #[test]
    fn a_job_that_is_taken_out_passes_its_turn_on() {
        let mut queue = WorkQueue::default();
        for job in 0..3 {
            queue.push(job, file(7));
        }
        assert_eq!(queue.remove(|job| *job == 1), Some(0));
        assert_eq!(queue.remove(|job| *job == 0), Some(1));
        take(&mut queue, 2);
        assert_eq!(queue.remove(|job| *job == 2), None);
        queue.push(3, file(7));
        assert_eq!(queue.ready(MANY), 0, "one that runs is not taken out");
    }

    #[test]
    fn what_waited_for_a_job_that_is_taken_out_is_ready() {
        let mut queue = WorkQueue::default();
        for (job, part) in [0..4, 2..8, 6..9].into_iter().map(part).enumerate() {
            queue.push(job as u32, part);
        }
        take(&mut queue, 0);
        assert_eq!(queue.remove(|job| *job == 1), Some(1));
        take(&mut queue, 2);
    }

    #[test]
    fn each_kind_has_a_limit_of_its_own() {
        let limits = [1, 2];
        let mut queue = WorkQueue::default();
        for job in [1, 2, 101, 102, 103] {
            queue.push(job, None);
        }
        assert_eq!(queue.ready(limits), 3);
        for job in [1, 101, 102] {
            assert_eq!(queue.pop(limits), Some((job, None)));
        }
        assert_eq!((queue.ready(limits), queue.pop(limits)), (0, None));
        queue.end(Kind::Bounded);
        assert_eq!((queue.ready(limits), queue.pop(limits)), (1, Some((2, None))));
        queue.end(Kind::Unbounded);
        assert_eq!((queue.ready(limits), queue.pop(limits)), (1, Some((103, None))));
        assert_eq!(queue.ready(MANY), 0);
    }
}
