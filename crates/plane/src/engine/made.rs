//! Flows that the kernel made by decisions, and what the engine does about them.
//!
//! What lives a tenth of a second is taken up: its packets are walked as if they had come up, and so tracked. Most
//! short connections are over before, and cost the engine nothing. Until then the engine does not know them, so whatever
//! needs to know takes them up first: a packet that belongs to one or speaks about one, and whoever asks for what is known.
//!
//! A change of configuration does not: it is obeyed at once, however many there are. Where the rules are not those any more
//! by which the kernel made a flow, it is not walked, but known as its decision has said ([`Course`](atoll_fabric::Course)).
//!
//! Flows have numbers, counted up and wrapping. The kernel ends those itself that say RST, or of which both sides have acknowledged
//! the other's FIN. Those that have said FIN both ways and were not seen to acknowledge it end here, when their last packets had
//! time to come.

use atoll_fabric::{Effects, L4, Packet, Said, Verdict};
use atoll_model::Timestamp;
use atoll_net::Mac;
use atoll_net::packet::{protocol, tcp_flags};

use super::Engine;
use super::places::Places;
use crate::cache::Key;
use crate::port::{Attachment, PortSlot};

/// A flow that the kernel made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// What opened it.
    pub there: Key,
    /// What answers.
    pub back: Key,
    /// Number and version of the path there.
    pub there_path: (u32, u32),
    /// The same of the path back.
    pub back_path: (u32, u32),
    /// The number of the decision.
    pub decision: u32,
}

/// What the kernel has counted of a flow's direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Packets.
    pub packets: u64,
    /// The number of the flow, if the kernel made it.
    pub made: Option<u32>,
}

/// What became of a made flow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Life {
    /// When it was made, in milliseconds, wrapping.
    pub since: u32,
    /// Whether FIN was said, there and back.
    pub fin: (bool, bool),
    /// When it was said last.
    pub fin_at: u32,
    /// Whether it is no made flow any more: the kernel has ended it, or the engine has taken it.
    pub over: bool,
}

impl Life {
    fn ended(&self) -> bool {
        self.fin == (true, true)
    }
}

/// The kernel, as far as the engine asks it.
pub(crate) trait Kernel: Send {
    /// What is known there of a direction.
    fn seen(&self, key: &Key) -> Option<Seen>;
    /// The number of the next flow to be made; the first one is 1.
    fn next(&self) -> u32;
    /// At which port a made flow was opened; `None` as for [`Kernel::life`].
    fn opener(&self, sequence: u32) -> Option<PortSlot>;
    /// What became of a made flow; `None` while it is in the making, or when its place was given back.
    fn life(&self, sequence: u32) -> Option<Life>;
    /// The flow itself.
    fn made(&self, sequence: u32) -> Option<Made>;
    /// Has the kernel leave the flow's SYN, FIN and RST to the engine; what became of it until then.
    fn take(&self, sequence: u32) -> Life;
    /// Says that what was made of a flow that was taken is written down: an engine that comes after a kill has it from there.
    fn known(&self, sequence: u32);
    /// Gives the places of all flows before this one back.
    fn give_back(&self, first: u32);
    /// Takes away what stands of flows.
    fn forget(&self, keys: &[Key]);
}

/// Which made flows the engine has looked at.
pub(super) struct Fresh {
    /// The next one whose time is to come.
    next: u32,
    /// The first whose place is not given back: those between the two have ended, and linger.
    first: u32,
    /// Whether there is more to do than was done at once.
    behind: bool,
    places: Places,
}

impl Default for Fresh {
    fn default() -> Fresh {
        Fresh {
            next: 1,
            first: 1,
            behind: false,
            places: Places::default(),
        }
    }
}

/// One direction of a connection that the kernel had for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Its key.
    pub key: Key,
    /// Its source and destination MAC addresses; `None` if it comes from the internet.
    pub macs: Option<(Mac, Mac)>,
    /// Its packets.
    pub packets: u64,
    /// Whether it has said FIN.
    pub fin: bool,
}

