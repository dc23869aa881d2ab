//! The way from a patched call site into the engine.
//!
//! A `syscall` instruction leaves every register alone but rax, rcx and r11, and the flags as well. The code around a site
//! counts on it; the engine is a function like others and keeps only what the calling convention says. The gate saves the rest. For
//! the vector registers plain moves are used: measured, all 32 of AVX-512 take 17 ns there and back, the 16 of AVX 4 ns,
//! `xsavec` and `xrstor` 120 ns whatever is in use. MXCSR and the x87 state stay: the engine does not change them.
//!
//! Upper halves that are not in use stay so. A load of a whole register makes a processor count its upper half as in use,
//! zero or not, and from then on each SSE instruction of the program waits for what the register held before: measured, code of
//! SSE took 2.3 times as long after such a load on an Intel processor, up to 8 times on one of AMD (Zen 5). So where all upper halves are zero,
//! only the lower ones are loaded. To find out by `or` takes 1 ns; the processor tells what is in use (`xgetbv`), but takes 5 to 11 ns for it.

use std::arch::{is_x86_feature_detected, naked_asm};

use linux_raw_sys::general::__NR_io_uring_enter;

use crate::dispatch::serve;
use crate::guest;

/// Which registers the code around a site may have something in.
///
/// By the calling convention a function may change every vector register. So what is in one across a call site was put
/// there by the site's own object: compilers do keep values in registers that they see a function of theirs not to
/// change, but they do not see into other objects. And by a function that is in the middle of a call: what calls nothing is through. (A function that
/// got a vector from another object as an argument, has a call site of its own and hands the vector on unseen would be missed.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Live {
    /// Any.
    All,
    /// None of those that only AVX-512 has.
    NoneOfAvx512,
    /// Only lower halves, which SSE has, too.
    NoneOfAvx,
}

/// Addresses of gates, in the order of [`Live`].
pub type Gates = [usize; 3];

/// The gates for this processor and what the kernel saves of it. `None` where there are registers that none of them knows.
pub fn addresses() -> Option<Gates> {
    // Detection asks the processor for its features and, by XCR0, what the kernel keeps of them.
    let has_avx = is_x86_feature_detected!("avx");
    let gates = match (is_x86_feature_detected!("avx512f"), is_x86_feature_detected!("avx512bw")) {
        (true, true) => [with_avx512 as *const (), with_avx as *const (), with_lower_halves as *const ()],
        (true, false) => return None,
        (false, _) if has_avx => {
            [with_avx as *const (), with_avx as *const (), with_lower_halves as *const ()]
        }
        (false, _) => [with_sse as *const (); 3],
    };
    Some(gates.map(|gate| gate as usize))
}

/// What the gates call: `io_uring_enter` with the arguments of the program, and the kernel's kind of result.
unsafe extern "C" fn enter(a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    let arguments = [a, b, c, d, e, f];
    // SAFETY: the program's call.
    match guest::enter(|mask| unsafe { serve(__NR_io_uring_enter, &arguments, mask) }) {
        Ok(result) => result as isize,
        Err(error) => -(error.raw_os_error() as isize),
    }
}

/// A gate. It is called by a trampoline, below the red zone, with the registers as they were at the `syscall`; rax is the
/// number of `io_uring_enter`. The stack is the program's, as it is for a signal handler.
macro_rules! gate {
    ($(#[$meta:meta])* $name:ident, $bytes:literal, save: [$($save:expr),*], restore: [$($restore:expr),*]) => {
        $(#[$meta])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "pushfq",
                // Nearly always it is clear, and `cld` takes longer than to look.
                "test byte ptr [rsp + 1], 4",
                "jz 5f",
                "cld",
                "5:",
                "push rbp",
                "mov rbp, rsp",
                "push rdi",
                "push rsi",
                "push rdx",
                "push r10",
                "push r8",
                "push r9",
                // Becomes 1 where upper halves hold something.
                "push 0",
                concat!("sub rsp, ", $bytes),
                "and rsp, -64",
                $($save,)*
                "mov rcx, r10",
                "call {enter}",
                $($restore,)*
                "mov rdi, [rbp - 8]",
                "mov rsi, [rbp - 16]",
                "mov rdx, [rbp - 24]",
                "mov r10, [rbp - 32]",
                "mov r8, [rbp - 40]",
                "mov r9, [rbp - 48]",
                "mov rsp, rbp",
                "pop rbp",
                // The flags, without `popfq`, which is slow: the direction, overflow by an addition that overflows or
                // not, the others by `sahf`.
                "pop rcx",
                "bt ecx, 10",
                "jnc 2f",
                "std",
                "2:",
                "mov r11, rax",
                "mov eax, ecx",
                "mov ah, al",
                "shr ecx, 11",
                "and ecx, 1",
                "add cl, 127",
                "sahf",
                "mov rax, r11",
                "ret",
                enter = sym enter,
            )
        }
    };
}

