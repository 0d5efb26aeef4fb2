//! Asking a daemon over its control socket. Blocking: the command line has nothing else to do meanwhile.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{MAX_REPLY, Reply, Request};

/// Longer than anything that is asked takes: `down --all` waits for instances to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens at the socket.
    #[error("no atoll daemon answers at {}: start one with `atoll serve` or `atoll up`", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The conversation broke off.
    #[error("the atoll daemon at {} broke off: {why}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// The daemon answered that it cannot.
    #[error("{0}")]
    Refused(String),
}

/// Asks one question.
///
/// # Errors
/// When nobody answers, or the answer is that it cannot be done.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply, ControlError> {
    match talk(connect(socket)?, request) {
        Ok(Reply::Error { message }) => Err(ControlError::Refused(message)),
        Ok(reply) => Ok(reply),
        Err(error) => Err(ControlError::Broken {
            path: socket.to_path_buf(),
            why: error.to_string(),
        }),
    }
}

/// A connection for another host, which is to ask [`Request::Follow`] on it and nothing else; with `host` it may join by that
/// name alone.
///
/// # Errors
/// When nobody answers.
pub fn feed(socket: &Path, host: Option<String>) -> Result<UnixStream, ControlError> {
    let mut stream = connect(socket)?;
    let asked = serde_json::to_vec(&Request::Feed { host }).map_err(io::Error::from);
    let asked = asked.and_then(|mut line| {
        line.push(b'\n');
        stream.write_all(&line)
    });
    asked.map(|()| stream).map_err(|error| ControlError::Broken {
        path: socket.to_path_buf(),
        why: error.to_string(),
    })
}

fn connect(socket: &Path) -> Result<UnixStream, ControlError> {
    UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning {
            path: socket.to_path_buf(),
        },
        _ => ControlError::Broken {
            path: socket.to_path_buf(),
            why: error.to_string(),
        },
    })
}

fn talk(mut stream: UnixStream, request: &Request) -> io::Result<Reply> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_REPLY)).read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&answer)?)
}
