//! Lines over a connection that may be slow, silent or hostile.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

/// The next line, with its end; `None` when the other side has closed. What is left of a line that was not ended is
/// none.
///
/// # Errors
/// The connection's; `TimedOut` when nothing at all came for `silence`; `InvalidData` when a line is longer than `longest`.
pub(crate) async fn next<R: AsyncBufRead + Unpin>(
    from: &mut R,
    longest: usize,
    silence: Duration,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let come = match tokio::time::timeout(silence, from.fill_buf()).await {
            Ok(come) => come?,
            Err(_) => {
                let said = format!("nothing came for {} s", silence.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, said));
            }
        };
        if come.is_empty() {
            return Ok(None);
        }
        let (taken, ended) = match come.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (come.len(), false),
        };
        if line.len() + taken > longest {
            let said = format!("a line was longer than {longest} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, said));
        }
        line.extend(come.iter().take(taken));
        from.consume(taken);
        if ended {
            return Ok(Some(line));
        }
    }
}

/// Writes a line, or part of one.
///
/// # Errors
/// The connection's.
pub(crate) async fn write<W: AsyncWrite + Unpin>(to: &mut W, line: &[u8]) -> io::Result<()> {
    to.write_all(line).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::BufReader;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn lines_come_one_by_one_and_the_rest_is_none() {
        let mut from = BufReader::with_capacity(3, &b"one\ntwo\n\nthr"[..]);
        for line in ["one\n", "two\n", "\n"] {
            assert_eq!(next(&mut from, 4, LONG).await.unwrap().unwrap(), line.as_bytes());
        }
        assert_eq!(next(&mut from, 4, LONG).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_line_that_does_not_end_is_not_kept() {
        let mut from = BufReader::new(tokio::io::repeat(b'x'));
        let error = next(&mut from, 1000, LONG).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn who_is_silent_is_gone() {
        let (_kept, ours) = tokio::io::duplex(10);
        let mut from = BufReader::new(ours);
        let error = next(&mut from, 1000, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
