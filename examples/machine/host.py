#!/usr/bin/env python3
"""A machine in a page: answers ARP, neighbour discovery, ping and UDP (with what it got) on each of its TAPs.

    atoll machine INSTANCE -- python3 examples/machine/host.py

It shows what a command of `atoll machine` has: a descriptor for each interface, from which a read takes one frame and to
which a write gives one, behind a header of ten bytes (struct virtio_net_hdr). All zeros there mean: nothing is left to be
done. Since this one never says that it takes more (TUNSETOFFLOAD), nothing else comes.
"""
import ipaddress
import os
import select

HEADER = 10
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
ICMP, UDP, ICMPV6 = 1, 17, 58


def checksum(data):
    data = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


class Interface:
    def __init__(self, index):
        say = lambda name: os.environ.get(f"ATOLL_TAP{index}_{name}", "")
        self.tap = int(say("FD"))
        self.mac = bytes.fromhex(say("MAC").replace(":", ""))
        self.addresses = {
            ipaddress.ip_interface(text).ip.packed for text in (say("ADDRESSES") + " " + say("ADDRESSES6")).split()
        }

    def take(self):
        frame = os.read(self.tap, 70_000)[HEADER:]
        kind, packet = int.from_bytes(frame[12:14], "big"), frame[14:]
        answer = {ARP: self.arp, IPV4: self.ipv4, IPV6: self.ipv6}.get(kind, lambda _: None)(packet)
        if answer:
            os.write(self.tap, bytes(HEADER) + frame[6:12] + self.mac + frame[12:14] + answer)

    def arp(self, packet):
        asks, whose = packet[6:8] == b"\0\1", packet[24:28]
        if asks and whose in self.addresses:
            return packet[:7] + b"\2" + self.mac + whose + packet[8:18]

    def ipv4(self, packet):
        header, source, destination = packet[: (packet[0] & 15) * 4], packet[12:16], packet[16:20]
        # What is in pieces, or not for this host, is not answered.
        if destination not in self.addresses or int.from_bytes(packet[6:8], "big") & 0x3FFF:
            return None
        data = packet[len(header) : int.from_bytes(packet[2:4], "big")]
        answer = self.payload(header[9], data, destination, source)
        if answer:
            start = bytes([0x45, 0]) + (20 + len(answer)).to_bytes(2, "big") + b"\0\0\x40\0\x40" + header[9:10]
            ends = destination + source
            return start + checksum(start + b"\0\0" + ends).to_bytes(2, "big") + ends + answer

    def ipv6(self, packet):
        protocol, source, destination = packet[6], packet[8:24], packet[24:40]
        data = packet[40 : 40 + int.from_bytes(packet[4:6], "big")]
        if protocol == ICMPV6 and data[0] == 135 and data[8:24] in self.addresses:
            # Solicited, overrides; with this host's MAC address as the option of the target.
            whose = data[8:24]
            answer, destination = b"\x88\0\0\0\x60\0\0\0" + whose + b"\2\1" + self.mac, whose
            answer = self.summed(answer, 2, ICMPV6, whose, source)
        elif destination in self.addresses:
            answer = self.payload(protocol, data, destination, source)
        else:
            return None
        if answer:
            return b"\x60\0\0\0" + len(answer).to_bytes(2, "big") + bytes([protocol, 255]) + destination + source + answer

    def payload(self, protocol, data, own, peer):
        """The answer to a payload, if there is one."""
        if protocol == ICMP and data[0] == 8:
            answer = b"\0\0\0\0" + data[4:]
            return answer[:2] + checksum(answer).to_bytes(2, "big") + answer[4:]
        if protocol == ICMPV6 and data[0] == 128:
            return self.summed(b"\x81\0\0\0" + data[4:], 2, protocol, own, peer)
        if protocol == UDP:
            answer = data[2:4] + data[0:2] + data[4:6] + b"\0\0" + data[8:]
            return self.summed(answer, 6, protocol, own, peer)

    def summed(self, data, at, protocol, source, destination):
        """With the checksum over the pseudo-header, which UDP and all of ICMPv6 have, put in."""
        pseudo = source + destination + len(data).to_bytes(4, "big") + protocol.to_bytes(4, "big")
        value = checksum(pseudo + data) or 0xFFFF
        return data[:at] + value.to_bytes(2, "big") + data[at + 2 :]


interfaces = [Interface(index) for index in os.environ["ATOLL_TAPS"].split()]
print("ready", flush=True)
poller = select.poll()
by_tap = {interface.tap: interface for interface in interfaces}
for tap in by_tap:
    poller.register(tap, select.POLLIN)
while by_tap:
    for tap, _ in poller.poll():
        try:
            by_tap[tap].take()
        except BlockingIOError:
            pass
        except OSError:
            # The interface was detached.
            poller.unregister(tap)
            del by_tap[tap]
