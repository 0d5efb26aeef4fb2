//! `atoll feed`: the daemon's control socket, for one host that joins, over standard input and output.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;

use atoll_daemon::control::client::ControlError;
use atoll_daemon::places;

use crate::Outcome;
use crate::arguments::Feed;
use crate::connection::{Connection, ConnectionError};

pub fn run(endpoint: Option<String>, arguments: Feed) -> Outcome {
    let host = arguments.host.map(|host| host.to_string());
    let socket = match Connection::new(endpoint)?.feed(host) {
        Err(ConnectionError::Control(ControlError::NotRunning { path })) => {
            let hint = match places::is_root() {
                true => "start it with `atoll serve --underlay ADDRESS`",
                false => "one that has other hosts is root's, so run `atoll feed` as root there",
            };
            return Err(format!("no atoll daemon answers at {}: {hint}", path.display()).into());
        }
        socket => socket?,
    };
    let (mut from, mut to) = (file(io::stdin().as_fd())?, socket.try_clone()?);
    std::thread::Builder::new().name("feed".into()).spawn(move || {
        let _ = hand_on(&mut from, &mut to);
        // The other host has gone; the daemon says its last word.
        let _ = to.shutdown(Shutdown::Write);
    })?;
    let handed = hand_on(&mut &socket, &mut file(io::stdout().as_fd())?);
    // Whichever side goes first, it is over.
    let _ = socket.shutdown(Shutdown::Both);
    handed?;
    Ok(ExitCode::SUCCESS)
}

/// Without the buffers that the standard library puts around it.
fn file(stream: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(stream.try_clone_to_owned()?))
}

/// What is there is handed on at once: the kernel's own copying may wait for more.
fn hand_on(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(come) => to.write_all(bytes.get(..come).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
