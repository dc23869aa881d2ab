//! The preload library: io_uring for a program that knows nothing of it.
//!
//! `ringer run` puts `libringer_preload.so` into `LD_PRELOAD`. Its constructor ([`start`]) installs a seccomp filter that turns
//! the three io_uring calls of the program, and what it does to ring descriptors, into SIGSYS traps; the
//! handler ([`trap`]) hands them to the engine. Calls that go through a function of the C library are taken there, which
//! costs no trap.
//!
//! | file | what |
//! |---|---|
//! | `start.rs` | the constructor |
//! | `trap.rs`, `sites.rs` | the SIGSYS handler, and what becomes of the call sites it sees |
//! | `padding.rs`, `neighbours.rs` | the two ways to make a site a function call |
//! | `memory_map.rs`, `functions.rs`, `listing.rs`, `threads.rs` | what is known of the code around a site, and who may be in it |
//! | `code.rs`, `trampoline.rs`, `gate.rs` | changing code; from a patched site to the engine |
//! | `dispatch.rs`, `descriptors.rs` | from a call's number and arguments to the engine |
//! | `guest.rs`, `handlers.rs`, `process.rs` | how the engine is entered: signals, errno, forks |
//! | `disposition.rs`, `mask.rs` | the program's handlers and masks of the signals that the library needs |
//! | `exec.rs`, `environment.rs` | the library goes along into whatever the program executes |
//! | `calls.rs`, `wait.rs` | interposed functions: `syscall`, descriptors, poll and its kin |
//! | `next.rs` | the functions behind the interposed ones |
//! | `counting.rs`, `tracing.rs` | counters that are shared with `ringer run`; events for `ringer trace` |
//!
//! Nothing here is meant to be linked into a program. The symbols would interpose its own C library.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod calls;
mod code;
mod counting;
mod descriptors;
mod dispatch;
mod disposition;
mod environment;
mod exec;
mod functions;
mod gate;
mod guest;
mod handlers;
mod listing;
mod mask;
mod memory_map;
mod neighbours;
mod next;
mod padding;
mod process;
mod sites;
mod start;
mod threads;
mod tracing;
mod trampoline;
mod trap;
mod wait;

/// The library's own heap: the program may have been interrupted inside its `malloc`.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;
