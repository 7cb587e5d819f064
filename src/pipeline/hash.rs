//! The one hash that outlives a process.
//!
//! Lanes, handler ids and payload comparisons use it, so it depends on neither the platform, the
//! process nor the version of the standard library. It is not keyed: whoever chooses the bytes can
//! make two of them meet. Nothing here relies on the contrary; dedup keys its own fingerprints.

use std::hash::{BuildHasher, Hasher};

/// Hashes bytes to 64 unsigned bits, the same on every machine and in every release.
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    let mut state = START ^ (bytes.len() as u64).wrapping_mul(ODD_A);
    for word in &mut words {
        state = absorb(state, little_endian(word));
    }
    // The length is already in the state, so padding a short tail with zeros is unambiguous.
    let tail = words.remainder();
    if !tail.is_empty() {
        state = absorb(state, little_endian(tail));
    }
    finish(state)
}

/// The same hash for maps whose size is bounded by other means, such as a group's lanes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StableHasher;

impl BuildHasher for StableHasher {
    type Hasher = Stable;

    fn build_hasher(&self) -> Stable {
        Stable(START)
    }
}

/// Hashes a value piece by piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stable(u64);

impl Hasher for Stable {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = absorb(self.0, stable_hash(bytes));
    }

    // What `str` and slices add to their bytes; without these they would go through `write`.
    fn write_u8(&mut self, value: u8) {
        self.0 = absorb(self.0, u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = absorb(self.0, value);
    }

    fn write_usize(&mut self, value: usize) {
        self.0 = absorb(self.0, value as u64);
    }

    fn finish(&self) -> u64 {
        finish(self.0)
    }
}

const START: u64 = 0x6A09_E667_F3BC_C908;
const ODD_A: u64 = 0x9E37_79B9_7F4A_7C15;
const ODD_B: u64 = 0xD6E8_FEB8_6659_FD93;
const ODD_C: u64 = 0xA24B_AED4_963E_E407;

/// A bijection of the state for each word, so that no word erases what came before it.
fn absorb(state: u64, word: u64) -> u64 {
    let word = word.wrapping_mul(ODD_B).rotate_left(29).wrapping_mul(ODD_A);
    (state ^ word)
        .rotate_left(27)
        .wrapping_mul(ODD_C)
        .wrapping_add(START)
}

/// Spreads every bit of the state over all bits of the result.
fn finish(mut state: u64) -> u64 {
    for odd in [ODD_B, ODD_C] {
        state ^= state >> 32;
        state = state.wrapping_mul(odd);
    }
    state ^ (state >> 32)
}

fn little_endian(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changing one of these moves every key to another lane and every handler to another id.
    #[test]
    fn the_values_are_pinned() {
        for (text, hash) in [
            ("", 0x4BFE_DF77_7D6C_2FC3),
            ("a", 0xB207_446D_D814_119C),
            ("order.placed", 0x1CB5_898C_511C_4D21),
            ("ord_9921", 0x6365_E24A_A8F9_27B2),
            (
                "0190a5b2-0000-7000-8000-000000000001",
                0x3B11_CF30_7FD0_7EA3,
            ),
        ] {
            assert_eq!(stable_hash(text.as_bytes()), hash, "{text:?}");
        }
    }

    #[test]
    fn zeros_and_lengths_are_told_apart() {
        let zeros = [0_u8; 40];
        let mut seen: Vec<u64> = (0..=40).map(|len| stable_hash(&zeros[..len])).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 41);
    }

    #[test]
    fn pieces_are_told_apart_in_a_map() {
        let hash = |pieces: &[&str]| StableHasher.hash_one(pieces);
        let all = [
            hash(&["ab", "c"]),
            hash(&["a", "bc"]),
            hash(&["c", "ab"]),
            hash(&["abc"]),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(!all[..n].contains(one), "{n}");
        }
        assert_eq!(all[0], hash(&["ab", "c"]));
    }

    #[test]
    fn similar_keys_fill_all_lanes_evenly() {
        const LANES: usize = 64;
        for prefix in ["", "user-", "a-rather-long-prefix-of-a-key-"] {
            let mut lanes = [0_u32; LANES];
            for n in 0..64_000 {
                let hash = stable_hash(format!("{prefix}{n}").as_bytes());
                lanes[usize::try_from(hash % LANES as u64).expect("small")] += 1;
            }
            // 1,000 each on average; five standard deviations either side.
            assert!(
                lanes.iter().all(|&n| (840..1_160).contains(&n)),
                "{lanes:?}"
            );
        }
    }

    #[test]
    fn every_input_bit_reaches_about_half_the_output() {
        let key = *b"0190a5b2-0000-7000";
        for bit in 0..key.len() * 8 {
            let mut other = key;
            other[bit / 8] ^= 1 << (bit % 8);
            let changed = (stable_hash(&key) ^ stable_hash(&other)).count_ones();
            assert!(
                (12..=52).contains(&changed),
                "bit {bit} changes {changed} bits"
            );
        }
    }
}
