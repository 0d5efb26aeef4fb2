//! Random packets under random configurations: through a fresh walk, through an engine where every packet comes up,
//! and through the program in the kernel with an engine behind it. All of them say the same.

use std::cell::Cell;
use std::net::IpAddr;

use atoll_fabric::{L4, Packet, Port, Verdict, walk};
use atoll_net::packet::{Frame, parse, protocol, tcp_flags};

use super::*;
use crate::frames;
use crate::world::packets::{Arrived, begins};
use crate::world::{Choices, World, for_random_cases};

/// A connection, whichever way its packet goes.
type Pair = [(IpAddr, u16); 2];

fn pair(packet: &Packet) -> Pair {
    let (src, dst) = match packet.l4 {
        L4::Ports { src, dst, .. } => (src, dst),
        _ => (0, 0),
    };
    let mut pair = [(packet.src, src), (packet.dst, dst)];
    pair.sort();
    pair
}

#[derive(Default)]
struct Counts {
    by_kernel: Cell<usize>,
    to_engine: Cell<usize>,
    made: Cell<u64>,
    dropped: Cell<usize>,
}

/// Holds what was done with a packet against a fresh walk.
fn as_walked(
    twin: &Twin,
    packet: &Packet,
    verdict: &Verdict,
    forwarded: Option<&Packet>,
    offered: &Offered,
) -> Result<(), TestCaseError> {
    let Verdict::Forward(action) = verdict else {
        prop_assert!(!offered.by_kernel, "{:?} of {:?}", verdict, packet);
        return Ok(());
    };
    let Some(standing) = twin.plain.ports.named(action.out) else {
        prop_assert!(offered.out.is_empty());
        return Ok(());
    };
    prop_assert_eq!(
        offered.out.first().map(|out| out.0),
        Some(standing.ifindex),
        "{:?}",
        packet
    );
    let Ok(Frame::Ip(headers)) = parse(&offered.out[0].1[vnet::LENGTH..]) else {
        return Err(TestCaseError::fail("what was sent cannot be read"));
    };
    if packet.length <= action.mtu {
        let (got, sent) = (frames::seen(action.out, &headers), forwarded.unwrap());
        prop_assert_eq!(
            (got.src, got.dst, got.l4, got.hop_limit),
            (sent.src, sent.dst, sent.l4, sent.hop_limit)
        );
    }
    Ok(())
}

/// What cannot be compared after the kernel did something by itself: a connection whose end it saw alone is not taken
/// up, so a packet that comes late is judged as new; and of datagrams it counts how many went each way, not their order.
#[derive(Default)]
struct Apart {
    pairs: HashSet<Pair>,
    asking: HashMap<Pair, (IpAddr, bool)>,
}

impl Apart {
    fn note(&mut self, packet: &Packet) {
        let pair = pair(packet);
        match packet.l4 {
            L4::Ports { tcp_flags: flags, .. } if flags & (tcp_flags::FIN | tcp_flags::RST) != 0 => {
                self.pairs.insert(pair);
            }
            L4::Ports { .. } if packet.protocol == protocol::UDP => {
                let (first, answered) = self.asking.entry(pair).or_insert((packet.src, false));
                if *first != packet.src {
                    *answered = true;
                } else if !*answered {
                    self.pairs.insert(pair);
                }
            }
            _ => {}
        }
    }
}

/// Milliseconds; with whatever comes between them none meets a timeout, which the kernel's flows keep to 100 ms.
const PAUSES: [u64; 6] = [1_700, 17_300, 43_700, 97_900, 263_300, 517_100];

