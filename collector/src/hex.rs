//! Bytes as hexadecimal text, for JSON.

/// Lower-case digits, two a byte.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`encode`] writes; `None` for any other text.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let digits = |pair| std::str::from_utf8(pair).ok();
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(digits(pair)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_text_and_nothing_else_is_read() {
        assert_eq!(decode(&encode(&[0, 7, 255])), Some(vec![0, 7, 255]));
        assert_eq!((decode("0"), decode("0g"), decode("é")), (None, None, None));
    }
}
