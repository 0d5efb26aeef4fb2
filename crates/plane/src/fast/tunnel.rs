//! The ways to other hosts, as the programs know them: what is to be around a path's packets, and whose frames come in.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use aya::programs::{ProgramFd, SchedClassifier, loaded_programs};

use super::layout::{self, ANY_NETWORK};
use super::{Fast, FastError, INTERFACES};
use crate::cache::Path;
use crate::elsewhere::{Label, Seal, Tunnel, WireChange};
use crate::engine::Share;
use crate::sys::bpf::{Place, SharedArray, attach_tcx, programs_at};

/// Most hosts, and different frames of theirs: hosts times VPCs times the few tags that there are.
pub(super) const WIRES: u32 = 65_536;

/// Most hosts that have a share of their own.
pub(super) const HOSTS: u32 = 4096;

/// The program at the VXLAN device that leaves packets to the engine: an earlier engine's has the same name.
const LABEL: &str = "wire_label";

/// What stands at the VXLAN device.
pub(super) struct Tunnels {
    /// At ingress the first one and the last one, and at egress.
    programs: [ProgramFd; 3],
    tunnels: SharedArray,
    own: SharedArray,
    wires: Option<HashMap<MapData, layout::Label, u32>>,
    /// Where they stand, and what holds them.
    standing: Option<(Tunnel, [OwnedFd; 3])>,
    /// The hosts by the places of their shares, the first of which is [`INTERFACES`].
    hosts: Vec<Option<IpAddr>>,
}

impl Tunnels {
    /// Has the kernel take the programs.
    pub(super) fn programs(ebpf: &mut Ebpf) -> Result<[ProgramFd; 3], FastError> {
        let mut load = |name| {
            let program: &mut SchedClassifier = ebpf
                .program_mut(name)
                .ok_or(FastError::Missing("program for the VXLAN device"))?
                .try_into()?;
            program.load()?;
            program.fd()?.try_clone().map_err(FastError::Share)
        };
        Ok([load("wire_ingress")?, load(LABEL)?, load("wire_egress")?])
    }

    pub(super) fn new(programs: [ProgramFd; 3], tunnels: SharedArray, own: SharedArray) -> Tunnels {
        Tunnels {
            programs,
            tunnels,
            own,
            wires: None,
            standing: None,
            hosts: Vec::new(),
        }
    }

    pub(super) fn with_wires(mut self, wires: Map) -> Result<Tunnels, FastError> {
        self.wires = Some(HashMap::try_from(wires)?);
        Ok(self)
    }

    /// The hosts' shares, with their places among the ports.
    pub(super) fn shares(&self) -> impl Iterator<Item = (u32, Share)> {
        let hosts = self.hosts.iter().enumerate();
        hosts.filter_map(|(nth, host)| Some((INTERFACES + nth as u32, Share::Host((*host)?))))
    }

    /// A place for a host's share; `None` if there are too many hosts.
    fn share_for(&mut self, host: IpAddr) -> Option<u32> {
        let nth = match self.hosts.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.hosts.len() >= HOSTS as usize => return None,
            None => {
                self.hosts.push(None);
                self.hosts.len() - 1
            }
        };
        *self.hosts.get_mut(nth)? = Some(host);
        Some(INTERFACES + nth as u32)
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

