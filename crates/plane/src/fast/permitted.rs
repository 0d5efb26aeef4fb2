//! Who may load the program.

use super::FastError;

/// Whether the kernel would take the program from this process at all: to be asked before anything is started for it.
///
/// # Errors
/// [`FastError::NotPermitted`].
pub fn permitted() -> Result<(), FastError> {
    if may_load() {
        Ok(())
    } else {
        Err(FastError::NotPermitted)
    }
}

/// Whether the kernel lets this process make a map of a kind that it never lets ordinary users make.
fn may_load() -> bool {
    aya::sys::is_map_supported(aya::maps::MapType::LruHash).unwrap_or(false)
}
