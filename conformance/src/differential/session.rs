//! What a case works with: a backend, memory, rings, and the record it fills.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use ringer_abi::{Cqe, Params, SetupFlags, Sqe};
use ringer_sys::alternatives::replace_by_libc;
use ringer_sys::{Errno, UserAddress};

use super::backend::Backend;
use super::errno::outcome_name;
use super::memory::{Arena, Memory};
use super::record::{Record, bytes_text, cqe_text, cqes_text};
use super::ring::{LIMIT, Ring};

/// One run of one case on one backend.
pub struct Session {
    backend: &'static dyn Backend,
    arena: Arena,
    record: RefCell<Record>,
    kept: RefCell<Vec<OwnedFd>>,
    directory: PathBuf,
    names: Cell<u32>,
}

impl Session {
    /// A session on `backend`, with files in `directory`, which is empty.
    pub fn new(backend: &'static dyn Backend, directory: PathBuf) -> Self {
        Self {
            backend,
            arena: Arena::new(),
            record: RefCell::default(),
            kept: RefCell::default(),
            directory,
            names: Cell::new(0),
        }
    }

    /// The backend under test.
    pub fn backend(&self) -> &'static dyn Backend {
        self.backend
    }

    /// Takes the record out at the end.
    pub fn into_record(self) -> Record {
        self.record.into_inner()
    }

    /// Starts over within a case: a new arena, nothing kept. For cases that repeat a whole scene.
    pub fn fresh(&mut self) {
        self.kept.borrow_mut().clear();
        self.arena = Arena::new();
    }

    // Observations.

    /// Records a value.
    pub fn record(&self, label: impl Display, value: impl Display) {
        self.record.borrow_mut().add(label, value);
    }

    /// The case cannot be played here: it is counted as skipped.
    pub fn skip(&self, why: &str) {
        self.record.borrow_mut().skip(why);
    }

    /// Records the outcome of a call.
    pub fn outcome<T: Into<i64>>(&self, label: impl Display, outcome: Result<T, Errno>) {
        self.record(label, outcome_name(outcome));
    }

    /// Records bytes.
    pub fn bytes(&self, label: impl Display, bytes: &[u8]) {
        self.record(label, bytes_text(bytes));
    }

    /// Records completions sorted by `user_data`; several with the same one keep their order.
    pub fn cqes(&self, label: impl Display, cqes: &[Cqe]) {
        let mut sorted = cqes.to_vec();
        sorted.sort_by_key(|cqe| cqe.user_data);
        self.record(label, cqes_text(&sorted));
    }

    /// Records completions in the order they came, where links or drain fix it.
    pub fn cqes_in_order(&self, label: impl Display, cqes: &[Cqe]) {
        self.record(label, cqes_text(cqes));
    }

    /// Closes the descriptors that completions brought. 0 takes the place of their numbers, which are the process's own affair.
    pub fn close_brought(&self, cqes: &mut [Cqe], brings: impl Fn(&Cqe) -> bool) {
        for cqe in cqes.iter_mut().filter(|cqe| cqe.res > 0 && brings(cqe)) {
            let number = std::mem::take(&mut cqe.res);
            // One that is not open shows up as a difference in what else the case sees.
            let _ = ringer_sys::call::close(number);
        }
    }

    // Rings.

    /// A ring without flags.
    pub fn ring(&self, entries: u32) -> Ring {
        self.ring_with(entries, SetupFlags::empty())
    }

    /// A ring with these flags.
    pub fn ring_with(&self, entries: u32, flags: SetupFlags) -> Ring {
        let params = Params { flags: flags.bits(), ..Params::default() };
        match self.try_ring(entries, params) {
            Ok(ring) => ring,
            Err(errno) => panic!("setup: {}", outcome_name::<i32>(Err(errno))),
        }
    }

    /// A ring with these params.
    ///
    /// # Errors
    /// Those of setup.
    pub fn try_ring(&self, entries: u32, params: Params) -> Result<Ring, Errno> {
        Ring::new(self.backend, &self.arena, entries, params)
    }

    /// Submits one SQE and waits for its completion.
    pub fn one(&self, ring: &Ring, sqe: Sqe) -> Option<Cqe> {
        ring.push(sqe);
        let _ = ring.submit();
        ring.wait_for(sqe.user_data(), LIMIT)
    }

    /// Submits one SQE, waits for its completion and records both.
    pub fn one_recorded(&self, label: impl Display, ring: &Ring, sqe: Sqe) -> Option<Cqe> {
        ring.push(sqe);
        let submitted = outcome_name(ring.submit());
        let cqe = ring.wait_for(sqe.user_data(), LIMIT);
        let seen = cqe.map_or("no completion".to_owned(), |cqe| cqe_text(&cqe));
        self.record(label, format!("submit {submitted}, cqe {seen}"));
        cqe
    }

    /// Submits these SQEs in one call, collects as many completions as there are SQEs, and records
    /// the call and them, sorted by `user_data`.
    pub fn batch(&self, label: impl Display, ring: &Ring, sqes: &[Sqe]) -> Vec<Cqe> {
        self.batch_of(label, ring, sqes, sqes.len())
    }

    /// The same with another number of completions.
    pub fn batch_of(&self, label: impl Display, ring: &Ring, sqes: &[Sqe], completions: usize) -> Vec<Cqe> {
        let cqes = self.submit_and_collect(&label, ring, sqes, completions);
        self.cqes(label, &cqes);
        cqes
    }

    /// The same, recorded in the order of arrival.
    pub fn batch_in_order(
        &self,
        label: impl Display,
        ring: &Ring,
        sqes: &[Sqe],
        completions: usize,
    ) -> Vec<Cqe> {
        let cqes = self.submit_and_collect(&label, ring, sqes, completions);
        self.cqes_in_order(label, &cqes);
        cqes
    }

    fn submit_and_collect(
        &self,
        label: &impl Display,
        ring: &Ring,
        sqes: &[Sqe],
        completions: usize,
    ) -> Vec<Cqe> {
        ring.push_all(sqes);
        self.outcome(format!("{label}: submit"), ring.submit());
        ring.collect(completions)
    }

    /// Records that nothing more completes: waits a moment and looks.
    pub fn quiet(&self, label: impl Display, ring: &Ring) {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let more = ring.collect_until(std::time::Duration::from_millis(1), |_| false);
        self.cqes(label, &more);
    }

    // Memory.

    /// Zeroed memory.
    pub fn memory(&self, bytes: usize) -> Memory {
        self.arena.allocate(bytes)
    }

    /// Memory with this content.
    pub fn memory_of(&self, bytes: &[u8]) -> Memory {
        let memory = self.arena.allocate(bytes.len());
        memory.fill(bytes);
        memory
    }

    /// An array of words.
    pub fn words(&self, words: &[u64]) -> Memory {
        let memory = self.arena.allocate(words.len() * 8);
        for (index, word) in words.iter().enumerate() {
            memory.put(index * 8, *word);
        }
        memory
    }

    /// An array of half words.
    pub fn ints(&self, ints: &[i32]) -> Memory {
        let memory = self.arena.allocate(ints.len() * 4);
        for (index, int) in ints.iter().enumerate() {
            memory.put(index * 4, *int);
        }
        memory
    }

    /// An array of iovecs.
    pub fn vectors(&self, parts: &[(u64, u64)]) -> Memory {
        let words: Vec<u64> = parts.iter().flat_map(|(base, len)| [*base, *len]).collect();
        self.words(&words)
    }

    /// A NUL-terminated string.
    pub fn path(&self, path: impl AsRef<std::path::Path>) -> Memory {
        let mut bytes = path.as_ref().as_os_str().as_encoded_bytes().to_vec();
        bytes.push(0);
        self.memory_of(&bytes)
    }

    /// A `__kernel_timespec`.
    pub fn timespec(&self, seconds: i64, nanoseconds: i64) -> Memory {
        self.words(&[seconds as u64, nanoseconds as u64])
    }

    /// An address that nothing may touch.
    pub fn bad_address(&self) -> u64 {
        self.arena.unreadable()
    }

    /// Memory that ends where nothing may be touched.
    pub fn edge(&self, bytes: usize) -> Memory {
        self.arena.edge(bytes)
    }

    // Descriptors and files.

    /// Keeps a descriptor open until the case ends, and returns its number.
    pub fn keep(&self, fd: impl Into<OwnedFd>) -> RawFd {
        let fd = fd.into();
        let number = fd.as_raw_fd();
        self.kept.borrow_mut().push(fd);
        number
    }

    /// Closes a descriptor that is kept. The number is free from then on.
    pub fn close_kept(&self, number: RawFd) {
        self.kept.borrow_mut().retain(|fd| fd.as_raw_fd() != number);
    }

    /// Puts another file where this descriptor is, which is kept.
    pub fn replace_kept(&self, number: RawFd, with: impl AsFd) {
        let mut kept = self.kept.borrow_mut();
        let there =
            kept.iter_mut().find(|fd| fd.as_raw_fd() == number).expect("a descriptor kept by this case");
        // As most programs do it: what inline system calls close, Ringer hears of later.
        replace_by_libc(with, there).expect("both are open");
    }

    /// Looks at a kept descriptor through rustix.
    pub fn with_kept<T>(&self, number: RawFd, look: impl FnOnce(rustix::fd::BorrowedFd<'_>) -> T) -> T {
        let kept = self.kept.borrow();
        let fd = kept.iter().find(|fd| fd.as_raw_fd() == number).expect("a descriptor kept by this case");
        look(fd.as_fd())
    }

    /// Forgets a descriptor that the backend was asked to close, so that it is not closed twice.
    pub fn forget(&self, number: RawFd) {
        let mut kept = self.kept.borrow_mut();
        if let Some(position) = kept.iter().position(|fd| fd.as_raw_fd() == number) {
            use std::os::fd::IntoRawFd;
            let _ = kept.swap_remove(position).into_raw_fd();
        }
    }

    /// The case's own directory.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// A path in the case's directory that does not exist yet.
    pub fn new_path(&self) -> PathBuf {
        self.names.set(self.names.get() + 1);
        self.directory.join(format!("f{}", self.names.get()))
    }

    /// `io_uring_register` on any descriptor.
    ///
    /// # Errors
    /// Those of the call.
    pub fn register(&self, fd: RawFd, opcode: u32, argument: u64, count: u32) -> Result<i32, Errno> {
        self.backend.register(fd, opcode, UserAddress::new(argument), count)
    }
}
