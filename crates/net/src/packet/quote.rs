//! The packet that an ICMP error quotes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frame::{Headers, Transport, has_id, is_icmp_error, protocol, skip_extensions};
use super::{Fragment, bytes_at};

/// The beginning of the packet that an ICMP error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Its source address: whoever sent the packet that failed.
    pub src: IpAddr,
    /// Its destination address.
    pub dst: IpAddr,
    /// Its protocol.
    pub protocol: u8,
    /// Its ports or ICMP identifier. The TCP flags and header length are 0 where the quotation ends before them.
    pub transport: Transport,
    /// Its place in a fragmented packet.
    pub fragment: Option<Fragment>,
    /// Where in the frame its IP header begins.
    pub network_at: usize,
    /// Where in the frame its transport header begins.
    pub transport_at: usize,
}

/// Reads what an ICMP error quotes. `None` if the packet is no ICMP error, or if it does not quote the IP header
/// and, of TCP, UDP and ICMP, the first eight bytes behind it (RFC 792), or if the quoted packet is of the other family.
pub fn quote(frame: &[u8], headers: &Headers) -> Option<Quote> {
    let Transport::Icmp { kind, .. } = headers.transport else {
        return None;
    };
    if !is_icmp_error(headers.protocol, kind) {
        return None;
    }
    let frame = frame.get(..headers.end)?;
    let at = headers.transport_at + 8;
    match headers.src {
        IpAddr::V4(_) => {
            let header = bytes_at::<20>(frame, at)?;
            let header_len = usize::from(header[0] & 0x0f) * 4;
            if header[0] >> 4 != 4 || header_len < 20 {
                return None;
            }
            let field = u16::from_be_bytes([header[6], header[7]]);
            let (offset, more) = ((field & 0x1fff) * 8, field & 0x2000 != 0);
            let fragment = (offset != 0 || more).then(|| Fragment {
                id: u32::from(u16::from_be_bytes([header[4], header[5]])),
                offset,
                more,
            });
            Some(Quote {
                src: IpAddr::V4(Ipv4Addr::new(header[12], header[13], header[14], header[15])),
                dst: IpAddr::V4(Ipv4Addr::new(header[16], header[17], header[18], header[19])),
                protocol: header[9],
                transport: transport(frame, header[9], protocol::ICMP, fragment, at + header_len)?,
                fragment,
                network_at: at,
                transport_at: at + header_len,
            })
        }
        IpAddr::V6(_) => {
            let header = bytes_at::<40>(frame, at)?;
            if header[0] >> 4 != 6 {
                return None;
            }
            let extensions = skip_extensions(frame, header[6], at + 40, frame.len()).ok()?;
            Some(Quote {
                src: IpAddr::V6(Ipv6Addr::from(bytes_at::<16>(&header, 8)?)),
                dst: IpAddr::V6(Ipv6Addr::from(bytes_at::<16>(&header, 24)?)),
                protocol: extensions.protocol,
                transport: transport(
                    frame,
                    extensions.protocol,
                    protocol::ICMPV6,
                    extensions.fragment,
                    extensions.end,
                )?,
                fragment: extensions.fragment,
                network_at: at,
                transport_at: extensions.end,
            })
        }
    }
}

fn transport(frame: &[u8], number: u8, icmp: u8, fragment: Option<Fragment>, at: usize) -> Option<Transport> {
    if fragment.is_some_and(|f| f.offset != 0) {
        return Some(Transport::LaterFragment);
    }
    if ![protocol::TCP, protocol::UDP, icmp].contains(&number) {
        // Of which there may be less than eight bytes.
        return Some(Transport::Other);
    }
    let first = bytes_at::<8>(frame, at)?;
    let (src, dst) = (
        u16::from_be_bytes([first[0], first[1]]),
        u16::from_be_bytes([first[2], first[3]]),
    );
    Some(match number {
        protocol::TCP => {
            let [offset, flags] = bytes_at::<2>(frame, at + 12).unwrap_or_default();
            Transport::Tcp {
                src,
                dst,
                flags,
                header: (offset >> 4) * 4,
            }
        }
        protocol::UDP => Transport::Udp { src, dst },
        _ => {
            let id = u16::from_be_bytes([first[4], first[5]]);
            Transport::Icmp {
                kind: first[0],
                code: first[1],
                id: has_id(icmp, first[0]).then_some(id),
            }
        }
    })
}