fn agree(words: &[u32], steps: &[[u32; 14]], counts: &Counts) -> Result<(), TestCaseError> {
    let mut world = World::random(&mut Choices::new(words));
    let mut ports = vec![(2, frames::INTERNET)];
    for (n, eni) in world.instance_enis().into_iter().enumerate().take(20) {
        ports.push((n as u32 + 3, Attachment::Eni(eni)));
    }
    let mut twin = Twin::new(|| world.fabric(128), &ports);
    let mut arrived: Vec<Arrived> = Vec::new();
    let mut apart = Apart::default();
    let (mut last, mut opened) = (None, None);
    for words in steps {
        let mut choices = Choices::new(words);
        twin.pass(10);
        if choices.chance(50) {
            twin.revalidate(choices.below(40));
        }
        let packet = match choices.below(24) {
            22 => {
                // What is known by then is taken up, as it is where time passes by itself.
                twin.pass(110);
                twin.pass(PAUSES[choices.below(6)]);
                continue;
            }
            23 => {
                let before = world.clone();
                world.change(&mut choices);
                twin.apply(&world.delta_from(&before));
                continue;
            }
            // The last one again, or its like from another port.
            0..=2 => last,
            3..=6 => opened.map(|packet: Packet| match packet.l4 {
                L4::Ports { dst, tcp_flags, .. } => {
                    let src = [40_002, 1023, 443, 444, 79, 81][choices.below(6)] + choices.below(3) as u16;
                    Packet {
                        l4: L4::Ports { src, dst, tcp_flags },
                        ..packet
                    }
                }
                _ => packet,
            }),
            7..=14 if !arrived.is_empty() => {
                // Mostly a conversation goes on.
                let back = if choices.chance(25) {
                    choices.below(arrived.len().min(4))
                } else {
                    0
                };
                let got = arrived.iter().rev().nth(back);
                let answer = got.and_then(|got| world.reply(got, &mut choices));
                answer.map(|packet| match packet.l4 {
                    L4::Ports {
                        src,
                        dst,
                        tcp_flags: flags,
                    } if flags & tcp_flags::ACK == 0
                        && packet.protocol == protocol::TCP
                        && choices.chance(90) =>
                    {
                        let l4 = L4::Ports {
                            src,
                            dst,
                            tcp_flags: tcp_flags::ACK,
                        };
                        Packet { l4, ..packet }
                    }
                    _ => packet,
                })
            }
            _ => world.packet(&mut choices),
        };
        let Some(mut packet) = packet else { continue };
        // No frame can say another thing.
        if packet.src.is_ipv4() != packet.dst.is_ipv4() {
            continue;
        }
        if apart.pairs.contains(&pair(&packet)) || (packet.quote.is_some() && !apart.pairs.is_empty()) {
            continue;
        }
        packet.length = packet.length.min(2000);
        let Some(standing) = twin.plain.ports.named(packet.ingress).copied() else {
            continue;
        };
        last = Some(packet);
        if begins(&packet) && packet.fragment.is_none() && packet.quote.is_none() {
            opened = Some(packet);
        }
        let data = frames::frame(&packet);
        if packet.quote.is_some() {
            packet.length = (data.len() - vnet::LENGTH - 14) as u32;
        }
        let Engine { fabric, flows, .. } = &twin.plain;
        if packet.ingress == Port::Internet {
            (packet.src_mac, packet.dst_mac) = (frames::STATION, frames::ROUTER);
        }
        let fresh = walk(fabric, flows, &packet, twin.now, &mut ());
        let offered = twin.offer(standing.ifindex, &data)?;
        // A later fragment has what its first one said.
        if packet.fragment.is_none() {
            as_walked(
                &twin,
                &packet,
                &fresh.verdict,
                fresh.forwarded(&packet).as_ref(),
                &offered,
            )?;
        }
        let got = match &offered.out[..] {
            [(ifindex, data)] => {
                let to = twin.plain.ports.at(*ifindex).unwrap().attachment.port();
                match parse(&data[vnet::LENGTH..]) {
                    Ok(Frame::Ip(headers)) if headers.fragment.is_none() => {
                        Some((to, frames::seen(to, &headers)))
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        if offered.by_kernel {
            counts.by_kernel.set(counts.by_kernel.get() + 1);
            apart.note(&packet);
            if let Some((_, got)) = &got {
                apart.note(got);
            }
        } else {
            counts.to_engine.set(counts.to_engine.get() + 1);
        }
        arrived.extend(got);
    }
    counts.dropped.set(counts.dropped.get() + twin.dropped);
    counts.made.set(counts.made.get() + twin.fast.counters().made);
    Ok(())
}

/// `ATOLL_FUZZ_CASES` makes it longer, `ATOLL_SEED` repeats it.
#[test]
fn walk_engine_and_program_agree_about_generated_packets() {
    if !machine(24) {
        return;
    }
    let cases = std::env::var("ATOLL_FUZZ_CASES")
        .ok()
        .and_then(|n| n.parse().ok());
    let counts = Counts::default();
    for_random_cases(cases.unwrap_or(25), 300, |words, steps| {
        agree(words, steps, &counts)
    });
    let (by_kernel, made) = (counts.by_kernel.get(), counts.made.get());
    println!(
        "{by_kernel} packets forwarded by the program, {made} of them openings; {} dropped there; the engine had {}",
        counts.dropped.get(),
        counts.to_engine.get() - counts.dropped.get()
    );
    assert!(by_kernel > 50 && made > 3);
}
