use std::hash::Hasher;

/// Hashes the names of topics, eight bytes at a time.
///
/// Every publish looks its topic up, and the program chooses its topics, so speed counts here and
/// resistance to chosen names does not. Keys, which users choose, are hashed with a random seed.
#[derive(Default)]
pub(crate) struct NameHasher(u64);

impl NameHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        // An odd constant with evenly spread bits: 2^64 divided by the golden ratio. Folding both
        // halves of the product lets every bit of the word reach the low bits, too.
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for NameHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words
            .iter()
            .for_each(|word| self.mix(u64::from_le_bytes(*word)));
        // The last eight bytes, some of them a second time: to copy the rest into a word would be
        // a call, and then a wait until it can be read.
        let last = match bytes.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last),
            None => rest
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        self.mix(last ^ bytes.len() as u64);
    }

    #[inline]
    fn write_u8(&mut self, _end_of_text: u8) {
        // `write` mixed the length in, which parts one text from the next.
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{Hash, Hasher};

    use tidings_transport::Name;

    use super::NameHasher;

    fn hash(name: &str) -> u64 {
        let mut hasher = NameHasher::default();
        Name::from(name).hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn similar_names_spread_over_a_small_table() {
        let names: Vec<String> = (0..1024)
            .map(|number| format!("order.placed.{number}"))
            .collect();
        let buckets: HashSet<u64> = names.iter().map(|name| hash(name) % 1024).collect();
        // Random placement fills 63 % of the buckets.
        assert!(
            buckets.len() > 500,
            "{} of 1024 buckets used",
            buckets.len()
        );
        assert_ne!(hash("a"), hash("a\0"));
        assert_eq!(hash("order.placed"), hash("order.placed"));
    }
}
