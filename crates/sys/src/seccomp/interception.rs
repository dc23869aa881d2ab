//! The filter of the preload library: which calls of the program become traps.
//!
//! * the three io_uring calls, always;
//! * calls that do something to a descriptor in the ring half of the reserved range: mapping it,
//!   closing it, duplicating it, putting it into an epoll instance;
//! * closing or replacing a descriptor in the engine half fails with `EBADF` at once, as if it were not open;
//! * replacing the SIGSYS handler has no effect. (The C library's `posix_spawn` does it in the child, and then
//!   makes calls that trap. The handler of a program that goes through libc is kept by the preload library.)
//!
//! **The engine is told apart by a mark**, [`MARK`] in an argument register that the call does not use. An
//! address range would not do: filters stay across `exec`, addresses do not, and a filter that cannot recognise the engine
//! of the next program would take the calls out of its hands.
//!
//! Every other number is decided by the number alone, which the kernel remembers: those calls never run the filter.

use std::os::fd::RawFd;

use linux_raw_sys::general as nr;

use super::{Instruction, Verdict};
use crate::descriptor::ReservedRange;

/// What the engine's own calls carry in their sixth argument, or, in `mmap`, in the upper half of the descriptor.
pub const MARK: u64 = 0x5269_6e67_6572_21a5;

/// What `si_errno` holds in the SIGSYS of a call that this filter trapped.
pub const TRAP_NUMBER: u16 = 0x5247;

/// The number of the signal that a trap sends.
const SIGSYS: u32 = 31;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;

/// Where things stand in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE_WORD: u32 = 4;

/// The lower half of an argument; little-endian, as every architecture we serve.
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

const fn upper_half(offset: u32) -> u32 {
    offset + 4
}

const MARK_LOWER: u32 = MARK as u32;
const MARK_UPPER: u32 = (MARK >> 32) as u32;

type Code = Vec<Instruction>;

/// The filter for a process with this reserved range.
pub fn filter(range: &ReservedRange) -> Code {
    const TRAP: Verdict = Verdict::Trap(TRAP_NUMBER);
    const NOT_OPEN: Verdict = Verdict::Fail(9);
    const NO_EFFECT: Verdict = Verdict::Fail(0);
    let rings = |index| in_range(argument(index), &range.rings, unless_marked(TRAP));
    let engine = |index| in_range(argument(index), &range.engine, unless_marked(NOT_OPEN));

    let mut code = vec![
        Instruction::load(ARCHITECTURE_WORD),
        Instruction::jump_if_equal(ARCHITECTURE, 1, 0),
        Instruction::answer(Verdict::Allow),
        Instruction::load(NUMBER),
        // setup, enter, register: three numbers in a row.
        Instruction::jump_if_at_least(nr::__NR_io_uring_setup, 0, 2),
        Instruction::jump_if_at_least(nr::__NR_io_uring_register + 1, 1, 0),
        Instruction::answer(TRAP),
    ];
    let duplicates = if_equal(argument(1), F_DUPFD, unless_marked(TRAP))
        .into_iter()
        .chain(if_equal(argument(1), F_DUPFD_CLOEXEC, unless_marked(TRAP)))
        .collect();
    let new_handler = if_equal(argument(0), SIGSYS, if_not_null(1, unless_marked(NO_EFFECT)));
    for (number, mut body) in [
        (nr::__NR_close, [rings(0), engine(0)].concat()),
        (nr::__NR_mmap, in_range(argument(4), &range.rings, unless_mapped_by_engine(TRAP))),
        (nr::__NR_epoll_ctl, rings(2)),
        (nr::__NR_fcntl, in_range(argument(0), &range.rings, duplicates)),
        (nr::__NR_dup, rings(0)),
        #[cfg(target_arch = "x86_64")]
        (nr::__NR_dup2, [engine(1), rings(0), rings(1)].concat()),
        (nr::__NR_dup3, [engine(1), rings(0), rings(1)].concat()),
        (nr::__NR_rt_sigaction, new_handler),
    ] {
        body.push(Instruction::answer(Verdict::Allow));
        code.push(Instruction::jump_if_equal(number, 0, length(&body)));
        code.extend(body);
    }
    code.push(Instruction::answer(Verdict::Allow));
    code
}

