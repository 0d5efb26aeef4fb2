//! The shim of a machine of the person's own. There is no sandbox: it keeps the TAPs, hands them to one command at a time,
//! and has that command end when the instance ends.
use super::{Ending, Shim};
use crate::frame::Connection;
use crate::protocol::{MachineBegin, MachineEnd, MachineInput, MachineOutput};
use crate::{Error, InstanceState, MachineReport, PortSpec, Result, sys, tap};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long a client may take to tell that what it killed has ended.
pub(super) const KILLED: Duration = Duration::from_secs(10);
/// The longest command shown, in characters.
const SHOWN: usize = 100;

/// What the shim of a machine has in the place of a sandbox.
#[derive(Default)]
pub(super) struct Machine {
    /// Its TAPs stand.
    up: bool,
    pub(super) client: Option<Client>,
}

/// Who has the TAPs.
pub(super) struct Client {
    pub(super) connection: Connection,
    report: MachineReport,
    /// The command has begun, and it was not said that it ended.
    begun: bool,
    /// It was told to kill it.
    killed: bool,
}

impl Machine {
    pub(super) fn is_up(&self) -> bool {
        self.up
    }
}

impl Shim {
    /// One boot of a machine: its TAPs, and after a reboot its command once more.
    pub(super) fn boot_machine(&mut self) -> Result<()> {
        self.report.ports.clear();
        for spec in self.stored.ports.clone() {
            self.generation += 1;
            match tap::create(&spec, self.generation) {
                Ok(made) => self.report.ports.push(made),
                Err(error) => {
                    self.delete_ports();
                    return Err(error);
                }
            }
        }
        if let Some(machine) = &mut self.machine {
            machine.up = true;
        }
        let id = self.report.id.clone();
        self.console.note(&format!(
            "a machine of your own: `atoll machine {id} -- COMMAND` runs it, and its console is there"
        ));
        self.report.state = InstanceState::Running;
        if let Some(client) = self.machine.as_mut().and_then(|machine| machine.client.take()) {
            self.begin(client.connection, client.report);
        }
        self.publish()
    }

    /// A command is there that wants the TAPs.
    pub(super) fn machine_opening(&mut self, mut connection: Connection, command: &str, pid: Option<u32>) {
        // One that has just ended closed its connection before whoever waited for it went on.
        if let Some(client) = self.machine.as_mut().and_then(|machine| machine.client.as_mut()) {
            client.connection.fill();
        }
        self.machine_messages();
        let id = self.report.id.clone();
        let refusal = match &self.machine {
            None => Some(Error::NotMachine(id)),
            Some(machine) if !machine.up || self.ending.is_some() => Some(Error::NotRunning(id)),
            Some(machine) => machine.client.as_ref().map(|client| Error::MachineTaken {
                id,
                pid: client.report.pid,
                command: client.report.command.clone(),
            }),
        };
        if let Some(error) = refusal {
            connection.queue(&MachineOutput::Failed(error));
            return;
        }
        let report = MachineReport {
            pid: pid.unwrap_or_default(),
            command: command.chars().filter(|c| !c.is_control()).take(SHOWN).collect(),
        };
        self.begin(connection, report);
        if let Err(error) = self.publish() {
            eprintln!("shim: {error}");
        }
    }

    fn begin(&mut self, mut connection: Connection, report: MachineReport) {
        if let Err(error) = self.hand_over(&mut connection) {
            connection.queue(&MachineOutput::Failed(error));
            self.report.machine = None;
            return;
        }
        self.report.machine = Some(report.clone());
        if let Some(machine) = &mut self.machine {
            machine.client = Some(Client {
                connection,
                report,
                begun: true,
                killed: false,
            });
        }
    }

    fn hand_over(&mut self, connection: &mut Connection) -> Result<()> {
        let mut ports: Vec<PortSpec> = self.stored.ports.clone();
        ports.sort_by_key(|port| port.device_index);
        let taps = ports
            .iter()
            .map(|port| self.open_tap(port))
            .collect::<Result<Vec<_>>>()?;
        let id = &self.report.id;
        let descriptors: Vec<_> = taps.iter().map(AsFd::as_fd).collect();
        let begin = MachineBegin {
            id: id.clone(),
            hostname: self.stored.spec.hostname.clone(),
            user_data: self.stored.spec.user_data.clone(),
            ports,
        };
        connection.send_with(&MachineOutput::Begin(begin), &descriptors)
    }

    /// A command may have ended its TAP's persistence: whoever has the descriptor may. Then it is made again.
    fn open_tap(&mut self, spec: &PortSpec) -> Result<OwnedFd> {
        let stands =
            self.report.ports.iter().any(|port| {
                port.id == spec.id && sys::interface_index(&port.host_name) == Some(port.host_index)
            });
        if !stands {
            self.generation += 1;
            let made = tap::create(spec, self.generation)?;
            self.report.ports.retain(|port| port.id != spec.id);
            self.report.ports.push(made);
        }
        tap::open(&self.report.id, spec)
    }

    /// Hears what the client says, or that it is gone.
    pub(super) fn machine_messages(&mut self) {
        let Some(machine) = &mut self.machine else { return };
        let Some(client) = &mut machine.client else { return };
        while let Ok(Some(MachineInput::Ended)) = client.connection.next() {
            client.begun = false;
        }
        if client.connection.is_open() {
            return;
        }
        machine.client = None;
        self.report.machine = None;
        if let Err(error) = self.publish() {
            eprintln!("shim: {error}");
        }
    }

    /// Has the command asked to end.
    pub(super) fn end_machine(&mut self) {
        let why = match &self.ending {
            Some(Ending { terminate: true, .. }) => MachineEnd::Terminate,
            Some(Ending { reboot: true, .. }) => MachineEnd::Reboot,
            _ => MachineEnd::Stop,
        };
        if let Some(client) = self.machine.as_mut().and_then(|machine| machine.client.as_mut()) {
            client.connection.queue(&MachineOutput::End(why));
        }
    }

    /// Has it killed, and at the second time waits no longer; `true` if there is something to wait for.
    pub(super) fn kill_machine(&mut self) -> bool {
        let Some(machine) = &mut self.machine else {
            return false;
        };
        match &mut machine.client {
            Some(client) if !client.killed => {
                client.killed = true;
                client.connection.queue(&MachineOutput::Kill);
                true
            }
            // Without its TAPs it is harmless.
            _ => {
                machine.client = None;
                self.report.machine = None;
                false
            }
        }
    }

    /// Whether a machine that is being ended has ended.
    pub(super) fn machine_ended(&self) -> bool {
        self.ending.is_some()
            && self
                .machine
                .as_ref()
                .is_some_and(|machine| machine.client.as_ref().is_none_or(|client| !client.begun))
    }

    pub(super) fn machine_down(&mut self) {
        if let Some(machine) = &mut self.machine {
            machine.up = false;
        }
    }
}