/// How long a made flow may go unknown, in milliseconds.
const UNKNOWN: u32 = 100;
/// How long after its end a made flow's last packets may come, in milliseconds.
const LINGERING: u32 = 100;
/// How long they may come at most, counted from when it was made: who goes on saying FIN keeps its place no longer from others.
const LINGERING_MOST: u32 = 1000;
/// Most made flows that are taken up at once: packets and changes wait meanwhile, some microseconds for each.
const MOST_AT_ONCE: usize = 64;
/// Most directions of ended ones that are taken away at once: less than half a microsecond each.
const MOST_GONE: usize = 512;
/// Most made flows that are looked at at once.
const MOST_LOOKS: usize = 16_384;

impl Engine {
    /// Whether there are made flows that may want to be taken up.
    pub(crate) fn has_fresh(&self) -> bool {
        self.kernel
            .as_ref()
            .is_some_and(|kernel| kernel.next() != self.fresh.first)
    }

    /// The number of the flow that the kernel makes next.
    pub(crate) fn next_made(&self) -> u32 {
        self.kernel
            .as_ref()
            .map_or(self.fresh.first, |kernel| kernel.next())
    }

    /// Counts the places that made flows have taken.
    pub(crate) fn count_made(&mut self) {
        if let Some(kernel) = &self.kernel {
            self.fresh.places.count(&**kernel);
        }
    }

    /// How many flows may be made of what comes in at a port, until it is next asked.
    pub(crate) fn may_make(&self, slot: PortSlot) -> u32 {
        self.fresh.places.room(slot, &self.ports)
    }

    /// Whether all flows before the one with this number are known, or over.
    pub(crate) fn is_known(&self, sequence: u32) -> bool {
        (self.fresh.first.wrapping_sub(sequence) as i32) >= 0
    }

    /// Whether there are more made flows whose time has come than are taken up at once.
    pub(crate) fn is_behind(&self) -> bool {
        self.fresh.behind
    }

    /// Takes up made flows whose time has come, and forgets those that are over: so many of either.
    pub(crate) fn take_up_due(&mut self, now: Timestamp) {
        let at = now.0 as u32;
        let mut walked = 0;
        let mut looks = 0;
        self.fresh.behind = false;
        while let Some(life) = self.life(self.fresh.next) {
            if !life.over && at.wrapping_sub(life.since) < UNKNOWN {
                break;
            }
            if walked == MOST_AT_ONCE || looks == MOST_LOOKS {
                self.fresh.behind = true;
                break;
            }
            looks += 1;
            let sequence = self.fresh.next;
            self.fresh.next = sequence.wrapping_add(1);
            if !life.over && !life.ended() {
                self.take_up(now, sequence);
                walked += 1;
            }
        }
        let mut gone = Vec::new();
        let from = self.fresh.first;
        while self.fresh.first != self.fresh.next {
            let first = self.fresh.first;
            let (Some(kernel), Some(life)) = (&self.kernel, self.life(first)) else {
                break;
            };
            if !life.over {
                let lingers = at.wrapping_sub(life.fin_at) < LINGERING;
                if lingers && at.wrapping_sub(life.since) < LINGERING_MOST {
                    break;
                }
                if gone.len() >= MOST_GONE {
                    self.fresh.behind = true;
                    break;
                }
                if let Some(made) = kernel.made(first).filter(|_| !kernel.take(first).over) {
                    gone.extend([made.there, made.back]);
                }
            }
            self.fresh.places.give_back(first);
            self.fresh.first = first.wrapping_add(1);
        }
        if let Some(kernel) = &self.kernel
            && self.fresh.first != from
        {
            kernel.forget(&gone);
            kernel.give_back(self.fresh.first);
        }
    }

    /// Takes up every made flow: for whoever asks for all that is known.
    pub(crate) fn take_up_all(&mut self, now: Timestamp) {
        while self.take_up_some(now, usize::MAX) {}
    }

