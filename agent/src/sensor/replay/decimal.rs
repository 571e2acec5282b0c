//! Decimal numbers as written, without a float in between.

/// `digits × 10^exponent`, with no trailing zero in `digits` unless it is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) digits: i128,
    pub(super) exponent: i32,
}

/// More digits than any meter prints; keeps every product within 128 bits.
const DIGITS_MAX: usize = 18;

impl Decimal {
    /// Reads a JSON number. `None` for anything else, or for more than [`DIGITS_MAX`] significant digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (sign, mantissa) = mantissa.strip_prefix('-').map_or((1, mantissa), |rest| (-1, rest));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let written = [whole, fraction].concat();
        let significant = written.trim_start_matches('0');
        let trimmed = significant.trim_end_matches('0');
        if whole.is_empty() || !written.bytes().all(|byte| byte.is_ascii_digit()) || trimmed.len() > DIGITS_MAX {
            return None;
        }
        if trimmed.is_empty() {
            return Some(Self { digits: 0, exponent: 0 });
        }
        let dropped = i32::try_from(significant.len() - trimmed.len()).ok()?;
        let fraction_count = i32::try_from(fraction.len()).ok()?;
        let exponent = exponent.checked_sub(fraction_count)?.checked_add(dropped)?;
        Some(Self { digits: sign * trimmed.parse::<i128>().ok()?, exponent })
    }

    /// The number as a multiple of `10^unit`; `None` when it is none, or too large.
    pub(super) fn in_units(self, unit: i32) -> Option<i64> {
        if self.digits == 0 {
            return Some(0);
        }
        let shift = u32::try_from(self.exponent.checked_sub(unit)?).ok()?;
        let factor = 10i128.checked_pow(shift)?;
        i64::try_from(self.digits.checked_mul(factor)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_to_the_last_digit() {
        for (text, digits, exponent) in [
            ("1.542e-05", 1_542, -8),
            ("1.55e-05", 155, -7),
            ("1.550e-05", 155, -7),
            ("7.383E-06", 7_383, -9),
            ("0.00001542", 1_542, -8),
            ("-12", -12, 0),
            ("1200", 12, 2),
            ("0", 0, 0),
            ("0.0e3", 0, 0),
        ] {
            assert_eq!(Decimal::parse(text), Some(Decimal { digits, exponent }), "{text}");
        }
        for text in ["", "-", "e5", "1e", "0x10", "\"1\"", "null", "1.2.3", "1234567890123456789"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn units_are_exact_or_refused() {
        let number = Decimal::parse("1.542e-05").expect("a number");
        assert_eq!(number.in_units(-9), Some(15_420));
        assert_eq!(number.in_units(-8), Some(1_542));
        assert_eq!(number.in_units(-7), None);
        assert_eq!(number.in_units(-60), None);
    }
}