    fn key(host: IpAddr, network: u32, tag: u16) -> layout::Label {
        layout::Label {
            host: Label::words(host),
            network,
            tag,
            v6: u16::from(host.is_ipv6()),
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

/// Nobody's place among the ports.
fn clear(ports: &SharedArray, place: u32) {
    for nth in 0..size_of::<layout::Port>() / 4 {
        ports.set_nth_word(place as usize, nth, 0);
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
    /// Says whose frames are looked at.
    pub(super) fn wire(&mut self, change: &WireChange) {
        let tunnels = &mut self.tunnels;
        let (key, value) = match *change {
            WireChange::Host(host, true) => {
                let place = tunnels.share_for(host);
                match place {
                    Some(place) => {
                        clear(&self.ports, place);
                        self.refusals.remove(&place);
                    }
                    None => self.refused += 1,
                }
                (Tunnels::key(host, ANY_NETWORK, 0), place)
            }
            WireChange::Host(host, false) => {
                for place in tunnels.hosts.iter_mut() {
                    place.take_if(|one| *one == host);
                }
                (Tunnels::key(host, ANY_NETWORK, 0), None)
            }
            WireChange::Wire(label, slot) => (
                Tunnels::key(label.host, label.network.number(), label.tag),
                slot.map(|slot| slot.0.wrapping_add(1)),
            ),
        };
        let Some(wires) = &mut tunnels.wires else {
            return;
        };
        match value {
            Some(value) => self.refused += u64::from(wires.insert(key, value, 0).is_err()),
            None => {
                let _ = wires.remove(&key);
            }
        }
    }

    /// Whether the programs stand at another device.
    pub(crate) fn tunnels_elsewhere(&self, tunnel: Option<&Tunnel>) -> bool {
        let standing = self.tunnels.standing.as_ref();
        standing.is_some_and(|(old, _)| tunnel.is_none_or(|new| new.ifindex != old.ifindex))
    }

    /// Has the programs stand at the VXLAN device, and nowhere else.
    pub(crate) fn tunnel(&mut self, tunnel: Option<&Tunnel>, seal: Seal) -> io::Result<()> {
        if self.tunnels_elsewhere(tunnel) {
            self.tunnels.standing = None;
        }
        // With a device go the programs there, and another one may have its index.
        if let Some((old, _)) = &self.tunnels.standing {
            let ifindex = old.ifindex;
            if self.there(|| Ok(labels_at(ifindex)))?.is_none() {
                self.tunnels.standing = None;
            }
        }
        let Some(tunnel) = tunnel else {
            return Ok(());
        };
        if tunnel.ifindex >= INTERFACES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the interface's index is too high",
            ));
        }
        let own = Label::words(tunnel.address);
        let [low, high] = seal.words();
        let v6 = u32::from(tunnel.address.is_ipv6());
        self.tunnels
            .own
            .set_words(0, &[own[0], own[1], own[2], own[3], v6, low, high]);
        if let Some((standing, _)) = &mut self.tunnels.standing {
            *standing = *tunnel;
            return Ok(());
        }
        let ifindex = tunnel.ifindex;
        clear(&self.ports, ifindex);
        let programs = &self.tunnels.programs;
        let links = self.there(|| {
            let [first, last, egress] = programs;
            let attach = |program: &ProgramFd, place| attach_tcx(program.as_fd(), ifindex, place);
            // What an earlier engine's program leaves to its engine is this one's: it is labelled here.
            let before = labels_at(ifindex).and_then(|id| attach(last, Place::Before(id)).ok());
            let last = match before {
                Some(link) => link,
                None => attach(last, Place::Last)?,
            };
            Ok([attach(first, Place::First)?, last, attach(egress, Place::Egress)?])
        })?;
        self.tunnels.standing = Some((*tunnel, links));
        Ok(())
    }

    /// The programs at the VXLAN device: at ingress the first and the last one, at egress.
    #[cfg(test)]
    pub(super) fn tunnel_programs(&self) -> [std::os::fd::BorrowedFd<'_>; 3] {
        self.tunnels.programs.each_ref().map(AsFd::as_fd)
    }

    /// What holds the programs at the VXLAN device, once more.
    pub(crate) fn tunnel_links(&self) -> io::Result<Vec<OwnedFd>> {
        let Some((_, links)) = &self.tunnels.standing else {
            return Ok(Vec::new());
        };
        links.iter().map(OwnedFd::try_clone).collect()
    }
}

/// The id of the first program that labels what comes in at an interface, if there is one.
fn labels_at(ifindex: u32) -> Option<u32> {
    let standing = programs_at(ifindex).ok()?;
    let labelling: Vec<u32> = loaded_programs()
        .filter_map(Result::ok)
        .filter(|program| standing.contains(&program.id()) && program.name() == LABEL.as_bytes())
        .map(|program| program.id())
        .collect();
    standing.into_iter().find(|id| labelling.contains(id))
}