    /// The same of so many; whether there are more of them.
    pub(crate) fn take_up_some(&mut self, now: Timestamp, most: usize) -> bool {
        let from = self.fresh.first;
        let mut taken = 0;
        while taken < most
            && let Some(life) = self.life(self.fresh.first)
        {
            let sequence = self.fresh.first;
            self.fresh.places.give_back(sequence);
            self.fresh.first = sequence.wrapping_add(1);
            if !life.over {
                self.take_up(now, sequence);
                taken += 1;
            }
        }
        let Fresh { next, first, .. } = &mut self.fresh;
        if (next.wrapping_sub(*first) as i32) < 0 {
            *next = *first;
        }
        if let Some(kernel) = &self.kernel
            && self.fresh.first != from
        {
            kernel.give_back(self.fresh.first);
        }
        taken == most
    }

    /// Takes up what a packet belongs to, or, if it is an ICMP error, what it speaks about: the flow that it quotes, as that
    /// answers where the error comes in. One flow, however many were made: whoever sends such packets keeps nobody
    /// waiting. About a flow whose packets never came to it nobody has anything to say; its errors meet what is known.
    pub(super) fn take_up_of(&mut self, now: Timestamp, slot: PortSlot, packet: &Packet) {
        if !self.has_fresh() {
            return;
        }
        let key = match &packet.quote {
            Some(quote) => Key::of_quoted(slot, quote),
            None => Some(Key::of_packet(slot, packet)),
        };
        // The kernel makes no others.
        let key = key.filter(|key| matches!(key.protocol(), protocol::TCP | protocol::UDP));
        let seen = key.and_then(|key| self.kernel.as_ref()?.seen(&key));
        if let Some(sequence) = seen.and_then(|seen| seen.made) {
            self.take_up(now, sequence);
        }
    }

    fn life(&self, sequence: u32) -> Option<Life> {
        self.kernel.as_ref()?.life(sequence)
    }

    /// The kernel's side of it.
    #[cfg(test)]
    pub(crate) fn kernel(&self) -> Option<&dyn Kernel> {
        self.kernel.as_deref()
    }

    /// Takes a made flow and has what it was happen here, if it is one still.
    fn take_up(&mut self, now: Timestamp, sequence: u32) {
        let Some(kernel) = &self.kernel else {
            return;
        };
        let Some(made) = kernel.made(sequence) else {
            return;
        };
        let life = kernel.take(sequence);
        if life.over {
            return;
        }
        let packets = |key: &Key| kernel.seen(key).map_or(0, |seen| seen.packets);
        let counted = (packets(&made.there), packets(&made.back));
        // What is not kept by the walks below is the kernel's no more.
        self.cache.touch(&made.there);
        self.cache.touch(&made.back);
        if let Some(effects) = self.course_of(now, &made, counted, life.fin) {
            // Where there is no room, it is not known: as one that was walked then.
            self.commit(&effects, now, 0);
            self.cache.forget(&made.there);
            self.cache.forget(&made.back);
        } else {
            let way = |key: Key, (number, version), packets, fin| {
                let (path, now) = self.cache.path(number);
                let path = path.filter(|_| now == version)?;
                Some(Way {
                    key,
                    macs: path.macs,
                    packets,
                    fin,
                })
            };
            let there = way(made.there, made.there_path, counted.0, life.fin.0);
            let back = way(made.back, made.back_path, counted.1, life.fin.1);
            if let (Some(there), Some(back)) = (there, back) {
                self.relive(now, &there, &back);
            }
        }
        if let Some(kernel) = &self.kernel {
            kernel.known(sequence);
        }
    }

    /// What a made flow leaves behind as its decision has said, if the rules have changed since.
    fn course_of(
        &self,
        now: Timestamp,
        made: &Made,
        counted: (u64, u64),
        fin: (bool, bool),
    ) -> Option<Effects> {
        let ground = self.cache.ground(made.decision)?;
        if self.cache.is_grounded(ground, &self.cells) {
            return None;
        }
        let (L4::Ports { src: port, .. }, L4::Ports { dst: seen, .. }) = (made.there.l4(), made.back.l4())
        else {
            return Some(Effects::default());
        };
        let said = script(made.there.protocol(), counted, fin);
        let mapped = ground.reserved.is_none_or(|id| self.flows.is_reserved(id));
        let course = &ground.course;
        Some(course.effects(&self.flows, (port, seen), &said, mapped, now))
    }

