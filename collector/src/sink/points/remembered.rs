//! Texts of numbers that were written before: a code gives the same one each time, and finding the shortest digits of a
//! float costs more than all the rest of a line.

use super::super::line::push_float;

/// Texts that are remembered: a load moves among some hundred codes. 10 KB, so that those of a channel stay in a
/// processor's nearest cache.
const COUNT_BITS: u32 = 8;

/// Longest text of a float: `-2.2250738585072014e-308`.
const BYTES_MAX: usize = 24;

/// The texts, each in the place that its code has; a newer one takes the place of an older one.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// Empty until the first is written.
    texts: Vec<Text>,
}

#[derive(Debug, Clone)]
struct Text {
    code: i64,
    length: usize,
    bytes: [u8; BYTES_MAX],
}

// === impl Remembered ===

impl Remembered {
    /// Writes the number of a code, which is always the same one.
    pub(super) fn push(&mut self, text: &mut String, code: i64, value: impl FnOnce() -> f64) {
        if self.texts.is_empty() {
            self.texts = vec![Text { code: 0, length: 0, bytes: [0; BYTES_MAX] }; 1 << COUNT_BITS];
        }
        // Fibonacci hashing: the high bits of a product with the golden ratio spread codes that lie side by side.
        let place = code.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - COUNT_BITS);
        let known = &mut self.texts[usize::try_from(place).expect("eight bits")];
        if known.code == code && known.length > 0 {
            text.push_str(std::str::from_utf8(&known.bytes[..known.length]).expect("digits"));
            return;
        }
        let begin = text.len();
        push_float(text, value());
        let written = &text.as_bytes()[begin..];
        known.bytes[..written.len()].copy_from_slice(written);
        (known.code, known.length) = (code, written.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_remembered_is_what_would_be_written(codes in prop::collection::vec(-3_000i64..3_000, 1..400), step: f64) {
            prop_assume!(step.is_finite());
            let value = |code: i64| (code as f64 * step).clamp(f64::MIN, f64::MAX);
            let (mut remembered, mut remembering, mut plain) = (Remembered::default(), String::new(), String::new());
            for code in codes {
                remembered.push(&mut remembering, code, || value(code));
                push_float(&mut plain, value(code));
            }
            prop_assert_eq!(remembering, plain);
        }
    }
}
