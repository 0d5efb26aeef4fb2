//! Processes that are on their way out: until they are gone, what they had is not free.

use std::time::{Duration, Instant};

/// Takes what `take` gives, trying again for as long as `patience` while it fails because somebody `held` it who is
/// about to let go: a process that was killed keeps its locks, addresses and sockets until the kernel has ended it.
///
/// # Errors
/// Those of `take`: at once what is not `held`, and what is `held` still at the end.
pub fn once_let_go<T, E>(
    patience: Duration,
    take: impl Fn() -> Result<T, E>,
    held: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let deadline = Instant::now() + patience;
    loop {
        match take() {
            Err(error) if held(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            taken => return taken,
        }
    }
}
