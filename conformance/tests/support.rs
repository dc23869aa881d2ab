//! The page of what is supported says what the tables say, and the probe and every feature bit do, too.

use ringer_abi::{Opcode, Params};
use ringer_conformance::support::page;
use ringer_engine::{FEATURES, System};
use ringer_sys::UserAddress;

#[test]
fn the_page_is_up_to_date() {
    let there = include_str!("../../docs/SUPPORT.md");
    let page = page(include_str!("../differences.toml"), include_str!("../random-differences.toml"))
        .expect("a good list of differences");
    assert!(page == there, "docs/SUPPORT.md is old: run `cargo run -p ringer-conformance --bin support`");
}

#[test]
fn the_probe_says_what_the_table_says() {
    /// `struct io_uring_probe` and its entries, in bytes.
    const HEADER: usize = 16;
    const ENTRY: usize = 8;
    const SUPPORTED: u16 = 1;
    let mut params = Params::default();
    let system = System::global();
    let ring = system.setup(4, UserAddress::of(&raw mut params)).expect("a ring");
    assert_eq!(params.features, FEATURES.bits());
    let mut probe = [0_u8; HEADER + 256 * ENTRY];
    system.register(ring, 8, UserAddress::of(probe.as_mut_ptr()), 256).expect("a probe");
    assert_eq!(usize::from(probe[1]), Opcode::ALL.len(), "as many as Linux 6.18 has");
    for opcode in Opcode::ALL {
        let entry = &probe[HEADER + usize::from(opcode.number()) * ENTRY..][..ENTRY];
        let is_supported = u16::from_ne_bytes([entry[2], entry[3]]) & SUPPORTED != 0;
        assert_eq!(entry[0], opcode.number());
        assert_eq!(is_supported, ringer_ops::row(opcode.number()).is_some(), "{opcode:?}");
    }
    system.close(ring).expect("our ring");
}
