//! The shuffle behind every published seed: the order of trials, and which input is in which part of a data set.
//!
//! Written out here, because a library may change its own between versions, and with it every published order. Whoever
//! uses it pins some of its orders in a test.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tinywatt_proto::ids::Sha256;

/// Fisher and Yates, from the last place down: place `i` changes with a random place of `0..=i`. Chance is ChaCha with
/// 8 rounds, keyed with the SHA-256 of `key`.
pub(crate) fn shuffle<T>(items: &mut [T], key: &[u8]) {
    let mut random = ChaCha8Rng::from_seed(Sha256::of(key).0);
    for last in (1..items.len()).rev() {
        items.swap(last, below(last + 1, &mut random));
    }
}

/// A number below `bound`, each equally likely: 32-bit draws, those at or above the largest multiple of `bound` again.
fn below(bound: usize, random: &mut impl Rng) -> usize {
    let bound = u32::try_from(bound).expect("a list of trials or inputs is shorter than 2^32");
    let accepted = u32::MAX - u32::MAX % bound;
    loop {
        let draw = random.next_u32();
        if draw < accepted {
            return usize::try_from(draw % bound).expect("32 bits fit");
        }
    }
}
