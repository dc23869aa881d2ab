//! Pending requests by their `user_data`: cancellation looks for it.
//!
//! A table of chains through the slots. Nothing is allocated for a request once the table is large enough, and a request is taken
//! out without a look at the others of its chain: many programs give all their requests the same number.

/// The end of a chain, and "in no chain".
const NONE: u32 = u32::MAX;

/// Slots that have a `user_data` each.
#[derive(Debug, Default)]
pub(crate) struct UserDataIndex {
    /// The first slot of each chain. As many as a power of two, and at least as many as slots.
    chains: Vec<u32>,
    slots: Vec<Link>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    user_data: u64,
    previous: u32,
    next: u32,
}

impl UserDataIndex {
    /// Puts a slot in. It must not be in already.
    pub(crate) fn insert(&mut self, slot: u32, user_data: u64) {
        let place = slot as usize;
        if place >= self.slots.len() {
            self.slots.resize(place + 1, Link { user_data: 0, previous: NONE, next: NONE });
            self.slots[place].user_data = user_data;
            if self.slots.len() > self.chains.len() {
                return self.rebuild(slot);
            }
        }
        self.slots[place].user_data = user_data;
        self.link(slot);
    }

    /// Takes a slot out.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Link { user_data, previous, next } = self.slots[slot as usize];
        match self.slots.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => {
                let chain = self.chain(user_data);
                self.chains[chain] = next;
            }
        }
        if let Some(next) = self.slots.get_mut(next as usize) {
            next.previous = previous;
        }
    }

    /// The slots with this `user_data`, in no particular order.
    pub(crate) fn find(&self, user_data: u64) -> impl Iterator<Item = u32> {
        let first = if self.chains.is_empty() { NONE } else { self.chains[self.chain(user_data)] };
        self.chain_from(first).filter(move |slot| self.slots[*slot as usize].user_data == user_data)
    }

    /// What a slot was put in with.
    pub(crate) fn user_data(&self, slot: u32) -> u64 {
        self.slots[slot as usize].user_data
    }

    /// Makes the table larger. `added` is in no chain yet.
    fn rebuild(&mut self, added: u32) {
        let linked: Vec<u32> = self.chains.iter().flat_map(|first| self.chain_from(*first)).collect();
        self.chains = vec![NONE; self.slots.len().next_power_of_two().max(16)];
        linked.into_iter().chain([added]).for_each(|slot| self.link(slot));
    }

    fn chain_from(&self, first: u32) -> impl Iterator<Item = u32> {
        let at = |slot: u32| Some(slot).filter(|slot| *slot != NONE);
        std::iter::successors(at(first), move |slot| at(self.slots[*slot as usize].next))
    }

    fn link(&mut self, slot: u32) {
        let chain = self.chain(self.slots[slot as usize].user_data);
        let next = std::mem::replace(&mut self.chains[chain], slot);
        let link = &mut self.slots[slot as usize];
        (link.previous, link.next) = (NONE, next);
        if let Some(next) = self.slots.get_mut(next as usize) {
            next.previous = slot;
        }
    }

    /// The chain of a number. Addresses and counters both spread over the upper bits of the product.
    fn chain(&self, user_data: u64) -> usize {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let bits = self.chains.len().trailing_zeros();
        (user_data.wrapping_mul(GOLDEN) >> (64 - bits)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(index: &UserDataIndex, user_data: u64) -> Vec<u32> {
        let mut found: Vec<u32> = index.find(user_data).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn slots_are_found_by_their_number_whatever_else_comes_and_goes() {
        let mut index = UserDataIndex::default();
        assert!(found(&index, 0).is_empty());
        let user_data = |slot: u32| u64::from(slot % 7) << 32;
        for slot in 0..1000 {
            index.insert(slot, user_data(slot));
        }
        for slot in (0..1000).filter(|slot: &u32| slot.is_multiple_of(3)) {
            index.remove(slot);
        }
        for slot in (0..1000).filter(|slot: &u32| slot.is_multiple_of(6)) {
            index.insert(slot, u64::MAX);
        }
        index.insert(1000, user_data(1));
        for number in 0..7 {
            let is_there = |slot: &u32| !slot.is_multiple_of(3) && user_data(*slot) == number << 32;
            let mut expected: Vec<u32> = (0..1000).filter(is_there).collect();
            expected.extend((number == 1).then_some(1000));
            assert_eq!(found(&index, number << 32), expected);
        }
        assert_eq!(
            found(&index, u64::MAX),
            (0..1000).filter(|slot: &u32| slot.is_multiple_of(6)).collect::<Vec<_>>()
        );
        assert_eq!(index.user_data(6), u64::MAX);
    }
}
