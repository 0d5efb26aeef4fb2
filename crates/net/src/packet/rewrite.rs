//! Changing headers in place.

use std::net::IpAddr;

use super::checksum::{Change, Sum, TransportChecksum};
use super::frame::{ETHERNET_HEADER, Headers, Transport, protocol, tcp_flags};
use super::quote::Quote;
use super::{bytes_at, bytes_at_mut};
use crate::Mac;

/// New addresses and ports; `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rewrite {
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Source port of TCP and UDP.
    pub src_port: Option<u16>,
    /// Destination port of TCP and UDP.
    pub dst_port: Option<u16>,
    /// Identifier of an ICMP echo message.
    pub icmp_id: Option<u16>,
}

impl Rewrite {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Rewrite::default()
    }
}

/// A rewriting that does not fit the packet: an error of the caller. The packet must not be sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// An address of the other family.
    #[error("an IPv4 address cannot take the place of an IPv6 one, nor the other way round")]
    Family,
    /// The headers were read from another frame.
    #[error("the frame is shorter than its headers say")]
    Truncated,
}

/// Sets both MAC addresses.
#[inline]
pub fn set_macs(frame: &mut [u8], src: Mac, dst: Mac) -> Result<(), RewriteError> {
    let macs = bytes_at_mut::<12>(frame, 0).ok_or(RewriteError::Truncated)?;
    macs[..6].copy_from_slice(&dst.0);
    macs[6..].copy_from_slice(&src.0);
    Ok(())
}

/// Takes `by` from the hop limit, which must be greater: who calls this has judged it.
#[inline]
pub fn lower_hop_limit(frame: &mut [u8], headers: &Headers, by: u8) -> Result<(), RewriteError> {
    if by == 0 {
        return Ok(());
    }
    match headers.src {
        IpAddr::V4(_) => {
            let [ttl, number] = bytes_at::<2>(frame, ETHERNET_HEADER + 8).ok_or(RewriteError::Truncated)?;
            let new = ttl.saturating_sub(by);
            let change = Change::default().word(
                u16::from_be_bytes([ttl, number]),
                u16::from_be_bytes([new, number]),
            );
            change_checksum(frame, ETHERNET_HEADER + 10, |sum| change.on(sum))?;
            *bytes_at_mut::<1>(frame, ETHERNET_HEADER + 8).ok_or(RewriteError::Truncated)? = [new];
        }
        IpAddr::V6(_) => {
            let limit = bytes_at_mut::<1>(frame, ETHERNET_HEADER + 7).ok_or(RewriteError::Truncated)?;
            limit[0] = limit[0].saturating_sub(by);
        }
    }
    Ok(())
}

/// Applies new addresses and ports to a packet and keeps its checksums right: IPv4's header, TCP, UDP, ICMP and
/// ICMPv6. Later fragments have addresses only. Ports of a packet that has none are left out.
#[inline]
pub fn rewrite(
    frame: &mut [u8],
    headers: &Headers,
    new: &Rewrite,
    checksum: TransportChecksum,
) -> Result<(), RewriteError> {
    let addresses = write_addresses(frame, ETHERNET_HEADER, headers.src, headers.dst, new)?;
    let numbers = write_numbers(frame, headers.transport_at, headers.transport, new)?;
    change_transport_checksum(
        frame,
        headers.transport_at,
        headers.transport,
        headers.protocol,
        addresses,
        numbers,
        checksum,
    )?;
    Ok(())
}

