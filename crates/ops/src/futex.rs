//! FUTEX_WAIT, FUTEX_WAKE and FUTEX_WAITV: words of memory to wait for.

use ringer_abi::Sqe;
use ringer_sys::futex::{self, ANY, FutexWord, MOST_WORDS, SIZE_32};
use ringer_sys::{Errno, UserAddress};

use crate::check::unused;
use crate::operation::{Completion, Issue, Op, Outcome, Prepare, Traits};

/// `FUTEX2_NUMA`: a second word behind the first one names a node.
const NUMA: u32 = 4;
/// `FUTEX2_MPOL`.
const MEMORY_POLICY: u32 = 8;
const SIZE_MASK: u32 = 3;

/// Checks the flags of a word. Only words of 32 bits can be waited for.
fn check_flags(flags: u32) -> Result<(), Errno> {
    let known = SIZE_MASK | NUMA | MEMORY_POLICY | futex::PRIVATE;
    if flags & !known == 0 && flags & SIZE_MASK == SIZE_32 { Ok(()) } else { Err(Errno::INVAL) }
}

/// Whether a word can be read and has another value than the wait asks for.
fn has_changed(word: &FutexWord) -> Result<bool, Errno> {
    if !word.address.get().is_multiple_of(4) {
        return Err(Errno::INVAL);
    }
    Ok(u64::from(word.address.read::<u32>()?) != word.value)
}

/// What FUTEX_WAIT and FUTEX_WAKE have in common.
#[derive(Debug)]
struct Fields {
    address: UserAddress,
    value: u32,
    mask: u32,
    flags: u32,
}

impl Fields {
    fn of(sqe: &Sqe) -> Result<Self, Errno> {
        unused([sqe.len().into(), sqe.op_flags().into(), sqe.buf_index().into(), sqe.file_index().into()])?;
        let flags = sqe.fd() as u32;
        check_flags(flags)?;
        // Both are as wide as the word.
        let value = u32::try_from(sqe.off()).map_err(|_| Errno::INVAL)?;
        let mask = u32::try_from(sqe.addr3()).map_err(|_| Errno::INVAL)?;
        Ok(Self { address: UserAddress::new(sqe.addr()), value, mask, flags })
    }
}

/// `IORING_OP_FUTEX_WAIT`. Source: `io_uring_prep_futex_wait.3`.
#[derive(Debug)]
pub struct FutexWait {
    /// The word.
    pub word: FutexWord,
    /// A wake must have a bit in common with it.
    pub mask: u32,
}

impl Op for FutexWait {
    const TRAITS: Traits = Traits::NONE;

    fn refuse(&mut self, errno: Errno) -> Outcome {
        refused(errno)
    }

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let fields = Fields::of(sqe)?;
        let word = FutexWord::new(fields.address, fields.value.into(), fields.flags);
        Ok(Self { word, mask: fields.mask })
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        if self.mask == 0 {
            return Outcome::failed(Errno::INVAL);
        }
        // Whether the address is good is seen by the thread that waits.
        match has_changed(&self.word) {
            Ok(true) if self.word.flags & NUMA == 0 => Outcome::failed(Errno::AGAIN),
            _ => Outcome::Engine,
        }
    }
}

/// `IORING_OP_FUTEX_WAKE`. Source: `io_uring_prep_futex_wake.3`.
#[derive(Debug)]
pub struct FutexWake(Fields);

impl Op for FutexWake {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        Fields::of(sqe).map(Self)
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        let Fields { address, value, mask, flags } = self.0;
        Outcome::from_result(futex::wake(address, mask, value as i32, flags))
    }
}

/// `IORING_OP_FUTEX_WAITV`. Source: `io_uring_prep_futex_waitv.3`.
#[derive(Debug)]
pub struct FutexWaitv {
    /// The words. The place of the one that was woken is the result.
    pub words: Box<[FutexWord]>,
}

impl Op for FutexWaitv {
    const TRAITS: Traits = Traits::NONE;

    fn refuse(&mut self, errno: Errno) -> Outcome {
        refused(errno)
    }

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.fd() as u64, sqe.buf_index().into(), sqe.file_index().into(), sqe.off()])?;
        unused([sqe.op_flags().into(), sqe.addr3()])?;
        let count = sqe.len() as usize;
        if count == 0 || count > MOST_WORDS {
            return Err(Errno::INVAL);
        }
        let first = UserAddress::new(sqe.addr());
        let words = (0..count as u64).map(|index| read_word(first.add(24 * index)));
        Ok(Self { words: words.collect::<Result<_, Errno>>()? })
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        let changed: Result<Vec<bool>, Errno> = self.words.iter().map(has_changed).collect();
        let has_nodes = self.words.iter().any(|word| word.flags & NUMA != 0);
        match changed {
            Ok(changed) if changed.contains(&true) && !has_nodes => Outcome::failed(Errno::AGAIN),
            _ => Outcome::Engine,
        }
    }
}

/// In Linux, a wait that is cancelled is no failure: its chain goes on, and `CQE_SKIP_SUCCESS` hides it.
fn refused(errno: Errno) -> Outcome {
    Outcome::Done(Completion { fails_link: errno != Errno::CANCELED, ..Completion::error(errno) })
}

/// Reads a `struct futex_waitv`: value, address, flags and padding.
fn read_word(entry: UserAddress) -> Result<FutexWord, Errno> {
    let [value, address, flags] = entry.read::<[u64; 3]>()?;
    // What is behind the flags is reserved.
    let flags = u32::try_from(flags).map_err(|_| Errno::INVAL)?;
    check_flags(flags)?;
    if value > u64::from(ANY) {
        return Err(Errno::INVAL);
    }
    Ok(FutexWord::new(UserAddress::new(address), value, flags))
}
