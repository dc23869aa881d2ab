//! Trampolines: the code that a patched site jumps to. They lie within reach of a near jump, and are never writable and
//! executable at once.
//!
//! ```text
//!     (instructions that the jump replaced)
//!     lea ecx, [rax - 426]        the number of io_uring_enter; rcx is the call's to change, the flags are not
//!     jrcxz enter
//!     syscall                     another call through the same site: exactly as it stood there
//!     jmp back
//! enter:
//!     lea rsp, [rsp - 128]        the red zone
//!     call [gate]
//!     lea rsp, [rsp + 128]
//!     jmp back
//! ```

use iced_x86::{BlockEncoder, BlockEncoderOptions, Instruction, InstructionBlock};
use linux_raw_sys::general::__NR_io_uring_enter;
use ringer_engine::Refusal;
use ringer_sys::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::code::{self, Edit};
use crate::gate::{self, Gates, Live};
use crate::memory_map::{MemoryMap, PAGE};

/// How far a block may be from a site: what 32 bits of distance reach, less what blocks and sites extend.
const REACH: usize = (1 << 31) - (1 << 20);

/// A page of trampolines. It starts with the addresses of the gates, in the order of [`Live`].
#[derive(Debug)]
struct Block {
    start: usize,
    used: usize,
}

/// The trampolines of this process.
#[derive(Debug)]
pub struct Trampolines {
    blocks: Vec<Block>,
}

impl Trampolines {
    pub const fn new() -> Self {
        Self { blocks: Vec::new() }
    }

    /// Makes the trampoline of the site whose next instruction is at `back`. `moved` are the instructions before the `syscall`
    /// that have to go along.
    pub fn make(&mut self, back: usize, moved: &[Instruction], live: Live) -> Result<usize, Refusal> {
        let near = |block: &Block| block.start.abs_diff(back) < REACH;
        let room = |block: &Block| near(block) && PAGE - block.used >= LONGEST;
        let index = match self.blocks.iter().position(room) {
            Some(index) => index,
            None => {
                self.blocks.push(new_block(back)?);
                self.blocks.len() - 1
            }
        };
        let block = &mut self.blocks[index];
        let at = block.start + block.used;
        let gate = block.start + live as usize * size_of::<usize>();
        let bytes = assemble(at, gate, back, moved)?;
        code::write(&[Edit { address: at, bytes: bytes.clone() }])?;
        block.used += bytes.len().next_multiple_of(16);
        Ok(at)
    }
}

/// More than the longest trampoline takes: the fixed part and a few moved instructions, each of which may grow.
const LONGEST: usize = 192;

fn new_block(site: usize) -> Result<Block, Refusal> {
    /// What was free may be taken meanwhile, by another thread or by our own heap.
    const ATTEMPTS: usize = 8;
    let gates = gate::addresses().ok_or(Refusal::Processor)?;
    for _ in 0..ATTEMPTS {
        let map = MemoryMap::read().ok_or(Refusal::System)?;
        let object = map.object_start(site).unwrap_or(site);
        let start = map.free_below(object, PAGE, REACH).ok_or(Refusal::AddressSpace)?;
        if map_block(start, gates)? {
            return Ok(Block { start, used: size_of::<Gates>() });
        }
    }
    Err(Refusal::AddressSpace)
}

/// Whether the address was free.
fn map_block(start: usize, gates: Gates) -> Result<bool, Refusal> {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: a new mapping where there is none. What an old kernel maps elsewhere is unmapped again.
    unsafe {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let page = match mmap_anonymous(start as *mut _, PAGE, access, flags) {
            Ok(page) => page,
            Err(Errno::EXIST) => return Ok(false),
            Err(_) => return Err(Refusal::System),
        };
        if page as usize != start {
            let _ = munmap(page, PAGE);
            return Ok(false);
        }
        // A break, where nothing should ever go.
        page.cast::<u8>().write_bytes(0xcc, PAGE);
        page.cast::<Gates>().write(gates);
        if mprotect(page, PAGE, MprotectFlags::READ | MprotectFlags::EXEC).is_err() {
            let _ = munmap(page, PAGE);
            return Err(Refusal::System);
        }
    }
    Ok(true)
}

/// The code of a trampoline at `at`.
fn assemble(at: usize, gate: usize, back: usize, moved: &[Instruction]) -> Result<Vec<u8>, Refusal> {
    let mut code = Vec::new();
    if !moved.is_empty() {
        let block = InstructionBlock::new(moved, at as u64);
        code = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE)
            .map_err(|_| Refusal::Neighbours)?
            .code_buffer;
    }
    let jump_back = |code: &mut Vec<u8>| -> Result<(), Refusal> {
        let jump = near_jump(at + code.len(), back).ok_or(Refusal::AddressSpace)?;
        code.extend(jump);
        Ok(())
    };
    code.extend([0x8d, 0x88]);
    code.extend((-(__NR_io_uring_enter as i32)).to_le_bytes());
    code.extend([0xe3, 0x07, 0x0f, 0x05]);
    jump_back(&mut code)?;
    code.extend([0x48, 0x8d, 0x64, 0x24, 0x80, 0xff, 0x15]);
    code.extend(distance(at + code.len() + 4, gate).ok_or(Refusal::AddressSpace)?.to_le_bytes());
    code.extend([0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0]);
    jump_back(&mut code)?;
    if code.len() > LONGEST { Err(Refusal::Neighbours) } else { Ok(code) }
}

/// The distance in a near jump whose next instruction is at `from`.
fn distance(from: usize, to: usize) -> Option<i32> {
    i32::try_from(to as i64 - from as i64).ok()
}

/// `jmp` with 32 bits of distance, at `at`.
pub fn near_jump(at: usize, to: usize) -> Option<[u8; NEAR_JUMP]> {
    let [a, b, c, d] = distance(at + NEAR_JUMP, to)?.to_le_bytes();
    Some([NEAR_JUMP_CODE, a, b, c, d])
}

/// Its first byte.
pub const NEAR_JUMP_CODE: u8 = 0xe9;

/// The length of a near jump.
pub const NEAR_JUMP: usize = 5;

/// `jmp` with 8 bits of distance, at `at`.
pub fn short_jump(at: usize, to: usize) -> Option<[u8; SHORT_JUMP]> {
    let distance = i8::try_from(to as i64 - (at + SHORT_JUMP) as i64).ok()?;
    Some([SHORT_JUMP_CODE, distance.cast_unsigned()])
}

/// Its first byte.
pub const SHORT_JUMP_CODE: u8 = 0xeb;

/// The length of a short jump, and of `syscall`.
pub const SHORT_JUMP: usize = 2;