const F_DUPFD: u32 = 0;
const F_DUPFD_CLOEXEC: u32 = 1030;

/// Jumps are at most 255 instructions long; the blocks here have at most some forty.
fn length(code: &Code) -> u8 {
    u8::try_from(code.len()).expect("a block of the filter is far below 255 instructions")
}

/// Runs `then` when the word at `offset` is in the range; `then` ends in an answer. Else goes on behind it.
fn in_range(offset: u32, range: &std::ops::Range<RawFd>, then: Code) -> Code {
    let skip = length(&then);
    let mut code = vec![
        Instruction::load(offset),
        Instruction::jump_if_at_least(range.start as u32, 0, skip + 1),
        Instruction::jump_if_at_least(range.end as u32, skip, 0),
    ];
    code.extend(then);
    code
}

fn if_equal(offset: u32, value: u32, then: Code) -> Code {
    let mut code = vec![Instruction::load(offset), Instruction::jump_if_equal(value, 0, length(&then))];
    code.extend(then);
    code
}

fn if_not_null(index: u32, then: Code) -> Code {
    let mut code = vec![
        Instruction::load(argument(index)),
        Instruction::jump_if_equal(0, 0, 2),
        Instruction::load(upper_half(argument(index))),
        Instruction::jump_if_equal(0, length(&then), 0),
    ];
    code.extend(then);
    code
}

/// Lets marked calls pass and answers the others.
fn unless_marked(verdict: Verdict) -> Code {
    vec![
        Instruction::load(argument(5)),
        Instruction::jump_if_equal(MARK_LOWER, 0, 3),
        Instruction::load(upper_half(argument(5))),
        Instruction::jump_if_equal(MARK_UPPER, 0, 1),
        Instruction::answer(Verdict::Allow),
        Instruction::answer(verdict),
    ]
}

/// The same for `mmap`, which uses all six arguments but only the lower half of the descriptor.
fn unless_mapped_by_engine(verdict: Verdict) -> Code {
    vec![
        Instruction::load(upper_half(argument(4))),
        Instruction::jump_if_equal(MARK_LOWER, 0, 1),
        Instruction::answer(Verdict::Allow),
        Instruction::answer(verdict),
    ]
}