/// Applies new addresses and ports to the packet that an ICMP error quotes: its header checksums as far as they
/// are quoted, and the error's own checksum.
pub fn rewrite_quote(
    frame: &mut [u8],
    headers: &Headers,
    quote: &Quote,
    new: &Rewrite,
    checksum: TransportChecksum,
) -> Result<(), RewriteError> {
    // The quotation may end anywhere behind its first eight transport bytes.
    let end = headers.end.min(frame.len());
    let body = frame.get_mut(..end).ok_or(RewriteError::Truncated)?;
    let before = sum_of_headers(body, quote);
    let addresses = write_addresses(body, quote.network_at, quote.src, quote.dst, new)?;
    let numbers = write_numbers(body, quote.transport_at, quote.transport, new)?;
    match change_transport_checksum(
        body,
        quote.transport_at,
        quote.transport,
        quote.protocol,
        addresses,
        numbers,
        TransportChecksum::Complete,
    ) {
        // The quoted checksum was cut off.
        Ok(()) | Err(RewriteError::Truncated) => {}
        Err(other) => return Err(other),
    }
    let after = sum_of_headers(body, quote);
    // The quotation is payload of the error: its own sum changes by the difference, unless it is only partial.
    if checksum == TransportChecksum::Complete {
        let change = Change::default().word(before, after);
        change_checksum(body, headers.transport_at + 2, |sum| change.on(sum))?;
    }
    Ok(())
}

/// Sum of the quoted bytes that a rewriting may change: the IP header and 18 bytes of the transport header.
fn sum_of_headers(body: &[u8], quote: &Quote) -> u16 {
    let end = body.len().min(quote.transport_at + 18);
    body.get(quote.network_at..end)
        .map_or(0, |bytes| Sum::default().bytes(bytes).fold())
}

/// Lowers the maximum segment size that a TCP SYN offers, to at most `mss`. A packet that is no SYN or has no
/// such option stays as it is.
pub fn clamp_mss(
    frame: &mut [u8],
    headers: &Headers,
    mss: u16,
    checksum: TransportChecksum,
) -> Result<(), RewriteError> {
    let Transport::Tcp { flags, header, .. } = headers.transport else {
        return Ok(());
    };
    if flags & tcp_flags::SYN == 0 {
        return Ok(());
    }
    let end = headers.transport_at + usize::from(header);
    let mut at = headers.transport_at + 20;
    while at < end {
        let Some([kind, length]) = bytes_at::<2>(frame, at) else {
            break;
        };
        match kind {
            0 => break,
            1 => at += 1,
            2 if length == 4 && at + 4 <= end => {
                let field = bytes_at_mut::<2>(frame, at + 2).ok_or(RewriteError::Truncated)?;
                let old = u16::from_be_bytes(*field);
                if old > mss {
                    *field = mss.to_be_bytes();
                    if checksum == TransportChecksum::Complete {
                        // An option may stand at an odd offset: then its bytes change places in the sum.
                        let change = if (at - headers.transport_at).is_multiple_of(2) {
                            Change::default().word(old, mss)
                        } else {
                            Change::default().word(old.swap_bytes(), mss.swap_bytes())
                        };
                        change_checksum(frame, headers.transport_at + 16, |sum| change.on(sum))?;
                    }
                }
                break;
            }
            _ if length < 2 => break,
            _ => at += usize::from(length),
        }
    }
    Ok(())
}

/// Finishes a partial checksum: `start` is where the sum begins, `offset` where in it the checksum stands. The
/// end of the packet is the end of the sum.
pub fn complete_checksum(
    frame: &mut [u8],
    headers: &Headers,
    start: usize,
    offset: usize,
) -> Result<(), RewriteError> {
    let segment = frame.get(start..headers.end).ok_or(RewriteError::Truncated)?;
    let sum = match Sum::default().bytes(segment).checksum() {
        // A UDP checksum of zero would mean that there is none; what stands within may be UDP's too.
        0 if headers.protocol == protocol::UDP || start != headers.transport_at => 0xffff,
        sum => sum,
    };
    *bytes_at_mut::<2>(frame, start + offset).ok_or(RewriteError::Truncated)? = sum.to_be_bytes();
    Ok(())
}

