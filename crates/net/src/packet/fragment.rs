//! Cutting IPv4 packets for a link that takes less (RFC 791).

use std::net::IpAddr;

use super::checksum::Sum;
use super::frame::{ETHERNET_HEADER, Headers};

/// Why a packet cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// IPv6, or IPv4 with "don't fragment": only its sender may cut it (semantics 129, 130).
    #[error("the packet may be fragmented by its sender only")]
    NotAllowed,
    /// The link does not take a header and eight bytes.
    #[error("an MTU of {0} bytes leaves no room for data")]
    Mtu(u32),
    /// The headers were read from another frame.
    #[error("the frame is shorter than its headers say")]
    Truncated,
}

/// Cuts the IPv4 packet in `frame` into frames whose IP packets are at most `mtu` bytes. Its checksums must be
/// complete. A packet that fits comes back as one frame.
pub fn fragment(frame: &[u8], headers: &Headers, mtu: u32) -> Result<Vec<Vec<u8>>, FragmentError> {
    let ethernet = frame.get(..ETHERNET_HEADER).ok_or(FragmentError::Truncated)?;
    let whole = frame
        .get(ETHERNET_HEADER..headers.end)
        .ok_or(FragmentError::Truncated)?;
    let room = usize::try_from(mtu).unwrap_or(usize::MAX);
    if whole.len() <= room {
        return Ok(vec![
            frame.get(..headers.end).ok_or(FragmentError::Truncated)?.to_vec(),
        ]);
    }
    if headers.dont_fragment || !matches!(headers.src, IpAddr::V4(_)) {
        return Err(FragmentError::NotAllowed);
    }
    let (first, data) = whole
        .split_at_checked(headers.transport_at - ETHERNET_HEADER)
        .ok_or(FragmentError::Truncated)?;
    let later = later_header(first);
    let (start, more) = headers
        .fragment
        .map_or((0, false), |f| (usize::from(f.offset), f.more));
    let mut pieces = Vec::with_capacity(whole.len() / room.max(1) + 1);
    let mut at = 0;
    while at < data.len() {
        let header = if at == 0 { first } else { &later[..] };
        let step = room.saturating_sub(header.len()) & !7;
        if step == 0 {
            return Err(FragmentError::Mtu(mtu));
        }
        let last = data.len() - at <= room.saturating_sub(header.len());
        let end = if last { data.len() } else { at + step };
        let mut piece = Vec::with_capacity(ETHERNET_HEADER + header.len() + end - at);
        piece.extend_from_slice(ethernet);
        piece.extend_from_slice(header);
        piece.extend_from_slice(&data[at..end]);
        let length = u16::try_from(header.len() + end - at).map_err(|_| FragmentError::Mtu(mtu))?;
        let offset = u16::try_from((start + at) / 8).map_err(|_| FragmentError::Truncated)?;
        let field = offset | if last && !more { 0 } else { 0x2000 };
        let ip = &mut piece[ETHERNET_HEADER..ETHERNET_HEADER + header.len()];
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        ip[6..8].copy_from_slice(&field.to_be_bytes());
        ip[10..12].fill(0);
        let sum = Sum::default().bytes(ip).checksum();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        pieces.push(piece);
        at = end;
    }
    Ok(pieces)
}

/// The header of the second and later fragments: only options that are marked for copying, padded.
fn later_header(first: &[u8]) -> Vec<u8> {
    let (fixed, mut options) = first.split_at(first.len().min(20));
    let mut header = fixed.to_vec();
    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            0 => break,
            1 => options = rest,
            _ => {
                let length = rest.first().map_or(0, |l| usize::from(*l));
                if length < 2 || length > options.len() {
                    break;
                }
                let (option, rest) = options.split_at(length);
                if kind & 0x80 != 0 {
                    header.extend_from_slice(option);
                }
                options = rest;
            }
        }
    }
    while header.len() % 4 != 0 {
        header.push(0);
    }
    // At most 15 words: no option was added.
    let words = (header.len() / 4) as u8;
    if let Some(first) = header.first_mut() {
        *first = 0x40 | words;
    }
    header
}