    /// Walks the packets of a connection that a program of an earlier engine made with a port that a NAT gateway gave it.
    pub(crate) fn relive_translated(&mut self, now: Timestamp, there: &Way, back: &Way) {
        let opening = self.imagine(there, tcp_flags::SYN);
        if opening.is_some_and(|opening| self.map_again(now, &opening, &back.key)) {
            self.relive(now, there, back);
        }
    }

    /// Walks the packets of a connection as if they had come up, as far as they are let through: what answers a packet that
    /// is dropped by now has not come, and would itself begin a connection.
    pub(crate) fn relive(&mut self, now: Timestamp, there: &Way, back: &Way) {
        let (packets, fin) = ((there.packets, back.packets), (there.fin, back.fin));
        let protocol = there.key.protocol();
        // Of what has ended no answer is worth keeping.
        let ended = has_ended(protocol, packets, fin);
        for said in script(protocol, packets, fin) {
            let way = if said.back { back } else { there };
            let Some(packet) = self.imagine(way, said.flags) else {
                return;
            };
            let key = (!ended).then(|| (way.key, self.cache.hash(&way.key)));
            if let (Verdict::Drop(_), _) = self.judge(now, key, &packet, None) {
                return;
            }
        }
    }

    /// A packet of a connection as it came in, with these flags if it is one of TCP.
    fn imagine(&self, way: &Way, flags: u8) -> Option<Packet> {
        self.imagine_of(&way.key, way.macs, flags)
    }

    /// A packet of a flow as it comes in. Its MAC addresses are told by the port if it comes from the internet.
    pub(super) fn imagine_of(&self, key: &Key, macs: Option<(Mac, Mac)>, flags: u8) -> Option<Packet> {
        let standing = self.ports.get(key.slot())?;
        let (src_mac, dst_mac) = match (macs, standing.attachment) {
            (Some(macs), _) => macs,
            (None, Attachment::Internet { router, station }) => (station, router),
            (None, Attachment::Eni(_)) => return None,
        };
        let protocol = key.protocol();
        let (src, dst) = key.addresses();
        Some(Packet {
            ingress: standing.attachment.port(),
            src_mac,
            dst_mac,
            src,
            dst,
            protocol,
            l4: match key.l4() {
                L4::Ports { src, dst, .. } => L4::Ports {
                    src,
                    dst,
                    tcp_flags: if protocol == protocol::TCP { flags } else { 0 },
                },
                other => other,
            },
            hop_limit: 64,
            length: 60,
            dont_fragment: true,
            fragment: None,
            quote: None,
        })
    }
}

/// Whether a connection of which so many packets went there and back has said FIN both ways.
fn has_ended(protocol: u8, (_, back): (u64, u64), (fin, fin_back): (bool, bool)) -> bool {
    protocol == protocol::TCP && fin && fin_back && back > 0
}

/// The packets of a connection of which so many went there and back, and that has said FIN there or back, as far as what
/// is known of it depends on them.
fn script(protocol: u8, packets: (u64, u64), fin: (bool, bool)) -> Vec<Said> {
    let tcp = protocol == protocol::TCP;
    let said = |back, flags| Said {
        back,
        flags: if tcp { flags } else { 0 },
    };
    let both = tcp_flags::FIN | tcp_flags::ACK;
    let mut script = vec![said(false, tcp_flags::SYN)];
    if has_ended(protocol, packets, fin) {
        // In short: there are many of them where connections are short.
        script.extend([said(true, tcp_flags::SYN | both), said(false, both)]);
        return script;
    }
    let (there, back) = packets;
    if back > 0 {
        script.push(said(true, tcp_flags::SYN | tcp_flags::ACK));
        if there > 1 {
            script.push(said(false, tcp_flags::ACK));
            // Where only what answers is tracked, this is what makes a stream of it.
            if back > 1 {
                script.push(said(true, tcp_flags::ACK));
            }
        }
    }
    script.extend((tcp && fin.0).then(|| said(false, both)));
    script.extend((tcp && fin.1).then(|| said(true, both)));
    script
}
