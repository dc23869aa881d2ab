//! What workers are to do, in the order in which it came, and one job at a time of those that write to the same file.
//!
//! A regular file has a lock that a buffered write holds to its end. Workers that write to one file at a time would wait for each other there,
//! each with a thread, and in no order. So such jobs take turns, the oldest first, as they do in Linux. Those that the program wants to be done by
//! workers (`IOSQE_ASYNC`) do not, there neither: what waits for the device behind that lock (`O_DSYNC`) is faster side by side.

use std::collections::{HashMap, VecDeque};

use ringer_sys::cached_file::FileIdentity;

#[derive(Debug)]
pub(crate) struct WorkQueue<J> {
    ready: VecDeque<(J, Option<FileIdentity>)>,
    /// What waits behind the job that has the turn at its file: one that is ready, or runs.
    behind: HashMap<FileIdentity, VecDeque<J>>,
}

impl<J> Default for WorkQueue<J> {
    fn default() -> Self {
        Self { ready: VecDeque::new(), behind: HashMap::new() }
    }
}

impl<J> WorkQueue<J> {
    /// Adds a job, and the file at which it takes turns with others. It is ready at once unless another one has the turn.
    pub(crate) fn push(&mut self, job: J, file: Option<FileIdentity>) {
        match file.map(|file| (file, self.behind.get_mut(&file))) {
            Some((_, Some(behind))) => return behind.push_back(job),
            Some((file, None)) => drop(self.behind.insert(file, VecDeque::new())),
            None => {}
        }
        self.ready.push_back((job, file));
    }

    /// How many jobs are ready.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Takes a job to run it. One that has the turn at a file keeps it until [`end_turn`](Self::end_turn).
    pub(crate) fn pop(&mut self) -> Option<(J, Option<FileIdentity>)> {
        self.ready.pop_front()
    }

    /// The job that had the turn at this file is done with it. Returns whether another one is ready for it.
    pub(crate) fn end_turn(&mut self, file: FileIdentity) -> bool {
        let next = self.behind.get_mut(&file).and_then(VecDeque::pop_front);
        match next {
            Some(job) => {
                self.ready.push_back((job, Some(file)));
                true
            }
            None => {
                self.behind.remove(&file);
                false
            }
        }
    }

    /// Takes out a job that nobody runs yet.
    pub(crate) fn remove(&mut self, is_it: impl Fn(&J) -> bool) {
        if let Some(at) = self.ready.iter().position(|(job, _)| is_it(job)) {
            if let Some((_, Some(file))) = self.ready.remove(at) {
                self.end_turn(file);
            }
            return;
        }
        for behind in self.behind.values_mut() {
            behind.retain(|job| !is_it(job));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: u64) -> Option<FileIdentity> {
        Some(FileIdentity { device: 1, inode: number })
    }

    #[test]
    fn jobs_of_one_file_are_ready_one_at_a_time_in_order() {
        let mut queue = WorkQueue::default();
        for job in 0..4 {
            queue.push(job, file(7));
        }
        queue.push(4, file(8));
        queue.push(5, None);
        assert_eq!(queue.ready(), 3);
        assert_eq!(queue.pop(), Some((0, file(7))));
        assert_eq!(queue.pop(), Some((4, file(8))));
        assert_eq!(queue.pop(), Some((5, None)));
        assert_eq!(queue.pop(), None);
        for job in 1..4 {
            assert!(queue.end_turn(file(7).unwrap()));
            assert_eq!(queue.pop(), Some((job, file(7))));
        }
        assert!(!queue.end_turn(file(7).unwrap()));
        assert!(!queue.end_turn(file(8).unwrap()));
        queue.push(6, file(7));
        assert_eq!(queue.pop(), Some((6, file(7))), "nobody has the turn any more");
    }

    #[test]
    fn a_job_that_is_taken_out_passes_its_turn_on() {
        let mut queue = WorkQueue::default();
        for job in 0..3 {
            queue.push(job, file(7));
        }
        queue.remove(|job| *job == 1);
        queue.remove(|job| *job == 0);
        assert_eq!(queue.pop(), Some((2, file(7))));
        queue.remove(|job| *job == 2);
        queue.push(3, file(7));
        assert_eq!(queue.ready(), 0, "one that runs is not taken out");
    }
}
