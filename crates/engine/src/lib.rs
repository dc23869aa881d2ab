//! The engine: `io_uring_setup`, `io_uring_enter` and `io_uring_register` as functions of a [`System`].
//!
//! The three calls need no interception: tests and embedders call them directly. What a
//! request lives through, in the order of the files: `submit` takes its SQE, `turn` makes attempts, `reactor` and `worker`
//! hold it while it waits, `complete` posts its CQE, `wait` is the thread that waits for it.
#![forbid(unsafe_code)]

mod alone;
mod arm;
mod attempt;
mod background;
mod beliefs;
mod buffers;
mod cancel;
mod chain;
pub mod chaos;
mod coalesce;
mod complete;
mod counters;
mod device;
mod drain;
mod elsewhere;
mod enter;
mod files;
mod fork;
mod futex;
mod helper;
mod in_epoll;
mod inflight;
mod kept;
mod latency;
mod limit;
mod mapped_reads;
mod message;
mod more_to_read;
mod observed;
mod operations;
mod pace;
mod parking;
mod provided;
mod reactor;
mod readiness;
mod recent;
mod register;
mod release;
mod request;
mod ring;
mod ring_wait;
mod setup;
mod shared_run;
mod shared_watch;
mod sqpoll;
mod submit;
mod system;
mod timeout;
mod timer;
pub mod trace;
mod turn;
mod user_data;
mod wait;
mod watch;
mod work_queue;
mod worker;

pub use enter::SERVED as ENTER_FLAGS;
pub use setup::{FEATURES, SERVED as SETUP_FLAGS};

pub use ringer_ring::prepare_tenancies;

pub use counters::{Counters, Refusal, SHARES, Served, Share};
pub use system::{Caller, Mapping, System, WaitMask};
