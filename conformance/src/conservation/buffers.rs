//! Provided buffers, counted.

use std::sync::Mutex;

use ringer_abi::{Cqe, CqeFlags, Opcode, RegisterOpcode, Sqe};
use ringer_client::calls::Calls;
use ringer_client::ring::Ring;
use ringer_sys::UserAddress;

use super::scene::{UNCOUNTED, lasting, lock};
use crate::differential::buffer_ring::INCREMENTAL;
use crate::differential::prep;

/// Buffers of a group.
const BUFFERS: u16 = 16;
/// Bytes of a buffer.
pub(super) const BUFFER_BYTES: u64 = 64;
/// Bytes of a page, and of the memory of a buffer ring.
const PAGE: u64 = 4096;
/// Where the tail lies in a buffer ring.
const TAIL: u64 = 14;

/// How a group is provided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// By PROVIDE_BUFFERS.
    Requests,
    /// By a ring.
    Ring,
    /// By a ring whose buffers are used up little by little (`IOU_PBUF_RING_INC`).
    Incremental,
}

const KINDS: [Kind; 3] = [Kind::Requests, Kind::Ring, Kind::Incremental];
/// The numbers of the groups; those of their buffers begin at sixteen times as much.
pub(super) const GROUPS: [u16; 3] = [1, 2, 3];

/// What is known of a group.
#[derive(Debug)]
struct State {
    is_provided: [bool; BUFFERS as usize],
    /// Those to be provided next.
    spent: Vec<u16>,
    tail: u16,
}

/// A group of provided buffers of one ring.
#[derive(Debug)]
struct Group {
    kind: Kind,
    number: u16,
    buffers: UserAddress,
    entries: UserAddress,
    state: Mutex<State>,
}

/// The groups of one ring.
#[derive(Debug)]
pub(super) struct Groups(Vec<Group>);

impl Groups {
    /// Registers them.
    ///
    /// # Errors
    /// A message when the ring refuses.
    pub(super) fn new<C: Calls>(ring: &Ring<C>) -> Result<Self, String> {
        let groups = KINDS.into_iter().zip(GROUPS).map(|(kind, number)| {
            let memory = lasting(&[0; 2 * PAGE as usize]).get();
            let entries = UserAddress::new(memory.next_multiple_of(PAGE));
            if kind != Kind::Requests {
                let flags = if kind == Kind::Incremental { INCREMENTAL } else { 0 };
                let words = u64::from(BUFFERS) | u64::from(number) << 32 | u64::from(flags) << 48;
                let argument = [entries.get(), words, 0, 0, 0];
                ring.register(RegisterOpcode::PbufRing, UserAddress::of(&raw const argument), 1)
                    .map_err(|error| error.to_string())?;
            }
            let spent = (0..BUFFERS).collect();
            let state = Mutex::new(State { is_provided: [false; BUFFERS as usize], spent, tail: 0 });
            let buffers = lasting(&[0; (BUFFERS as u64 * BUFFER_BYTES) as usize]);
            Ok(Group { kind, number, buffers, entries, state })
        });
        groups.collect::<Result<_, String>>().map(Self)
    }

    /// Provides again what was used.
    pub(super) fn give_back<C: Calls>(&self, ring: &mut Ring<C>) {
        self.0.iter().for_each(|group| group.give_back(ring));
    }

    /// Takes note of the buffer that a completion names.
    ///
    /// # Errors
    /// It was not provided.
    pub(super) fn account(&self, cqe: &Cqe) -> Result<(), String> {
        let flags = CqeFlags::from_bits_retain(cqe.flags);
        if !flags.contains(CqeFlags::BUFFER) {
            return Ok(());
        }
        let number = (cqe.flags >> 16) as u16;
        let group = self.0.iter().find(|group| group.number == number / BUFFERS);
        let Some(group) = group else { return Err(format!("a buffer that there is not: {cqe:?}")) };
        let mut state = lock(&group.state);
        let index = number % BUFFERS;
        if !state.is_provided[usize::from(index)] {
            return Err(format!("a buffer that was used already: {cqe:?}, {:?}", group.kind));
        }
        if !flags.contains(CqeFlags::BUF_MORE) {
            state.is_provided[usize::from(index)] = false;
            state.spent.push(index);
        }
        Ok(())
    }

    /// How many buffers of each group are provided.
    pub(super) fn provided(&self) -> Vec<(u16, usize)> {
        let count = |state: &State| state.is_provided.iter().filter(|is_provided| **is_provided).count();
        self.0.iter().map(|group| (group.number, count(&lock(&group.state)))).collect()
    }
}

impl Group {
    fn give_back<C: Calls>(&self, ring: &mut Ring<C>) {
        let mut state = lock(&self.state);
        while let Some(index) = state.spent.pop_if(|_| ring.space() > 8 || self.kind != Kind::Requests) {
            state.is_provided[usize::from(index)] = true;
            let address = self.buffers.add(u64::from(index) * BUFFER_BYTES).get();
            let number = self.number * BUFFERS + index;
            if self.kind == Kind::Requests {
                let provide: Sqe = prep::op(Opcode::ProvideBuffers, 1).with_addr(address);
                let provide = provide.with_len(BUFFER_BYTES as u32).with_off(number.into());
                let provide = provide.with_buf_index(self.number).with_user_data(UNCOUNTED);
                ring.push(&provide).expect("there is room");
            } else {
                let entry = self.entries.add(u64::from(state.tail % BUFFERS) * 16);
                // The last two bytes of an entry are not its own: in the first one they are the tail.
                entry.write(address).expect("memory of this test");
                entry.add(8).write(BUFFER_BYTES as u32).expect("memory of this test");
                entry.add(12).write(number).expect("memory of this test");
                state.tail = state.tail.wrapping_add(1);
                self.entries.add(TAIL).write(state.tail).expect("memory of this test");
            }
        }
    }
}
