//! A shim's ports: made at boot, while it runs, and again when the tenant deletes one.
use super::Shim;
use crate::sandbox::{self, Sandbox};
use crate::state_dir::Stored;
use crate::{Error, PortSpec, Result, port, tap};
use std::time::Instant;

impl Shim {
    pub(super) fn connect_network(&mut self, sandbox: &Sandbox) -> Result<()> {
        port::prepare_guest(&sandbox.net, &self.fabric)?;
        self.report.ports.clear();
        for spec in &self.stored.ports {
            self.generation += 1;
            self.report
                .ports
                .push(port::create(spec, &sandbox.net, &self.fabric, self.generation)?);
        }
        self.monitor = Some(port::monitor(&sandbox.net, &self.fabric)?);
        Ok(())
    }

    pub(super) fn delete_ports(&mut self) {
        for spec in &self.stored.ports {
            if let Err(error) = port::delete(spec) {
                eprintln!("shim: {error}");
            }
        }
        self.report.ports.clear();
    }

    pub(super) fn port_at(&self, id: &str) -> Result<usize> {
        let missing = || Error::NoSuchPort {
            instance: self.report.id.clone(),
            port: id.into(),
        };
        self.stored
            .ports
            .iter()
            .position(|port| port.id == id)
            .ok_or_else(missing)
    }

    pub(super) fn create_port(&mut self, spec: PortSpec) -> Result<()> {
        let taken = self
            .stored
            .ports
            .iter()
            .any(|port| port.id == spec.id || port.device_index == spec.device_index);
        if taken {
            return Err(Error::PortExists {
                instance: self.report.id.clone(),
                port: spec.id,
                device_index: spec.device_index,
            });
        }
        let mut stored = self.stored.clone();
        stored.ports.push(spec.clone());
        crate::spec::check_ports(&stored.ports)?;
        self.generation += 1;
        let made = match (&self.sandbox, &self.machine) {
            (Some(sandbox), _) => port::create(&spec, &sandbox.net, &self.fabric, self.generation)?,
            (None, Some(machine)) if machine.is_up() => tap::create(&spec, self.generation)?,
            _ => return Err(Error::NotRunning(self.report.id.clone())),
        };
        self.report.ports.push(made);
        self.keep(stored)
    }

    pub(super) fn update_port(&mut self, spec: PortSpec) -> Result<()> {
        let at = self.port_at(&spec.id)?;
        let mut stored = self.stored.clone();
        let Some(before) = stored.ports.get_mut(at) else {
            return Ok(());
        };
        let before = std::mem::replace(before, spec.clone());
        crate::spec::check_ports(&stored.ports)?;
        if (before.mac, before.device_index) != (spec.mac, spec.device_index) {
            let expected =
                "the port's own MAC address and device index: these never change while it is attached"
                    .to_owned();
            return Err(Error::Invalid {
                what: "port".into(),
                value: spec.id,
                expected,
            });
        }
        let done = match (&self.sandbox, &self.machine) {
            (Some(sandbox), _) => port::configure(&spec, Some(&before), &sandbox.net, &self.fabric),
            (None, Some(machine)) if machine.is_up() => tap::configure(&spec),
            _ => return Err(Error::NotRunning(self.report.id.clone())),
        };
        done.map_err(port::failed(&spec))?;
        self.keep(stored)
    }

    pub(super) fn delete_port(&mut self, id: &str) -> Result<()> {
        let at = self.port_at(id)?;
        let mut stored = self.stored.clone();
        let spec = stored.ports.remove(at);
        port::delete(&spec)?;
        if let Some(sandbox) = &self.sandbox {
            // Its rules outlive an interface; with no address left, only what clears remains.
            let bare = PortSpec {
                addresses: Vec::new(),
                ..spec
            };
            let _ = port::clear_rules(&bare, &sandbox.net, &self.fabric);
        }
        self.report.ports.retain(|port| port.id != id);
        self.keep(stored)
    }

    pub(super) fn keep(&mut self, stored: Stored) -> Result<()> {
        self.state.write_spec(&stored)?;
        self.stored = stored;
        sandbox::write_network_files(&self.stored, &self.state)?;
        self.publish()
    }

    /// Makes ports again whose interface the tenant deleted.
    pub(super) fn repair(&mut self) {
        let Some(sandbox) = &self.sandbox else { return };
        self.repair_due = false;
        self.repaired = Some(Instant::now());
        let gone: Vec<PortSpec> = self
            .stored
            .ports
            .iter()
            .filter(|port| !port::stands(port))
            .cloned()
            .collect();
        for spec in &gone {
            self.generation += 1;
            match port::create(spec, &sandbox.net, &self.fabric, self.generation) {
                Ok(made) => {
                    self.report.ports.retain(|port| port.id != spec.id);
                    self.report.ports.push(made);
                    self.report.problem = None;
                }
                Err(error) => {
                    self.report.problem = Some(error.to_string());
                    self.repair_due = true;
                }
            }
        }
        if !gone.is_empty()
            && let Err(error) = self.publish()
        {
            eprintln!("shim: {error}");
        }
    }

    pub(super) fn read_monitor(&mut self) {
        let mut bytes = [0_u8; 8192];
        // What changed is not read: an overrun (ENOBUFS) loses it anyway, and looking is cheap.
        if let Some(monitor) = &self.monitor {
            while !matches!(
                rustix::io::read(monitor, &mut bytes),
                Err(rustix::io::Errno::AGAIN) | Ok(0)
            ) {}
            self.repair_due |= self.stored.ports.iter().any(|port| !port::stands(port));
        }
    }
}
