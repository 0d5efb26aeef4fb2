//! The ways to other hosts, as the programs know them: what is to be around a path's packets, and whose frames come in.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use aya::programs::{ProgramFd, SchedClassifier};

use super::layout::{self, ANY_NETWORK};
use super::{Fast, FastError};
use crate::cache::Path;
use crate::elsewhere::{Label, Tunnel, WireChange};
use crate::port::PortSlot;
use crate::sys::bpf::{SharedArray, Side, attach_tcx};

/// Most hosts, and different frames of theirs: hosts times VPCs times the few tags that there are.
pub(super) const WIRES: u32 = 65_536;

/// What stands at the VXLAN device.
pub(super) struct Tunnels {
    programs: [(ProgramFd, Side); 2],
    tunnels: SharedArray,
    own: SharedArray,
    wires: Option<HashMap<MapData, layout::Label, u32>>,
    /// Where they stand, and what holds the one at egress; the other one is among the ports'.
    standing: Option<(Tunnel, OwnedFd)>,
}

impl Tunnels {
    /// Has the kernel take the programs.
    pub(super) fn programs(ebpf: &mut Ebpf) -> Result<[(ProgramFd, Side); 2], FastError> {
        let mut load = |name, side| {
            let program: &mut SchedClassifier = ebpf
                .program_mut(name)
                .ok_or(FastError::Missing("program for the VXLAN device"))?
                .try_into()?;
            program.load()?;
            Ok::<_, FastError>((program.fd()?.try_clone().map_err(FastError::Share)?, side))
        };
        Ok([
            load("wire_ingress", Side::Ingress)?,
            load("wire_egress", Side::Egress)?,
        ])
    }

    pub(super) fn new(programs: [(ProgramFd, Side); 2], tunnels: SharedArray, own: SharedArray) -> Tunnels {
        Tunnels {
            programs,
            tunnels,
            own,
            wires: None,
            standing: None,
        }
    }

    pub(super) fn with_wires(mut self, wires: Map) -> Result<Tunnels, FastError> {
        self.wires = Some(HashMap::try_from(wires)?);
        Ok(self)
    }

    /// Says what is to be around a path's packets, if it leads to another host. To be called before the path is there.
    pub(super) fn set(&self, number: u32, version: u32, path: &Path) {
        let (Some(label), Some((tunnel, _))) = (&path.tunnel, &self.standing) else {
            return;
        };
        self.tunnels.set_words(
            number as usize,
            &words(&layout::Tunnel {
                version,
                ifindex: path.ifindex,
                host: Label::words(label.host),
                own: own_address(tunnel, label.host),
                network: label.network.number(),
                tag: label.tag,
                v6: u16::from(label.host.is_ipv6()),
            }),
        );
    }

    /// Says whose frames are looked at; false if there is no room.
    pub(super) fn follow(&mut self, change: &WireChange) -> bool {
        let Some(wires) = &mut self.wires else {
            return false;
        };
        let key = |host: IpAddr, network, tag| layout::Label {
            host: Label::words(host),
            network,
            tag,
            v6: u16::from(host.is_ipv6()),
        };
        let (key, slot) = match change {
            WireChange::Host(host, is_one) => (key(*host, ANY_NETWORK, 0), is_one.then_some(PortSlot(0))),
            WireChange::Wire(label, slot) => (key(label.host, label.network.number(), label.tag), *slot),
        };
        match slot {
            Some(slot) => wires.insert(key, slot.0.wrapping_add(1), 0).is_ok(),
            None => {
                let _ = wires.remove(&key);
                true
            }
        }
    }
}

/// This host's address, where it is of the other's family; else the kernel chooses one.
fn own_address(tunnel: &Tunnel, host: IpAddr) -> [u32; 4] {
    if tunnel.address.is_ipv4() == host.is_ipv4() {
        Label::words(tunnel.address)
    } else {
        [0; 4]
    }
}

fn words(tunnel: &layout::Tunnel) -> [u32; 12] {
    let mut words = [0; 12];
    (words[0], words[1]) = (tunnel.version, tunnel.ifindex);
    words[2..6].copy_from_slice(&tunnel.host);
    words[6..10].copy_from_slice(&tunnel.own);
    words[10] = tunnel.network;
    let ([a, b], [c, d]) = (tunnel.tag.to_ne_bytes(), tunnel.v6.to_ne_bytes());
    words[11] = u32::from_ne_bytes([a, b, c, d]);
    words
}

impl Fast {
    /// Has the programs stand at the VXLAN device, and nowhere else.
    pub(crate) fn tunnel(&mut self, tunnel: Option<&Tunnel>) -> io::Result<()> {
        let same = |old: &Tunnel| tunnel.is_some_and(|new| new.ifindex == old.ifindex);
        if let Some((old, _)) = self.tunnels.standing.take_if(|(old, _)| !same(old)) {
            self.ports.set_word(old.ifindex as usize, 0);
            self.links.remove(&old.ifindex);
            self.refusals.remove(&old.ifindex);
        }
        let Some(tunnel) = tunnel else {
            return Ok(());
        };
        self.tunnels.own.set_words(
            0,
            &words(&layout::Tunnel {
                own: Label::words(tunnel.address),
                ..layout::Tunnel::default()
            }),
        );
        if let Some((standing, _)) = &mut self.tunnels.standing {
            *standing = *tunnel;
            return Ok(());
        }
        let ifindex = tunnel.ifindex;
        for nth in 0..size_of::<layout::Port>() / 4 {
            self.ports.set_nth_word(ifindex as usize, nth, 0);
        }
        let programs = &self.tunnels.programs;
        let [ingress, egress] = self.there(|| {
            let [ingress, egress] = programs;
            let attach = |(program, side): &(ProgramFd, Side)| attach_tcx(program.as_fd(), ifindex, *side);
            Ok([attach(ingress)?, attach(egress)?])
        })?;
        self.links.insert(ifindex, ingress);
        self.tunnels.standing = Some((*tunnel, egress));
        Ok(())
    }

    /// The programs at the VXLAN device: at ingress, at egress.
    #[cfg(test)]
    pub(super) fn tunnel_programs(&self) -> (std::os::fd::BorrowedFd<'_>, std::os::fd::BorrowedFd<'_>) {
        let [(ingress, _), (egress, _)] = &self.tunnels.programs;
        (ingress.as_fd(), egress.as_fd())
    }

    /// What holds the programs at the VXLAN device, once more.
    pub(crate) fn tunnel_links(&self) -> io::Result<Vec<OwnedFd>> {
        let Some((tunnel, egress)) = &self.tunnels.standing else {
            return Ok(Vec::new());
        };
        let ingress = self.link(tunnel.ifindex)?;
        Ok(ingress.into_iter().chain([egress.try_clone()?]).collect())
    }
}
