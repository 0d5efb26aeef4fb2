//! Cutting IPv4 super-segments into the packets that they stand for.

use std::net::IpAddr;

use super::checksum::Sum;
use super::fragment::FragmentError;
use super::frame::{ETHERNET_HEADER, Headers, Transport, tcp_flags};
use super::{bytes_at, bytes_at_mut};

/// Set by a sender that answers a mark of congestion, on one segment (RFC 3168).
const CWR: u8 = 0x80;
const PUSH: u8 = 0x08;

/// Cuts the TCP or UDP super-segment in `frame` into frames whose IP packets are at most `length` bytes: what the device
/// would have sent, with every checksum complete. They are numbered on from the super-segment's identification.
///
/// # Errors
/// [`FragmentError::NotAllowed`] for IPv6, fragments and other protocols; [`FragmentError::Mtu`] where `length` leaves no
/// room for data.
pub fn segment(frame: &[u8], headers: &Headers, length: u32) -> Result<Vec<Vec<u8>>, FragmentError> {
    let (transport_header, checksum_at) = match headers.transport {
        Transport::Tcp { header, .. } => (usize::from(header), 16),
        Transport::Udp { .. } => (8, 6),
        _ => return Err(FragmentError::NotAllowed),
    };
    if !matches!(headers.src, IpAddr::V4(_)) || headers.fragment.is_some() {
        return Err(FragmentError::NotAllowed);
    }
    let at = headers.transport_at;
    let packet = frame.get(..headers.end).ok_or(FragmentError::Truncated)?;
    let (first, data) = packet
        .split_at_checked(at + transport_header)
        .ok_or(FragmentError::Truncated)?;
    let room = (length as usize)
        .checked_sub(first.len() - ETHERNET_HEADER)
        .filter(|room| *room > 0)
        .ok_or(FragmentError::Mtu(length))?;
    let id = u16::from_be_bytes(bytes_at(first, ETHERNET_HEADER + 4).ok_or(FragmentError::Truncated)?);
    let sequence = u32::from_be_bytes(bytes_at(first, at + 4).ok_or(FragmentError::Truncated)?);
    let count = data.len().div_ceil(room).max(1);
    let mut segments = Vec::with_capacity(count);
    for n in 0..count {
        let start = n * room;
        let part = data.get(start..data.len().min(start + room)).unwrap_or_default();
        let mut cut = Vec::with_capacity(first.len() + part.len());
        cut.extend_from_slice(first);
        cut.extend_from_slice(part);
        let total = u16::try_from(cut.len() - ETHERNET_HEADER).map_err(|_| FragmentError::Mtu(length))?;
        let ip = cut.get_mut(ETHERNET_HEADER..at).ok_or(FragmentError::Truncated)?;
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip[4..6].copy_from_slice(&id.wrapping_add(n as u16).to_be_bytes());
        ip[10..12].fill(0);
        let sum = Sum::default().bytes(ip).checksum();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let tail = cut.get_mut(at..).ok_or(FragmentError::Truncated)?;
        let bytes = tail.len() as u32;
        if let Transport::Tcp { .. } = headers.transport {
            tail[4..8].copy_from_slice(&sequence.wrapping_add(start as u32).to_be_bytes());
            if n + 1 < count {
                tail[13] &= !(tcp_flags::FIN | PUSH);
            }
            if n > 0 {
                tail[13] &= !CWR;
            }
        } else {
            tail[4..6].copy_from_slice(&(bytes as u16).to_be_bytes());
        }
        tail[checksum_at..checksum_at + 2].fill(0);
        let sum = Sum::default()
            .pseudo_header(address(frame, 12)?, address(frame, 16)?, headers.protocol, bytes)
            .bytes(tail)
            .checksum();
        let sum = if sum == 0 && checksum_at == 6 { 0xffff } else { sum };
        *bytes_at_mut(tail, checksum_at).ok_or(FragmentError::Truncated)? = sum.to_be_bytes();
        segments.push(cut);
    }
    Ok(segments)
}

/// An address as it stands in the frame by now, which may have been rewritten since its headers were read.
fn address(frame: &[u8], at: usize) -> Result<IpAddr, FragmentError> {
    let bytes = bytes_at::<4>(frame, ETHERNET_HEADER + at).ok_or(FragmentError::Truncated)?;
    Ok(IpAddr::from(bytes))
}
