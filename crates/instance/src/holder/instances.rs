//! Instances that begin and end: what the holder does itself, before there is a shim and after.
use super::{FIRST_UID, Holder, Pending, ShimLink, UIDS, Until};
use crate::frame::Connection;
use crate::protocol::{HolderReply, NumberedCall, ShimCall, ShimOpening};
use crate::spec::{MAX_INSTANCES, check_id, check_ports};
use crate::state_dir::Stored;
use crate::{
    Change, Error, InstanceKind, InstanceReport, InstanceSpec, InstanceState, PortSpec, Result,
    error::Trying, port, run_dir, sys,
};
use rustix::process::{Pid, PidfdFlags};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

impl Holder {
    pub(super) fn known(&self, id: &str) -> Result<&InstanceReport> {
        self.reports
            .get(id)
            .ok_or_else(|| Error::NoSuchInstance(id.into()))
    }

    pub(super) fn call(&mut self, id: &str, call: ShimCall) -> Result<u64> {
        self.known(id)?;
        let shim = self
            .shims
            .get_mut(id)
            .ok_or_else(|| Error::NotRunning(id.into()))?;
        self.next += 1;
        shim.connection.queue(&NumberedCall {
            number: self.next,
            call,
        });
        Ok(self.next)
    }

    pub(super) fn launch(&mut self, spec: InstanceSpec, ports: Vec<PortSpec>) -> Result<()> {
        spec.check()?;
        check_ports(&ports)?;
        let id = spec.id.clone();
        if self.shims.contains_key(&id) {
            return Err(Error::AlreadyRunning(id));
        }
        if !self.reports.contains_key(&id) && self.reports.len() >= MAX_INSTANCES {
            return Err(Error::TooMany {
                what: "instances".into(),
                have: self.reports.len(),
                most: MAX_INSTANCES,
            });
        }
        let directory = self.state.instance(&id);
        let (uid_base, uid_count) = match directory.spec() {
            Ok(before) => (before.uid_base, before.uid_count),
            Err(_) if self.ranged => (self.free_uids(), UIDS),
            Err(_) => (0, 1),
        };
        let stored = Stored {
            spec,
            ports,
            uid_base,
            uid_count,
        };
        directory.prepare(&stored)?;
        let mut report = directory.status(&stored.spec);
        report.state = InstanceState::Starting;
        report.version += 1;
        directory.write_status(&report)?;
        self.reports.insert(id.clone(), report);
        let started = self.start_shim(&id, &stored.spec);
        if started.is_err() {
            self.cgroups.remove(&id);
            let report = self.settled(&id, &stored.spec);
            self.tell(report);
        }
        started
    }

    pub(super) fn free_uids(&self) -> u32 {
        let taken: Vec<u32> = self
            .reports
            .keys()
            .filter_map(|id| Some(self.state.instance(id).spec().ok()?.uid_base))
            .collect();
        (0..)
            .map(|slot| FIRST_UID + slot * UIDS)
            .find(|base| !taken.contains(base))
            .unwrap_or(FIRST_UID)
    }

    /// Listens, connects, and only then starts the shim: nothing that it says is missed, and its socket works at once.
    pub(super) fn start_shim(&mut self, id: &str, spec: &InstanceSpec) -> Result<()> {
        let cgroup = match spec.kind {
            // What runs as the machine is where it was started, and has what that has.
            InstanceKind::Machine => None,
            InstanceKind::Instance | InstanceKind::Internet => self.cgroups.make(id, &spec.resources)?,
        };
        let socket = self.run.shim_socket(id);
        let listener = run_dir::listen(&socket, 0o600)?;
        let mut connection = Connection::new(run_dir::connect(&socket).trying("connect to a new shim")?)?;
        connection.queue(&ShimOpening::Control);
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.state.path().join("holder.log"))
            .trying("open holder.log")?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("atoll")
            .arg("shim")
            .arg(self.state.path())
            .arg(id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(cgroup) = &cgroup {
            command.arg(cgroup.as_raw_fd().to_string());
        }
        sys::with_descriptors_in_new_session(
            &mut command,
            (listener.as_raw_fd(), crate::shim::LISTENER),
            cgroup.as_ref().map(AsRawFd::as_raw_fd),
        );
        let child = command.spawn().trying("start a shim");
        if child.is_err() {
            let _ = std::fs::remove_file(&socket);
        }
        let process = Pid::from_raw(child?.id() as i32)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        self.shims.insert(id.into(), ShimLink { connection, process });
        Ok(())
    }

    pub(super) fn terminate(&mut self, client: u64, id: String) -> Result<Option<HolderReply>> {
        check_id("instance id", &id)?;
        self.known(&id)?;
        if self.shims.contains_key(&id) {
            self.call(
                &id,
                ShimCall::Stop {
                    grace_ms: 2000,
                    terminate: true,
                },
            )?;
            self.pending.push(Pending {
                client,
                instance: id,
                until: Until::Ended,
            });
            return Ok(None);
        }
        self.forget(&id)?;
        Ok(Some(HolderReply::Done))
    }

    pub(super) fn forget(&mut self, id: &str) -> Result<()> {
        self.state.instance(id).remove()?;
        self.reports.remove(id);
        self.drop_links_of_gone_ports();
        self.broadcast(&Change::Gone(id.into()));
        Ok(())
    }

    /// Removes the TAPs that a machine's shim left when it was killed; veths go with their sandbox.
    pub(super) fn remove_taps(&self, id: &str) {
        let Ok(stored) = self.state.instance(id).spec() else {
            return;
        };
        if stored.spec.kind != InstanceKind::Machine {
            return;
        }
        for spec in &stored.ports {
            if let Err(error) = port::delete(spec) {
                eprintln!("holder: {error}");
            }
        }
    }

    pub(super) fn acknowledge(&mut self, id: &str, sequence: u64) -> Result<HolderReply> {
        let mut report = self.known(id)?.clone();
        report.signals.retain(|signal| signal.sequence > sequence);
        report.version += 1;
        self.state.instance(id).write_status(&report)?;
        self.tell(report.clone());
        Ok(HolderReply::Report(report))
    }
}