/// The descriptor argument of an `mmap` by the engine.
pub const fn marked_descriptor(fd: RawFd) -> usize {
    (MARK << 32) as usize | fd as u32 as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct seccomp_data` as words.
    fn data(number: u32, arguments: [u64; 6]) -> Vec<u32> {
        let mut words = vec![number, ARCHITECTURE, 0, 0];
        words.extend(arguments.iter().flat_map(|value| [*value as u32, (*value >> 32) as u32]));
        words
    }

    /// What the kernel does with the filter, and whether it looked at anything but number and architecture.
    fn run(code: &Code, data: &[u32]) -> (u32, bool) {
        let (mut accumulator, mut at, mut looked) = (0, 0, false);
        loop {
            let step = code[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { step.if_true } else { step.if_false });
            match step.code {
                Instruction::LOAD => {
                    looked |= step.operand > ARCHITECTURE_WORD;
                    accumulator = data[step.operand as usize / 4];
                }
                Instruction::JUMP_IF_EQUAL => at += jump(accumulator == step.operand),
                Instruction::JUMP_IF_AT_LEAST => at += jump(accumulator >= step.operand),
                Instruction::RETURN => return (step.operand, looked),
                other => panic!("an instruction that is not used: {other:#x}"),
            }
        }
    }

    fn verdict(number: u32, arguments: [u64; 6]) -> u32 {
        let range = ReservedRange { rings: 1000..1100, engine: 1100..1300 };
        run(&filter(&range), &data(number, arguments)).0
    }

    const ALLOW: u32 = Verdict::Allow.word();
    const TRAPPED: u32 = Verdict::Trap(TRAP_NUMBER).word();
    const BADF: u32 = Verdict::Fail(9).word();

    #[test]
    fn the_three_calls_trap_and_their_neighbours_do_not() {
        for number in 425..428 {
            assert_eq!(verdict(number, [0; 6]), TRAPPED);
            assert_eq!(verdict(number, [0, 0, 0, 0, 0, MARK]), TRAPPED);
        }
        assert_eq!((verdict(424, [0; 6]), verdict(428, [0; 6])), (ALLOW, ALLOW));
    }

    #[test]
    fn other_calls_are_decided_by_their_number_alone() {
        let code = filter(&ReservedRange { rings: 1000..1100, engine: 1100..1300 });
        let looked_at: Vec<u32> = (0..600).filter(|number| run(&code, &data(*number, [1050; 6])).1).collect();
        assert_eq!(looked_at, [3, 9, 13, 32, 33, 72, 233, 292]);
    }

    #[test]
    fn closing_depends_on_the_half_and_the_mark() {
        let close = |fd: u64, mark| verdict(nr::__NR_close, [fd, 1, 2, 3, 4, mark]);
        assert_eq!(
            [999, 1000, 1099, 1100, 1299, 1300].map(|fd| close(fd, 0)),
            [ALLOW, TRAPPED, TRAPPED, BADF, BADF, ALLOW]
        );
        assert_eq!([1000, 1100].map(|fd| close(fd, MARK)), [ALLOW, ALLOW]);
        assert_eq!([1000, 1100].map(|fd| close(fd, MARK & 0xffff_ffff)), [TRAPPED, BADF]);
        assert_eq!(close(1000 | 7 << 32, 0), TRAPPED, "the kernel looks at the lower half only");
        assert_eq!(close(u64::from(u32::MAX), 0), ALLOW);
    }

    #[test]
    fn mapping_looks_at_the_fifth_argument() {
        let map = |fd: u64| verdict(nr::__NR_mmap, [1050, 1050, 1050, 1050, fd, 1050]);
        assert_eq!([999, 1000, 1100, u64::MAX].map(map), [ALLOW, TRAPPED, ALLOW, ALLOW]);
        assert_eq!(map(marked_descriptor(1050) as u64), ALLOW);
    }

    #[test]
    fn duplicates_trap_on_either_side() {
        let dup3 = |old: u64, new: u64, mark| verdict(nr::__NR_dup3, [old, new, 0, 0, 0, mark]);
        assert_eq!(dup3(5, 6, 0), ALLOW);
        assert_eq!(dup3(1050, 6, 0), TRAPPED);
        assert_eq!(dup3(5, 1050, 0), TRAPPED);
        assert_eq!(dup3(5, 1150, 0), BADF);
        assert_eq!(dup3(5, 1150, MARK), ALLOW);
        assert_eq!(verdict(nr::__NR_dup, [1050, 0, 0, 0, 0, 0]), TRAPPED);
        let fcntl = |command| verdict(nr::__NR_fcntl, [1050, command, 0, 0, 0, 0]);
        assert_eq!([0, 1, 3, 1030].map(fcntl), [TRAPPED, ALLOW, ALLOW, TRAPPED]);
        let epoll = |fd| verdict(nr::__NR_epoll_ctl, [1050, 1, fd, 0, 0, 0]);
        assert_eq!((epoll(5), epoll(1050)), (ALLOW, TRAPPED));
    }

    #[test]
    fn only_the_engine_changes_the_trap_handler() {
        let set = |signal, action, mark| verdict(nr::__NR_rt_sigaction, [signal, action, 0, 8, 0, mark]);
        assert_eq!(set(31, 0, 0), ALLOW, "a question");
        assert_eq!(set(31, 0x1000, 0), Verdict::Fail(0).word());
        assert_eq!(set(31, 1 << 32, 0), Verdict::Fail(0).word());
        assert_eq!(set(31, 0x1000, MARK), ALLOW);
        assert_eq!(set(11, 0x1000, 0), ALLOW);
    }
}
