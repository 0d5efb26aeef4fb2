//! The outer side of `exec`: runs a command inside an instance as if it ran here.
use crate::frame::{self, Connection};
use crate::protocol::{ExecInput, ExecOutput, ExecRequest, ShimOpening};
use crate::{Error, Result, error::Trying, run_dir, sys};
use rustix::event::{PollFd, PollFlags};
use rustix::termios::{OptionalActions, Termios, Winsize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// How to run a command.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Variables beside the instance's own.
    pub env: Vec<(String, String)>,
    /// Where; `/root` if not said.
    pub cwd: Option<String>,
}

/// Runs `argv` in the instance whose shim listens at `socket` ([`crate::Host::exec_socket`]), with this process's standard input, output and error.
/// If both input and output are terminals, the command gets a terminal of the sandbox's own, relayed in raw mode. Signals are passed on.
/// Returns the exit status, or 128 + the signal that ended it. The process should have one thread: signals are blocked in the calling one.
///
/// # Errors
/// [`Error::NotRunning`] when nothing listens there; what the shim refused.
pub fn run(socket: &Path, argv: &[String], options: &Options) -> Result<i32> {
    let mut connection = Connection::new(run_dir::connect_shim(socket)?)?;
    let (input, output, errors) = (
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    );
    let terminal = rustix::termios::isatty(input) && rustix::termios::isatty(output);
    let size = if terminal {
        rustix::termios::tcgetwinsize(input).ok()
    } else {
        None
    };
    let mut env = options.env.clone();
    if let Ok(term) = std::env::var("TERM")
        && terminal
    {
        env.insert(0, ("TERM".into(), term));
    }
    let request = ExecRequest {
        argv: argv.to_vec(),
        env,
        cwd: options.cwd.clone(),
        terminal: terminal.then(|| size.map_or((24, 80), |size| (size.ws_row, size.ws_col))),
    };
    let descriptors: &[BorrowedFd<'_>] = if terminal { &[] } else { &[input, output, errors] };
    let mut signals = sys::FORWARDED.to_vec();
    signals.push(libc::SIGWINCH);
    sys::block(&signals);
    let caught = sys::signal_descriptor(&signals)?;
    connection.send_with(&ShimOpening::Exec(request), descriptors)?;
    let done = follow(&mut connection, &caught);
    sys::block(&[]);
    done
}

/// Puts the terminal back as it was.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Self> {
        let before =
            rustix::termios::tcgetattr(rustix::stdio::stdin()).trying("ask for the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)
            .trying("set the terminal's mode")?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.0);
    }
}

fn follow(connection: &mut Connection, caught: &OwnedFd) -> Result<i32> {
    let mut outer: Option<OwnedFd> = None;
    let mut raw = None;
    let mut input_open = true;
    let mut finished = None;
    loop {
        while let Some(said) = connection.next::<ExecOutput>()? {
            match said {
                ExecOutput::Terminal => {
                    outer = connection.take_descriptor();
                    raw = Some(Raw::enter()?);
                }
                ExecOutput::Exited(code) => finished = Some(Ok(code)),
                ExecOutput::Failed(error) => finished = Some(Err(error)),
            }
        }
        if let Some(result) = finished {
            // What the command last wrote is still in its terminal.
            while let Some(terminal) = &outer {
                let mut polled = [PollFd::new(terminal, PollFlags::IN)];
                if frame::poll(&mut polled, Some(std::time::Duration::ZERO))? == 0
                    || !copy(terminal.as_fd(), rustix::stdio::stdout())?
                {
                    break;
                }
            }
            drop(raw);
            return result;
        }
        if !connection.is_open() {
            return Err(Error::Protocol(
                "the instance ended while the command ran, or belongs to another user".into(),
            ));
        }
        let (mut from_outer, mut from_input) = (false, false);
        {
            let mut polled = vec![
                PollFd::new(&*connection, PollFlags::IN),
                PollFd::new(caught, PollFlags::IN),
            ];
            if let Some(outer) = &outer {
                polled.push(PollFd::new(outer, PollFlags::IN));
                if input_open {
                    polled.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
                }
            }
            frame::poll(&mut polled, None)?;
            if let Some(polled) = polled.get(2) {
                from_outer = !polled.revents().is_empty();
            }
            if let Some(polled) = polled.get(3) {
                from_input = !polled.revents().is_empty();
            }
        }
        while let Some(signal) = sys::next_signal(caught) {
            if signal != libc::SIGWINCH {
                connection.queue(&ExecInput::Signal(signal));
            } else if let (Some(outer), Ok(size)) =
                (&outer, rustix::termios::tcgetwinsize(rustix::stdio::stdin()))
            {
                let size = Winsize {
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                    ..size
                };
                let _ = rustix::termios::tcsetwinsize(outer, size);
            }
        }
        if let Some(terminal) = &outer {
            if from_input {
                input_open = copy(rustix::stdio::stdin(), terminal.as_fd())?;
            }
            if from_outer && !copy(terminal.as_fd(), rustix::stdio::stdout())? {
                // Every inner end is closed: only the exit status is still to come.
                outer = None;
            }
        }
        connection.fill();
    }
}

/// Copies what is there; `false` at the end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<bool> {
    let mut bytes = [0_u8; 8192];
    let length = match rustix::io::read(from, &mut bytes) {
        Ok(0) | Err(rustix::io::Errno::IO) => return Ok(false),
        Ok(length) => length,
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(true),
        Err(error) => return Err(Error::io("read from the terminal", error)),
    };
    let mut rest = bytes.get(..length).unwrap_or_default();
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                frame::poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None)?;
            }
            Err(rustix::io::Errno::IO) => return Ok(false),
            Err(error) => return Err(Error::io("write to the terminal", error)),
        }
    }
    Ok(true)
}
