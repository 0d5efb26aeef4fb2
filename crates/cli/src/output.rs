//! Standard output, which a reader may close at any time: `atoll status | head`.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line.
///
/// # Errors
/// The system's; that nobody reads any more is for `main` to pass over.
pub fn line(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Whether all that went wrong is that nobody reads any more.
pub fn nobody_reads(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
