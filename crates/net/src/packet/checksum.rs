//! The internet checksum (RFC 1071), and changing it without reading the packet again (RFC 1624).

use std::net::IpAddr;

/// What the transport header's checksum field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportChecksum {
    /// The checksum of the whole segment.
    Complete,
    /// The sum of the pseudo header only, not complemented: the segment is finished by whoever sends it on a
    /// wire. Packets between local machines travel so (`VIRTIO_NET_HDR_F_NEEDS_CSUM`). A change of an address
    /// changes it, a change of a port does not.
    Partial,
}

/// A one's complement sum in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// With 16 bits more.
    #[inline]
    pub fn word(self, word: u16) -> Sum {
        Sum(self.0 + u64::from(word))
    }

    /// With bytes more; an odd last byte is padded with zero, so only the last piece may be odd. At most 4 GiB
    /// in one sum.
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> Sum {
        let mut sum = self.0;
        let mut words = bytes.chunks_exact(4);
        for word in &mut words {
            sum += word
                .first_chunk::<4>()
                .map_or(0, |w| u64::from(u32::from_be_bytes(*w)));
        }
        let mut last = [0u8; 4];
        let rest = words.remainder();
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_be_bytes(last));
        Sum(sum)
    }

    /// With an address more.
    #[inline]
    pub fn address(self, addr: IpAddr) -> Sum {
        match addr {
            IpAddr::V4(a) => self.bytes(&a.octets()),
            IpAddr::V6(a) => self.bytes(&a.octets()),
        }
    }

    /// With the pseudo header of a transport segment of `length` bytes more (RFC 793, RFC 8200 section 8.1).
    pub fn pseudo_header(self, src: IpAddr, dst: IpAddr, protocol: u8, length: u32) -> Sum {
        let sum = self.address(src).address(dst);
        Sum(sum.0 + u64::from(length) + u64::from(protocol))
    }

    /// The sum folded to 16 bits, not complemented.
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// The checksum: the complement of the folded sum.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// What a rewriting adds to the sums that cover it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change(Sum);

impl Change {
    /// And 16 bits replaced.
    #[inline]
    pub fn word(self, old: u16, new: u16) -> Change {
        Change(self.0.word(!old).word(new))
    }

    /// And an address replaced by one of its family.
    #[inline]
    pub fn address(self, old: IpAddr, new: IpAddr) -> Change {
        let complement = match old {
            IpAddr::V4(a) => Sum::default().bytes(&a.octets().map(|b| !b)),
            IpAddr::V6(a) => Sum::default().bytes(&a.octets().map(|b| !b)),
        };
        Change(Sum(self.0.0 + complement.0).address(new))
    }

    /// Both changes.
    #[inline]
    pub fn and(self, other: Change) -> Change {
        Change(Sum(self.0.0 + other.0.0))
    }

    /// A stored checksum after the change (RFC 1624, equation 3).
    #[inline]
    pub fn on(self, checksum: u16) -> u16 {
        self.0.word(!checksum).checksum()
    }

    /// A stored sum that is not complemented after the change: a partial checksum.
    #[inline]
    pub fn on_partial(self, sum: u16) -> u16 {
        self.0.word(sum).fold()
    }
}