/// One line for each of the registers 0 to 15, or 16 to 31: two pieces of text around the number, and one behind its place.
macro_rules! lines {
    (first: $each:ident $arguments:tt) => {
        lines!(@ $each $arguments 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (last: $each:ident $arguments:tt) => {
        lines!(@ $each $arguments 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
    };
    (masks: $each:ident $arguments:tt) => { lines!(@ $each $arguments 0 1 2 3 4 5 6 7) };
    (@ $each:ident $arguments:tt $($number:literal)*) => { concat!($($each!($arguments $number)),*) };
}

macro_rules! store {
    (($instruction:literal, $register:literal, $step:literal, $base:literal) $number:literal) => {
        concat!(
            $instruction,
            " [rsp + ",
            $base,
            " + ",
            $step,
            " * ",
            $number,
            "], ",
            $register,
            $number,
            "\n"
        )
    };
}

macro_rules! load {
    (($instruction:literal, $register:literal, $step:literal, $base:literal) $number:literal) => {
        concat!(
            $instruction,
            " ",
            $register,
            $number,
            ", [rsp + ",
            $base,
            " + ",
            $step,
            " * ",
            $number,
            "]\n"
        )
    };
}

/// One of the registers, into the first.
macro_rules! or {
    (($instruction:literal, $register:literal) $number:literal) => {
        concat!($instruction, " ", $register, "0, ", $register, "0, ", $register, $number, "\n")
    };
}

/// Saves the registers 0 to 15, and says at `[rbp - 56]` whether an upper half of them holds something. `any` leaves what they hold there, as
/// a condition. The engine's SSE code finds them clean, which it is faster with.
macro_rules! save {
    ($whole:expr, $any:expr) => {
        concat!($whole, $any, "vzeroupper\nsetnz byte ptr [rbp - 56]\n")
    };
}

/// Restores what [`save`] has saved: all, or where the upper halves are zero only the lower ones.
macro_rules! restore {
    ($whole:expr, $lower:expr) => {
        concat!(
            "cmp byte ptr [rbp - 56], 0\nje 3f\n",
            $whole,
            "jmp 4f\n3:\n",
            // The C library may have used them, and left zeroes that count as use.
            "vzeroupper\n",
            $lower,
            "4:\n"
        )
    };
}

gate! {
    /// For processors without AVX.
    with_sse, 256,
    save: [lines!(first: store("movaps", "xmm", 16, 0))],
    restore: [lines!(first: load("movaps", "xmm", 16, 0))]
}

gate! {
    /// For AVX, where nothing is in the upper halves. Whatever is left there is of no use, and the engine's SSE code is faster without.
    with_lower_halves, 256,
    save: ["vzeroupper", lines!(first: store("movaps", "xmm", 16, 0))],
    restore: [lines!(first: load("movaps", "xmm", 16, 0))]
}

gate! {
    /// For AVX.
    with_avx, 512,
    save: [save!(
        lines!(first: store("vmovaps", "ymm", 32, 0)),
        concat!(
            lines!(first: or("vorps", "ymm")),
            "vextractf128 xmm0, ymm0, 1\nvptest xmm0, xmm0\n"
        )
    )],
    restore: [restore!(
        lines!(first: load("vmovaps", "ymm", 32, 0)),
        lines!(first: load("movaps", "xmm", 32, 0))
    )]
}

gate! {
    /// For AVX-512.
    with_avx512, 2112,
    save: [
        save!(
            lines!(first: store("vmovaps", "zmm", 64, 0)),
            concat!(
                lines!(first: or("vporq", "zmm")),
                "vextracti64x4 ymm1, zmm0, 1\nvextracti128 xmm0, ymm0, 1\n",
                "vpor ymm0, ymm0, ymm1\nvptest ymm0, ymm0\n"
            )
        ),
        lines!(last: store("vmovaps", "zmm", 64, 0)),
        lines!(masks: store("kmovq", "k", 8, 2048))
    ],
    restore: [
        restore!(
            lines!(first: load("vmovaps", "zmm", 64, 0)),
            lines!(first: load("movaps", "xmm", 64, 0))
        ),
        lines!(last: load("vmovaps", "zmm", 64, 0)),
        lines!(masks: load("kmovq", "k", 8, 2048))
    ]
}
