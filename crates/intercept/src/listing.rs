//! A function, instruction by instruction.

use std::ops::Range;

use iced_x86::{
    Code, Decoder, DecoderOptions, EncodingKind, FlowControl, Instruction, Mnemonic, OpKind, Register,
};
use ringer_engine::Refusal;
use ringer_sys::UserAddress;

/// Longer functions are not looked at: decoding one is the work of a millisecond.
const LONGEST: usize = 1 << 18;

/// No instruction has more bytes.
pub const LONGEST_INSTRUCTION: usize = 15;

/// The instructions of a function in order, without gaps.
#[derive(Debug)]
pub struct Listing {
    pub instructions: Vec<Instruction>,
}

impl Listing {
    /// Decodes a range of code, which must consist of whole valid instructions.
    pub fn of(range: &Range<usize>) -> Result<Self, Refusal> {
        if range.len() > LONGEST {
            return Err(Refusal::Function);
        }
        let bytes = UserAddress::new(range.start as u64)
            .read_vec::<u8>(range.len())
            .map_err(|_| Refusal::Function)?;
        let decoder = Decoder::with_ip(64, &bytes, range.start as u64, DecoderOptions::NONE);
        let instructions: Vec<Instruction> = decoder.into_iter().collect();
        let is_whole = instructions.iter().all(|instruction| !instruction.is_invalid());
        if is_whole { Ok(Self { instructions }) } else { Err(Refusal::Function) }
    }

    /// The instruction that starts at an address.
    pub fn index_of(&self, address: usize) -> Option<usize> {
        self.instructions.binary_search_by_key(&(address as u64), Instruction::ip).ok()
    }

    /// Whether an instruction refers to an address inside a range: jumps, calls, addresses relative to the instruction.
    pub fn refers_into(&self, range: &Range<usize>) -> bool {
        let is_inside = |address: u64| range.contains(&(address as usize));
        self.instructions.iter().any(|instruction| {
            let is_branch = matches!(
                instruction.op0_kind(),
                OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
            );
            is_branch && is_inside(instruction.near_branch_target())
                || instruction.is_ip_rel_memory_operand() && is_inside(instruction.ip_rel_memory_address())
        })
    }

    /// Whether it jumps to addresses that it computes: a table of them may lead anywhere in it.
    pub fn jumps_to_computed(&self) -> bool {
        self.instructions.iter().any(|instruction| instruction.flow_control() == FlowControl::IndirectBranch)
    }

    /// Whether something may stand in such registers while it waits for another function or the kernel. If
    /// it calls neither, nothing of it is there at a call site. A jump out of it is its end.
    pub fn keeps(&self, registers: Registers) -> bool {
        self.instructions.iter().any(|instruction| registers.are_used_by(instruction))
            && (0..self.instructions.len()).any(|index| self.calls_with(registers, index))
    }

    /// Whether the instruction is a call with which something may stand there. Compilers clear the upper halves right before a call.
    fn calls_with(&self, registers: Registers, index: usize) -> bool {
        let instruction = &self.instructions[index];
        let is_call = matches!(
            instruction.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall | FlowControl::Interrupt
        );
        let clears = |before: &Instruction| before.mnemonic() == Mnemonic::Vzeroupper;
        let is_cleared = || {
            let at = instruction.ip() as usize;
            registers == Registers::UpperHalves
                && index.checked_sub(1).is_some_and(|before| clears(&self.instructions[before]))
                && !self.jumps_to_computed()
                && !self.refers_into(&(at..at + 1))
        };
        is_call && !is_cleared()
    }

    /// Whether nothing is executed after the last instruction.
    pub fn ends(&self) -> bool {
        self.instructions
            .last()
            .is_some_and(|last| ends_path(last) || last.flow_control() == FlowControl::Call)
    }
}

/// Vector registers that most programs have nothing in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registers {
    /// Those that only AVX-512 has.
    Avx512,
    /// The upper halves of those that AVX has.
    UpperHalves,
}

impl Registers {
    /// Whether an instruction has to do with one.
    fn are_used_by(self, instruction: &Instruction) -> bool {
        let any = |is_one: fn(Register) -> bool| {
            (0..instruction.op_count()).any(|operand| is_one(instruction.op_register(operand)))
        };
        match self {
            Self::Avx512 => instruction.encoding() == EncodingKind::EVEX || any(Register::is_k),
            Self::UpperHalves => any(Register::is_ymm) || instruction.memory_index().is_ymm(),
        }
    }

    /// Where in the code there may be instructions for them: what is there looks like one. This is much quicker than to decode all.
    pub fn places(self, code: &[u8]) -> impl Iterator<Item = usize> {
        const EVEX: u8 = 0x62;
        const VEX_OF_TWO: u8 = 0xc5;
        const VEX_OF_THREE: u8 = 0xc4;
        /// Says in the last byte before the opcode that a VEX instruction is about whole registers, or about masks of 32 and 64 bits.
        const LONG: u8 = 4;
        let is_sought = move |last: u8, opcode: u8| match self {
            Self::Avx512 => matches!(opcode, 0x30..=0x33 | 0x41..=0x4b | 0x90..=0x93 | 0x98..=0x99),
            Self::UpperHalves => last & LONG != 0,
        };
        let may_be_one = move |&index: &usize| match code[index..] {
            // EVEX: bits of the second and the third byte are always the same.
            [EVEX, second, third, ..] => self == Self::Avx512 && second & 8 == 0 && third & 4 != 0,
            // VEX, of two and of three bytes before the opcode.
            [VEX_OF_TWO, last, opcode, ..] | [VEX_OF_THREE, _, last, opcode, ..] => is_sought(last, opcode),
            _ => false,
        };
        let is_one = move |&index: &usize| {
            let first = Decoder::new(64, &code[index..], DecoderOptions::NONE).decode();
            !first.is_invalid() && self.are_used_by(&first)
        };
        memchr::memchr3_iter(EVEX, VEX_OF_TWO, VEX_OF_THREE, code).filter(may_be_one).filter(is_one)
    }
}

/// Whether what stands behind the instruction is not executed after it.
pub fn ends_path(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::UnconditionalBranch | FlowControl::IndirectBranch | FlowControl::Return
    ) || instruction.mnemonic() == Mnemonic::Ud2
        || instruction.mnemonic() == Mnemonic::Hlt
}

/// Whether it is there to fill room.
pub fn is_padding(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Nop || instruction.code() == Code::Int3
}
