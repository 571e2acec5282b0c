//! Bytes as lower-case hexadecimal digits, two a byte: how JSON and people get them.

use std::fmt::Write;

/// Writes bytes as digits.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// Reads what [`encode`] writes, and upper-case digits; `None` for any other text.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    // Digit by digit: a number parser would take a sign as well.
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8; 2]| Some(digit(&pair[0])? << 4 | digit(&pair[1])?);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(pair).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_digits_and_nothing_else_is_read() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes)), Some(bytes));
        assert_eq!(decode(""), Some(Vec::new()));
        for bad in ["0", "0g", "é", "+a", "-1", " 1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
