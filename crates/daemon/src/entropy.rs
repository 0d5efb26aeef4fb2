//! The clock and the random numbers, which the rooms that decide are given as arguments.

use std::time::{SystemTime, UNIX_EPOCH};

use atoll_model::{AccountId, Timestamp};
use atoll_region::{Context, Error};

/// Now.
pub fn now() -> Timestamp {
    timestamp(SystemTime::now())
}

/// A time of the system's.
pub fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Random bytes from the kernel.
///
/// # Errors
/// When the kernel has none, which no supported one does after boot.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// A command's context: this account, now, a fresh seed.
///
/// # Errors
/// `InternalError` when there are no random bytes.
pub fn context(account: AccountId) -> Result<Context, Error> {
    let seed = random().map_err(|e| Error::internal(format!("no random bytes: {e}")))?;
    Ok(Context {
        account,
        now: now(),
        seed: u64::from_ne_bytes(seed),
    })
}
