//! Random sequences of requests, played on the kernel and on Ringer, and compared.
//!
//! A sequence is drawn from a seed and an index, so that every process that plays it draws it anew. Steps whose results
//! the interface leaves open are not played. What differs is played again, several times and with more patience, until
//! it is clear that it is not the machine; then steps are left out while the difference stays.

pub mod admit;
pub mod child;
pub mod describe;
pub mod generate;
pub mod ioprio;
pub mod known;
pub mod lanes;
pub mod mask;
pub mod play;
pub mod prepare;
pub mod process;
pub mod registration;
pub mod run;
pub mod sequence;
pub mod shrink;
pub mod side;
pub mod wish;
