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

/// How long the other side may take nothing at all: its disk may be slow, and it reads on when that is done.
const TAKEN: Duration = Duration::from_secs(60);

/// Writes a line, or part of one.
///
/// # Errors
/// The connection's; `TimedOut` when the other side took nothing for a minute.
pub(crate) async fn write<W: AsyncWrite + Unpin>(to: &mut W, line: &[u8]) -> io::Result<()> {
    write_within(to, line, TAKEN).await
}

/// Likewise, to one that may take nothing for `patience`.
async fn write_within<W: AsyncWrite + Unpin>(to: &mut W, line: &[u8], patience: Duration) -> io::Result<()> {
    let full = |_| {
        let said = format!("nothing was taken for {} s", patience.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, said)
    };
    let mut left = line;
    while !left.is_empty() {
        let taken = tokio::time::timeout(patience, to.write(left))
            .await
            .map_err(full)??;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        left = left.get(taken..).unwrap_or_default();
    }
    tokio::time::timeout(patience, to.flush()).await.map_err(full)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, BufReader};

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
    async fn who_takes_nothing_is_gone_and_who_takes_some_is_not() {
        let (mut ours, mut theirs) = tokio::io::duplex(10);
        write(&mut ours, b"0123456789").await.unwrap();
        let error = write_within(&mut ours, b"0", Duration::from_millis(1))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut taken = [0; 30];
        let (written, read) = tokio::join!(write(&mut ours, &[b'x'; 20]), theirs.read_exact(&mut taken));
        written.unwrap();
        read.unwrap();
        assert_eq!(&taken[..], b"0123456789xxxxxxxxxxxxxxxxxxxx");
    }

    #[tokio::test]
    async fn who_is_silent_is_gone() {
        let (_kept, ours) = tokio::io::duplex(10);
        let mut from = BufReader::new(ours);
        let error = next(&mut from, 1000, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
