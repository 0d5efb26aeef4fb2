//! Who connects to a shim, and what for.
use super::{Control, MAX_COMMANDS, MAX_GUESTS, Shim};
use crate::frame::Connection;
use crate::protocol::{ExecOutput, ExecRequest, ShimMessage, ShimOpening};
use crate::{Error, Result, error::Trying, exec_session, run_dir};
use rustix::process::PidfdFlags;

/// A connection that has not yet said what it is for.
pub(super) struct Opening {
    pub(super) connection: Connection,
    /// Who connected.
    pid: Option<u32>,
}

impl Shim {
    pub(super) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let pid = run_dir::same_user(&stream);
            match pid.and_then(|pid| Ok((pid, Connection::new(stream)?))) {
                Ok((pid, mut connection)) => {
                    connection.fill();
                    self.openings.push(Opening {
                        connection,
                        pid: Some(pid),
                    });
                }
                Err(error) => eprintln!("shim: {error}"),
            }
        }
    }

    pub(super) fn accept_guest(&mut self) {
        while let Ok((stream, _)) = self.guest_listener.accept() {
            // Beyond the bound it is closed at once: one tenant's matter, its own.
            if self.guests.len() < MAX_GUESTS
                && let Ok(connection) = Connection::new(stream)
            {
                self.guests.push(connection);
            }
        }
    }

    /// Connections that have not yet said what they are for.
    pub(super) fn openings(&mut self) {
        for mut opening in std::mem::take(&mut self.openings) {
            match opening.connection.next::<ShimOpening>() {
                Ok(None) if opening.connection.is_open() => self.openings.push(opening),
                Ok(None) => {}
                Ok(Some(ShimOpening::Control)) => {
                    let mut connection = opening.connection;
                    connection.queue(&ShimMessage::Hello {
                        pid: std::process::id(),
                    });
                    connection.queue(&ShimMessage::Report(self.report.clone()));
                    self.next_id += 1;
                    self.controls.push(Control {
                        id: self.next_id,
                        connection,
                    });
                }
                Ok(Some(ShimOpening::Exec(request))) => {
                    if let Err(error) = self.run_command(&mut opening.connection, request) {
                        opening.connection.queue(&ExecOutput::Failed(error));
                    }
                }
                Ok(Some(ShimOpening::Machine { command })) => {
                    self.machine_opening(opening.connection, &command, opening.pid);
                }
                Err(error) => eprintln!("shim: {error}"),
            }
        }
    }

    fn run_command(&mut self, connection: &mut Connection, request: ExecRequest) -> Result<()> {
        if self.machine.is_some() {
            return Err(Error::IsMachine(self.report.id.clone()));
        }
        let Some(sandbox) = &self.sandbox else {
            return Err(Error::NotRunning(self.report.id.clone()));
        };
        if self.commands.len() >= MAX_COMMANDS {
            return Err(Error::TooMany {
                what: "commands in one instance".into(),
                have: self.commands.len(),
                most: MAX_COMMANDS,
            });
        }
        let pid = exec_session::start(connection, request, sandbox, &self.stored)?;
        let watched = rustix::process::pidfd_open(pid, PidfdFlags::empty()).trying("watch a command")?;
        self.commands.push((pid, watched));
        Ok(())
    }
}
