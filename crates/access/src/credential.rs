//! Access keys and their secrets.

use std::fmt;
use std::str::FromStr;

use atoll_model::AccountId;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// An access key's id: 1 to 128 letters, digits or underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessKey(String);

/// The text is not an access key's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an access key id: one has 1 to 128 letters, digits or underscores")]
pub struct AccessKeyError(String);

impl AccessKey {
    /// The key of a caller who named none, under `--auth none`.
    pub fn anonymous() -> Self {
        Self("anonymous".to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccessKey {
    type Err = AccessKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // IAM asks for 16, but AWS's own examples (AKIDEXAMPLE) and many people's test keys are shorter.
        let fits = (1..=128).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            Ok(Self(text.to_owned()))
        } else {
            Err(AccessKeyError(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret half of an access key. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(String);

impl SecretKey {
    /// A secret from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: for the signing key, and for the owner's credentials file.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// An access key with its secret and the account it acts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The account.
    pub account: AccountId,
    /// The key's public id.
    pub access_key: AccessKey,
    /// The key's secret.
    pub secret: SecretKey,
}

impl Credential {
    /// How many random bytes [`Credential::generate`] takes.
    pub const RANDOM_BYTES: usize = 40;

    /// A new long-lived key of AWS's form, `AKIA` and 16 base-32 characters with a secret of 40
    /// base-64 characters, from the caller's random bytes (80 bits for the id, 240 for the secret).
    pub fn generate(account: AccountId, random: &[u8; Self::RANDOM_BYTES]) -> Self {
        let (id, secret) = random.split_at(10);
        Self {
            account,
            access_key: AccessKey(format!("AKIA{}", digits(id, BASE32, 5))),
            secret: SecretKey(digits(secret, BASE64, 6)),
        }
    }
}

/// The bits of `bytes` in groups of `width`, each as one character of `alphabet`.
fn digits(bytes: &[u8], alphabet: &[u8], width: u32) -> String {
    let (mut text, mut bits, mut held) = (String::new(), 0u32, 0);
    for &byte in bytes {
        bits = bits << 8 | u32::from(byte);
        held += 8;
        while held >= width {
            held -= width;
            let digit = (bits >> held) as usize & (alphabet.len() - 1);
            text.extend(alphabet.get(digit).map(|&c| char::from(c)));
        }
        bits &= (1 << held) - 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_has_awss_form() {
        let made = Credential::generate(
            AccountId::DEFAULT,
            &std::array::from_fn(|n| (n as u8).wrapping_mul(7)),
        );
        let id = made.access_key.as_str();
        assert!(id.starts_with("AKIA") && id.len() == 20, "{id}");
        assert!(id.bytes().all(|b| BASE32.contains(&b)), "{id}");
        assert_eq!(made.secret.expose().len(), 40);
        assert!(made.secret.expose().bytes().all(|b| BASE64.contains(&b)));
    }

    #[test]
    fn base_32_and_64_are_rfc_4648s() {
        assert_eq!(digits(b"foobar\0\0\0\0", BASE32, 5), "MZXW6YTBOIAAAAAA");
        assert_eq!(digits(b"foobar", BASE64, 6), "Zm9vYmFy");
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let made = Credential::generate(AccountId::DEFAULT, &[9; 40]);
        assert!(!format!("{made:?}").contains(made.secret.expose()));
    }
}