/// Finishes the CRC of an SCTP packet, which is left to the device as checksums are (RFC 9260, appendix A).
pub fn complete_crc(frame: &mut [u8], headers: &Headers) -> Result<(), RewriteError> {
    let segment = frame
        .get_mut(headers.transport_at..headers.end)
        .ok_or(RewriteError::Truncated)?;
    bytes_at_mut::<4>(segment, 8)
        .ok_or(RewriteError::Truncated)?
        .fill(0);
    let mut crc = !0u32;
    for byte in &*segment {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    *bytes_at_mut::<4>(segment, 8).ok_or(RewriteError::Truncated)? = (!crc).to_le_bytes();
    Ok(())
}

#[inline]
fn change_checksum(frame: &mut [u8], at: usize, change: impl FnOnce(u16) -> u16) -> Result<(), RewriteError> {
    let field = bytes_at_mut::<2>(frame, at).ok_or(RewriteError::Truncated)?;
    *field = change(u16::from_be_bytes(*field)).to_be_bytes();
    Ok(())
}

/// Writes new addresses into the IP header at `at`, with IPv4's header checksum.
#[inline]
fn write_addresses(
    frame: &mut [u8],
    at: usize,
    src: IpAddr,
    dst: IpAddr,
    new: &Rewrite,
) -> Result<Change, RewriteError> {
    let mut change = Change::default();
    let (src_at, dst_at) = if src.is_ipv4() { (12, 16) } else { (8, 24) };
    for (old, new, field) in [(src, new.src, src_at), (dst, new.dst, dst_at)] {
        match (old, new) {
            (_, None) => continue,
            (IpAddr::V4(_), Some(IpAddr::V4(address))) => {
                *bytes_at_mut::<4>(frame, at + field).ok_or(RewriteError::Truncated)? = address.octets();
            }
            (IpAddr::V6(_), Some(IpAddr::V6(address))) => {
                *bytes_at_mut::<16>(frame, at + field).ok_or(RewriteError::Truncated)? = address.octets();
            }
            _ => return Err(RewriteError::Family),
        }
        if let Some(new) = new {
            change = change.address(old, new);
        }
    }
    if src.is_ipv4() && (new.src.is_some() || new.dst.is_some()) {
        change_checksum(frame, at + 10, |sum| change.on(sum))?;
    }
    Ok(change)
}

/// Writes new ports or a new identifier into the transport header at `at`.
#[inline]
fn write_numbers(
    frame: &mut [u8],
    at: usize,
    transport: Transport,
    new: &Rewrite,
) -> Result<Change, RewriteError> {
    let mut change = Change::default();
    let mut write = |offset: usize, new: Option<u16>| {
        if let Some(new) = new {
            let field = bytes_at_mut::<2>(frame, at + offset).ok_or(RewriteError::Truncated)?;
            change = change.word(u16::from_be_bytes(*field), new);
            *field = new.to_be_bytes();
        }
        Ok(())
    };
    match transport {
        Transport::Tcp { .. } | Transport::Udp { .. } => {
            write(0, new.src_port)?;
            write(2, new.dst_port)?;
        }
        Transport::Icmp { id: Some(_), .. } => write(4, new.icmp_id)?,
        Transport::Icmp { id: None, .. } | Transport::Other | Transport::LaterFragment => {}
    }
    Ok(change)
}

/// Keeps the checksum of the transport header at `at` right after its pseudo header and its numbers changed.
#[inline]
fn change_transport_checksum(
    frame: &mut [u8],
    at: usize,
    transport: Transport,
    number: u8,
    addresses: Change,
    numbers: Change,
    checksum: TransportChecksum,
) -> Result<(), RewriteError> {
    let offset = match transport {
        Transport::Tcp { .. } => 16,
        Transport::Udp { .. } => 6,
        Transport::Icmp { .. } => 2,
        Transport::Other | Transport::LaterFragment => return Ok(()),
    };
    // ICMP in IPv4 has no pseudo header.
    let covered = if number == protocol::ICMP {
        Change::default()
    } else {
        addresses
    };
    change_checksum(frame, at + offset, |old| match checksum {
        TransportChecksum::Partial => covered.on_partial(old),
        // UDP over IPv4 may come without a checksum.
        TransportChecksum::Complete if number == protocol::UDP && old == 0 => 0,
        TransportChecksum::Complete => match covered.and(numbers).on(old) {
            0 if number == protocol::UDP => 0xffff,
            new => new,
        },
    })
}
