//! Test content: a seeded stream of 64-bit words that both sides of a check can make on their own.

/// A stream of reproducible, incompressible bytes (the SplitMix64 sequence, by position).
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    seed: u64,
}

impl Pattern {
    /// The stream that belongs to `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The stream of part `part` of this one: other content for each connection and each message.
    pub const fn part(self, part: u64) -> Self {
        Self { seed: self.word(part) }
    }

    /// The 64-bit word at position `index`, counted in words.
    pub const fn word(self, index: u64) -> u64 {
        let mut z = self.seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fills `buffer` with the stream, from word `first` on.
    pub fn fill(self, first: u64, buffer: &mut [u8]) {
        for (index, bytes) in (first..).zip(buffer.chunks_mut(8)) {
            bytes.copy_from_slice(&self.word(index).to_le_bytes()[..bytes.len()]);
        }
    }
}

/// The messages of one connection of the echo.
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    pattern: Pattern,
}

impl Messages {
    /// Longest message in bytes.
    pub const LONGEST: usize = 4096;
    /// Shortest message in bytes.
    pub const SHORTEST: usize = 64;

    /// What connection `connection` sends in an echo made from `seed`.
    pub const fn new(seed: u64, connection: u64) -> Self {
        Self { pattern: Pattern::new(seed).part(connection) }
    }

    /// Writes message `number` to the start of `buffer` and returns its length in bytes.
    ///
    /// `buffer` holds [`Self::LONGEST`] bytes.
    pub fn write(self, number: u64, buffer: &mut [u8]) -> usize {
        let content = self.pattern.part(number);
        let span = (Self::LONGEST - Self::SHORTEST + 1) as u64;
        let length = Self::SHORTEST + (content.word(0) % span) as usize;
        content.fill(1, &mut buffer[..length]);
        length
    }
}

/// One checksum for the connections of an echo, whatever order they were accepted in.
pub fn combine(mut checksums: Vec<u32>) -> u32 {
    checksums.sort_unstable();
    let mut hasher = crc32fast::Hasher::new();
    for checksum in checksums {
        hasher.update(&checksum.to_le_bytes());
    }
    hasher.finalize()
}

/// What an echo made from `seed` must transfer each way: bytes, and the checksum of all connections.
pub fn expected_echo(seed: u64, connections: u64, messages: u64) -> (u64, u32) {
    let mut buffer = [0; Messages::LONGEST];
    let mut bytes = 0;
    let mut checksums = Vec::new();
    for connection in 0..connections {
        let content = Messages::new(seed, connection);
        let mut hasher = crc32fast::Hasher::new();
        for number in 0..messages {
            let length = content.write(number, &mut buffer);
            hasher.update(&buffer[..length]);
            bytes += length as u64;
        }
        checksums.push(hasher.finalize());
    }
    (bytes, combine(checksums))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_does_not_depend_on_how_it_is_cut() {
        let pattern = Pattern::new(7);
        let mut whole = [0; 64];
        pattern.fill(0, &mut whole);
        let mut rest = [0; 27];
        pattern.fill(4, &mut rest);
        assert_eq!(rest, whole[32..59]);
    }

    #[test]
    fn streams_of_other_seeds_and_parts_differ() {
        let words = [Pattern::new(1), Pattern::new(2), Pattern::new(1).part(0), Pattern::new(1).part(1)]
            .map(|pattern| pattern.word(0));
        for (index, word) in words.iter().enumerate() {
            assert!(!words[..index].contains(word));
        }
    }

    #[test]
    fn messages_keep_their_bounds() {
        let mut buffer = [0; Messages::LONGEST];
        let messages = Messages::new(3, 0);
        let lengths: Vec<usize> = (0..20_000).map(|number| messages.write(number, &mut buffer)).collect();
        assert_eq!(lengths.iter().min(), Some(&Messages::SHORTEST));
        assert_eq!(lengths.iter().max(), Some(&Messages::LONGEST));
    }

    #[test]
    fn the_order_of_connections_does_not_matter_but_their_content_does() {
        assert_eq!(combine(vec![1, 2, 3]), combine(vec![3, 1, 2]));
        assert_ne!(combine(vec![1, 2, 3]), combine(vec![1, 2, 4]));
    }
}
