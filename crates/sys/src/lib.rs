//! The process's own system calls, guarded user memory and the engine's descriptors.
//!
//! This is one of the four crates that may hold `unsafe`. What it offers is safe to call:
//! an address that comes from the program is a [`UserAddress`], never a Rust reference, and
//! is looked at only through guarded copies or by the kernel itself.

pub mod aio;
pub mod alternatives;
pub mod call;
pub mod credentials;
pub mod descriptor;
pub mod epoll_members;
pub mod fault;
pub mod file_identity;
mod file_status;
pub mod futex;
pub mod interrupt;
pub mod mapped_file;
pub mod native;
pub mod nowait;
pub mod probe;
pub mod ready;
pub mod same_file;
pub mod seccomp;
pub mod signal;
pub mod thread;
pub mod user;

pub use rustix::io::Errno;
pub use user::UserAddress;
