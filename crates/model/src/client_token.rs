//! Idempotency tokens: the same token with the same request is the same request.

use serde::{Deserialize, Serialize};

/// A caller's token and what was asked with it, kept on what the request made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientToken {
    /// The token, 1 to 64 ASCII characters.
    pub token: String,
    /// A fingerprint of the request's parameters: with others, the token is refused
    /// (`IdempotentParameterMismatch`).
    pub request: u64,
}

/// Most characters of a token.
pub const MAX_TOKEN: usize = 64;

/// FNV-1a over a text: stable over versions and processes, for fingerprints and index keys; not against forgers
/// (a caller can only collide with itself).
pub fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_fnv_1a() {
        // From the function's published test vectors.
        assert_eq!(fingerprint(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fingerprint("foobar"), 0x8594_4171_f739_67e8);
    }
}
