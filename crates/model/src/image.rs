//! Built-in images. There is one root file system here, the host's own programs; the images differ in name.

use crate::id::{Digits, ImageId, ResourceId};

/// An image that DescribeImages lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// The 64 bits of its id.
    bits: u64,
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
}

impl Image {
    /// Its id.
    pub fn id(self) -> ImageId {
        ImageId::from_digits(Digits::long(self.bits))
    }
}

/// Every built-in image; the first is the default one, which any unknown id stands for.
pub const IMAGES: &[Image] = &[
    Image {
        bits: 0xa701_1000_0000_0001,
        name: "atoll-host-x86_64",
        description: "The host's own /usr, read-only, in a sandbox",
        architecture: "x86_64",
    },
    Image {
        bits: 0xa701_1000_0000_0002,
        name: "atoll-host-arm64",
        description: "The host's own /usr, read-only, in a sandbox (a name only: code runs as the host's architecture)",
        architecture: "arm64",
    },
];

/// The default image.
pub const DEFAULT: Image = IMAGES[0];
