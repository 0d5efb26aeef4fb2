//! Base64 with padding (RFC 4648), for `Fn::Base64` and user data.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place > chunk.len() {
                text.push('=');
            } else {
                let index = (word >> (18 - 6 * place)) & 63;
                text.push(char::from(ALPHABET.get(index as usize).copied().unwrap_or(b'=')));
            }
        }
    }
    text
}

/// Decodes text, or `None` if it is not Base64. Line ends between groups are skipped, as `base64(1)`
/// writes them.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let symbols: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    if !symbols.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(symbols.len() / 4 * 3);
    let groups = symbols.len() / 4;
    for (group, symbols) in symbols.chunks_exact(4).enumerate() {
        let padding = symbols.iter().rev().take_while(|b| **b == b'=').count();
        if padding > 2 || (padding > 0 && group + 1 != groups) {
            return None;
        }
        let mut word = 0_u32;
        for symbol in symbols.iter().take(4 - padding) {
            let index = ALPHABET.iter().position(|letter| letter == symbol)?;
            word = word << 6 | u32::try_from(index).ok()?;
        }
        word <<= 6 * padding;
        let [_, a, b, c] = word.to_be_bytes();
        bytes.extend([a, b, c].into_iter().take(3 - padding));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn the_rfc_vectors() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(super::encode(plain.as_bytes()), coded);
            assert_eq!(super::decode(coded).unwrap(), plain.as_bytes());
        }
        assert_eq!(super::decode("Zg=a"), None);
        assert_eq!(super::decode("Zg"), None);
        assert_eq!(super::decode("Z==="), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(bytes: Vec<u8>) {
            prop_assert_eq!(super::decode(&super::encode(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn decoding_never_panics(text: String) {
            let _ = super::decode(&text);
        }
    }
}
