//! The split law of engines: two that are joined by a wire do with every packet what one does.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::IpAddr;

use proptest::prelude::*;

use atoll_fabric::{Site, Stage};
use atoll_model::{EniId, ResourceId};

use super::*;
use crate::elsewhere::{Label, Seal, Tunnel, Vni};
use crate::frames;
use crate::world::packets::Arrived;
use crate::world::{Choices, World, for_random_cases};

/// The interface of each host's way to the other one.
const TUNNEL: u32 = 900;
const INTERNET: u32 = 800;
/// Where the gateways are.
const EDGE: usize = 0;

fn address(host: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, 1 + host as u8])
}

fn host_of(world: &World, id: EniId) -> usize {
    // A NAT gateway is where the internet is: another host would not know whom to tell of what is dropped there.
    let of_nat = world.nats.values().any(|nat| nat.eni == Some(id));
    if of_nat {
        EDGE
    } else {
        id.digits().bits() as usize % 2
    }
}

fn ifindex(id: EniId) -> u32 {
    1 + id.digits().bits() as u32
}

/// One engine for all, or one of two.
fn engine(world: &World, now: Timestamp, only: Option<usize>) -> Engine {
    let mut engine = Engine::new(Fabric::default(), Capacity::SMALL, 3, now);
    if let Some(own) = only {
        // Each its own; all else that the seed says is alike, as the ports that NAT gateways give.
        engine.elsewhere = Elsewhere::new(Seal::of(own as u64));
        engine.set_tunnel(Some(Tunnel {
            ifindex: TUNNEL,
            address: address(own),
            mtu: 65_000,
        }));
        engine.set_host(address(1 - own), true);
        if own != EDGE {
            engine.place(&[(Site::Gateways, Some(address(EDGE)))]);
        }
    }
    tell(&mut engine, &World::default(), world, only);
    if only.is_none_or(|own| own == EDGE) {
        engine.port_up(INTERNET, frames::INTERNET).unwrap();
    }
    engine
}

/// Tells an engine what has changed, and what is where.
fn tell(engine: &mut Engine, before: &World, world: &World, only: Option<usize>) {
    engine.apply(&world.delta_from(before));
    for id in before.enis.keys().filter(|id| !world.enis.contains_key(id)) {
        engine.port_down(ifindex(*id));
        engine.place(&[(Site::Interface(*id), None)]);
    }
    for id in world.enis.keys() {
        let host = host_of(world, *id);
        if let Some(own) = only {
            let there = (host != own).then(|| address(host));
            engine.place(&[(Site::Interface(*id), there)]);
        }
        let known = engine.ports.at(ifindex(*id)).is_some();
        if !known && only.is_none_or(|own| own == host) {
            engine.port_up(ifindex(*id), Attachment::Eni(*id)).unwrap();
        }
    }
    if only.is_some() {
        for vpc in world.vpcs.keys() {
            let number = Vni::new(4000 + vpc.digits().bits() as u32);
            if engine.elsewhere.network_of(*vpc) != number {
                engine.set_network(*vpc, number);
            }
        }
    }
}

fn through(engine: &mut Engine, now: Timestamp, ifindex: u32, mut data: Vec<u8>) -> Vec<(u32, Vec<u8>)> {
    let mut out = Outbox::new();
    let received = Received {
        ifindex,
        tagged: false,
        truncated: false,
        data: &mut data,
    };
    let mut batch = [received];
    engine.process(now, &mut batch, &mut out);
    let emitted = |emission| match emission {
        Emission::Received { ifindex, index } => (ifindex, batch[index].data.to_vec()),
        Emission::Made { ifindex, data } => (ifindex, data),
    };
    out.into_iter().map(emitted).collect()
}

struct Hosts {
    one: Engine,
    two: [Engine; 2],
    crossings: usize,
}

impl Hosts {
    fn new(world: &World, now: Timestamp) -> Hosts {
        Hosts {
            one: engine(world, now, None),
            two: [0, 1].map(|host| engine(world, now, Some(host))),
            crossings: 0,
        }
    }

    fn of_port(&self, ifindex: u32) -> usize {
        (0..2).find(|n| self.two[*n].ports.at(ifindex).is_some()).unwrap()
    }

