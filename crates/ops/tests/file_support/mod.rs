//! What the tests of file and pipe operations share: a directory of their own, registered files, attempts.
#![allow(dead_code, reason = "each test program uses its part")]

use std::cell::RefCell;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use ringer_abi::{Opcode, SetupFlags, Sqe};
use ringer_ops::{
    Attempt, Buffer, BufferGroup, Bundle, Completion, FileSlot, Issue, Operation, Outcome, Patience, Prepare,
    Resources,
};
use ringer_sys::{Errno, UserAddress};

/// `AT_FDCWD`.
pub const CWD: i32 = -100;

/// A directory that goes when the test ends.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringer-ops-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a fresh name");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The path as an SQE points to it.
    pub fn c_path(&self, name: &str) -> CString {
        c_path(&self.path(name))
    }

    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file in a fresh directory");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left would only be litter in the temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL in a path of ours")
}

pub fn address<T: ?Sized>(value: *const T) -> u64 {
    UserAddress::of(value).get()
}

/// Registered files and one registered buffer.
#[derive(Default)]
pub struct Registered {
    pub slots: RefCell<Vec<Option<OwnedFd>>>,
    pub buffer: Option<(u64, u64)>,
}

impl Registered {
    pub fn with_slots(count: usize) -> Self {
        Self { slots: RefCell::new((0..count).map(|_| None).collect()), buffer: None }
    }

    pub fn is_filled(&self) -> Vec<bool> {
        self.slots.borrow().iter().map(Option::is_some).collect()
    }
}

impl Resources for Registered {
    fn install_file(&self, file: OwnedFd, slot: FileSlot) -> Result<i32, Errno> {
        let mut slots = self.slots.borrow_mut();
        if slots.is_empty() {
            return Err(Errno::NXIO);
        }
        let (index, result) = match slot {
            FileSlot::Index(index) => (index as usize, 0),
            FileSlot::Allocate => {
                let index = slots.iter().position(Option::is_none).ok_or(Errno::NFILE)?;
                (index, index as i32)
            }
        };
        *slots.get_mut(index).ok_or(Errno::INVAL)? = Some(file);
        Ok(result)
    }

    fn registered_file(&self, index: u32) -> Result<RawFd, Errno> {
        let slots = self.slots.borrow();
        let file = slots.get(index as usize).and_then(Option::as_ref).ok_or(Errno::BADF)?;
        Ok(file.as_raw_fd())
    }

    fn remove_file(&self, index: u32) {
        self.slots.borrow_mut()[index as usize] = None;
    }

    fn check_registered_range(&self, index: u16, address: UserAddress, length: u64) -> Result<(), Errno> {
        let (start, size) = self.buffer.filter(|_| index == 0).ok_or(Errno::FAULT)?;
        let inside = address.get() >= start && address.get() + length <= start + size;
        if inside { Ok(()) } else { Err(Errno::FAULT) }
    }
}

pub fn sqe(opcode: Opcode) -> Sqe {
    Sqe::default().with_opcode(opcode.number())
}

pub fn prepare(sqe: &Sqe) -> Result<Operation, Errno> {
    Operation::prepare(sqe, &Prepare { setup: SetupFlags::empty(), limits_request: false })
}

/// One attempt on a file.
pub fn attempt(operation: &mut Operation, fd: RawFd, patience: Patience) -> Outcome {
    attempt_with(operation, fd, patience, &Registered::default(), None)
}

pub fn attempt_with(
    operation: &mut Operation,
    fd: RawFd,
    patience: Patience,
    resources: &Registered,
    buffer: Option<Buffer>,
) -> Outcome {
    let mut context = Issue::new(fd, patience, resources);
    let mut group = OneBuffer::new(buffer);
    if buffer.is_some() {
        context.provided = Some(&mut group);
    }
    operation.issue(&mut context)
}

/// A group of provided buffers that has one buffer, or none.
#[derive(Default)]
pub struct OneBuffer {
    pub buffer: Option<Buffer>,
    pub is_used: bool,
    bundle: [[u64; 2]; 1],
}

impl OneBuffer {
    pub fn new(buffer: Option<Buffer>) -> Self {
        Self { buffer, ..Self::default() }
    }
}

impl BufferGroup for OneBuffer {
    fn select(&mut self, limit: u64) -> Result<Buffer, Errno> {
        self.buffer.map(|buffer| buffer.cut(limit)).ok_or(Errno::NOBUFS)
    }

    fn select_bundle(&mut self, limit: u32, _most: usize) -> Result<Bundle<'_>, Errno> {
        let buffer = self.select(limit.into())?;
        self.bundle = [[buffer.address.get(), buffer.length.into()]];
        Ok(Bundle { segments: &self.bundle, is_cut: false, is_last: true })
    }

    fn take(&mut self, _bytes: u64) {
        self.is_used = true;
    }

    fn begin(&mut self, bytes: u64) {
        self.take(bytes);
    }

    fn is_ring(&self) -> bool {
        true
    }
}

/// Prepares and makes one brief attempt.
pub fn serve(sqe: &Sqe) -> Result<Outcome, Errno> {
    let mut operation = prepare(sqe)?;
    Ok(attempt(&mut operation, sqe.fd(), Patience::Brief))
}

/// The result of a finished request; an errno of preparation or of the call, negated.
pub fn result_of(outcome: Result<Outcome, Errno>) -> i32 {
    match outcome {
        Ok(Outcome::Done(completion)) => completion.result,
        Ok(other) => panic!("not finished: {other:?}"),
        Err(errno) => -errno.raw_os_error(),
    }
}

pub fn done(outcome: Outcome) -> Completion {
    match outcome {
        Outcome::Done(completion) => completion,
        other => panic!("not finished: {other:?}"),
    }
}

pub fn negated(errno: Errno) -> i32 {
    -errno.raw_os_error()
}

/// Runs an attempt that may wait on a thread of its own, with a limit.
pub fn on_a_worker<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::sync::mpsc::Receiver<T> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // The receiver is gone when the test has failed already.
        let _ = sender.send(work());
    });
    receiver
}

/// The limit on every wait.
pub const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// A descriptor that a request made; closed in the end.
pub struct Descriptor(pub RawFd);

impl Drop for Descriptor {
    fn drop(&mut self) {
        ringer_sys::call::close(self.0).expect("still open");
    }
}

/// Takes over the descriptor that is a request's result.
pub fn opened(result: i32) -> Descriptor {
    assert!(result >= 0, "{}", Errno::from_raw_os_error(-result));
    Descriptor(result)
}