    /// What comes of a frame where the two do it together.
    fn together(&mut self, now: Timestamp, ifindex: u32, data: Vec<u8>) -> Vec<(u32, Vec<u8>)> {
        let mut left = VecDeque::from([(self.of_port(ifindex), ifindex, data)]);
        let mut out = Vec::new();
        while let Some((host, ifindex, data)) = left.pop_front() {
            for (to, mut data) in through(&mut self.two[host], now, ifindex, data) {
                if to != TUNNEL {
                    out.push((to, data));
                    continue;
                }
                self.crossings += 1;
                assert!(self.crossings < 1_000_000);
                let label = Label::take(&mut data, self.two[host].seal()).unwrap();
                assert_eq!(label.host, address(1 - host));
                let came = Label {
                    host: address(host),
                    ..label
                };
                let frame = &data[Label::LENGTH..];
                let header = frame.first_chunk().unwrap();
                let seal = self.two[1 - host].seal();
                left.push_back((1 - host, TUNNEL, came.put(seal, header, &frame[vnet::LENGTH..])));
            }
        }
        out
    }

    fn stages(&self) -> (Vec<u64>, Vec<u64>) {
        let of = |engine: &Engine| {
            Stage::ALL
                .iter()
                .map(|stage| engine.counters.stage(*stage))
                .collect::<Vec<_>>()
        };
        let (a, b) = (of(&self.two[0]), of(&self.two[1]));
        (of(&self.one), a.iter().zip(&b).map(|(a, b)| a + b).collect())
    }
}

fn law(words: &[u32], steps: &[[u32; 14]], crossings: &Cell<usize>) -> Result<(), TestCaseError> {
    let mut world = World::random(&mut Choices::new(words));
    let mut now = Timestamp(1_000_000_000_000);
    let mut hosts = Hosts::new(&world, now);
    let mut arrived: Vec<Arrived> = Vec::new();
    let mut last: Option<(u32, Packet)> = None;
    for words in steps {
        let mut choices = Choices::new(words);
        let packet = match choices.below(20) {
            0 => {
                // Far from where what is known ends: an answer that is kept prolongs that a little, and each end keeps its own.
                now = now.plus_millis([1, 100, 300, 400_000][choices.below(4)]);
                hosts.one.sweep(now, 10_000);
                hosts.two.iter_mut().for_each(|host| host.sweep(now, 10_000));
                continue;
            }
            1 => {
                let before = world.clone();
                world.change(&mut choices);
                tell(&mut hosts.one, &before, &world, None);
                for (n, host) in hosts.two.iter_mut().enumerate() {
                    tell(host, &before, &world, Some(n));
                }
                continue;
            }
            2..=6 => last.map(|(_, packet)| packet),
            7..=13 => {
                let got = arrived.iter().rev().nth(choices.below(arrived.len().min(4)));
                got.and_then(|got| world.reply(got, &mut choices))
            }
            _ => world.packet(&mut choices),
        };
        let Some(mut packet) = packet else { continue };
        if !packet.is_unfragmentable() {
            // Each piece of what is cut on the way is a packet of its own behind the wire.
            packet.length = packet.length.min(1500);
        }
        let port = match packet.ingress {
            Port::Eni(id) => ifindex(id),
            Port::Internet => INTERNET,
        };
        if hosts.one.ports.at(port).is_none() || packet.src.is_ipv4() != packet.dst.is_ipv4() {
            continue;
        }
        last = Some((port, packet));
        let frame = frames::frame(&packet);
        let whole = through(&mut hosts.one, now, port, frame.clone());
        let split = hosts.together(now, port, frame);
        let (as_one, as_two) = hosts.stages();
        if as_one[Stage::RoutingLoop as usize] + as_two[Stage::RoutingLoop as usize] > 0 {
            return Ok(()); // a loop that takes a NAT port twice: its end is not the same twice
        }
        prop_assert_eq!(&split, &whole, "{:?}", packet);
        let differ = Stage::ALL.iter().zip(as_one.iter().zip(&as_two));
        let differ: Vec<_> = differ.filter(|(_, (one, two))| one != two).collect();
        prop_assert!(differ.is_empty(), "{:?} of {:?}", differ, packet);
        for (to, data) in whole {
            if let Ok(Frame::Ip(headers)) = parse(&data[vnet::LENGTH..])
                && let Some(standing) = hosts.one.ports.at(to)
                && headers.fragment.is_none()
            {
                let out = standing.attachment.port();
                arrived.push((out, frames::seen(out, &headers)));
            }
        }
    }
    for host in &hosts.two {
        let refused = (host.counters.wire_unknown, host.counters.wire_spoofed);
        prop_assert_eq!(refused, (0, 0));
    }
    crossings.set(crossings.get() + hosts.crossings);
    Ok(())
}

#[test]
fn two_engines_joined_by_a_wire_do_with_every_packet_what_one_does() {
    let crossings = Cell::new(0);
    for_random_cases(1500, 60, |words, steps| law(words, steps, &crossings));
    println!("{} frames went from host to host", crossings.get());
    assert!(crossings.get() > 1000);
}
