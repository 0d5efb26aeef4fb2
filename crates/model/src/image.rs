//! Built-in images. There is one root file system here, the host's own programs; the images differ in name. Apart from
//! them stands the one that is no root at all: a machine of one's own ([`is_machine`]).
//!
//! Beside Atoll's own there is one under each of the names by which configurations look for an image
//! ([`IMAGES`], from the fifth on), so that a search by name finds something to start: the default image.

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
    /// Who publishes images of that name.
    pub publisher: Publisher,
}

/// Who publishes images, as configurations name them: by account, or by alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// The account's 12 digits.
    pub account: &'static str,
    /// Another word for it.
    pub alias: Option<&'static str>,
    /// Under which name its images have their root.
    pub root_device: &'static str,
}

/// The publisher of what is here: nobody's account.
pub const ATOLL: Publisher = Publisher {
    account: "000000000000",
    alias: Some("amazon"),
    root_device: "/dev/xvda",
};

impl Image {
    /// Its id.
    pub fn id(self) -> ImageId {
        ImageId::from_digits(Digits::long(self.bits))
    }

    /// Whether it is what it says: not one that merely has a name that is looked for.
    pub fn is_own(self) -> bool {
        self.publisher.account == ATOLL.account
    }
}

/// The image that runs under this id because it is what it says; of any other id the default image runs.
pub fn own(id: ImageId) -> Option<Image> {
    find(id).filter(|image| image.is_own())
}

/// Whether an instance of this image is a machine of one's own: its interfaces are TAPs, and whoever runs a virtual machine
/// opens them. Its two names differ for searches by architecture alone.
pub fn is_machine(id: ImageId) -> bool {
    own(id).is_some_and(|image| image.description == MACHINE)
}

const MACHINE: &str = "A machine of your own: what `atoll machine` runs has the interfaces";

/// The image of this id.
pub fn find(id: ImageId) -> Option<Image> {
    IMAGES.iter().find(|image| image.id() == id).copied()
}

/// Who takes any image of Amazon's shall not be given one that runs nothing.
const MACHINES: Publisher = Publisher { alias: None, ..ATOLL };
const AMAZON: Publisher = Publisher {
    account: "137112412989",
    ..ATOLL
};
const AMAZON_ECS: Publisher = Publisher {
    account: "591542846629",
    ..ATOLL
};
const SUSE: Publisher = Publisher {
    account: "013907871322",
    root_device: "/dev/sda1",
    ..ATOLL
};
const CANONICAL: Publisher = other("099720109477", "/dev/sda1");
const DEBIAN: Publisher = other("136693071363", "/dev/xvda");
const RED_HAT: Publisher = other("309956199498", "/dev/sda1");
const CENTOS: Publisher = other("125523088429", "/dev/sda1");
const ROCKY: Publisher = other("792107900819", "/dev/sda1");
const ALMA: Publisher = other("764336703387", "/dev/sda1");
const FCK_NAT: Publisher = other("568608671756", "/dev/xvda");

const fn other(account: &'static str, root_device: &'static str) -> Publisher {
    Publisher {
        account,
        alias: None,
        root_device,
    }
}

const fn named(nth: u64, publisher: Publisher, architecture: &'static str, name: &'static str) -> Image {
    Image {
        bits: 0xa701_1001_0000_0000 + nth,
        name,
        description: "A name that configurations look for",
        architecture,
        publisher,
    }
}

const X86: &str = "x86_64";
const ARM: &str = "arm64";

/// Every built-in image; the first is the default one, which any id stands for that is not Atoll's own. Ids are
/// kept: a new name gets the next number.
// A table: a name, a line.
#[rustfmt::skip]
pub const IMAGES: &[Image] = &[
    Image {
        bits: 0xa701_1000_0000_0001,
        name: "atoll-host-x86_64",
        description: "The host's own /usr, read-only, in a sandbox",
        architecture: X86,
        publisher: ATOLL,
    },
    Image {
        bits: 0xa701_1000_0000_0002,
        name: "atoll-host-arm64",
        description: "The host's own /usr, read-only, in a sandbox (a name only: code runs as the host's architecture)",
        architecture: ARM,
        publisher: ATOLL,
    },
    Image {
        bits: 0xa701_1000_0000_0003,
        name: "atoll-machine-x86_64",
        description: MACHINE,
        architecture: X86,
        publisher: MACHINES,
    },
    Image {
        bits: 0xa701_1000_0000_0004,
        name: "atoll-machine-arm64",
        description: MACHINE,
        architecture: ARM,
        publisher: MACHINES,
    },
    named(1, AMAZON, X86, "al2023-ami-2023.6.20250101.0-kernel-6.1-x86_64"),
    named(2, AMAZON, ARM, "al2023-ami-2023.6.20250101.0-kernel-6.1-arm64"),
    named(3, AMAZON, X86, "al2023-ami-minimal-2023.6.20250101.0-kernel-6.1-x86_64"),
    named(4, AMAZON, ARM, "al2023-ami-minimal-2023.6.20250101.0-kernel-6.1-arm64"),
    named(5, AMAZON, X86, "amzn2-ami-hvm-2.0.20250101.0-x86_64-gp2"),
    named(6, AMAZON, X86, "amzn2-ami-hvm-2.0.20250101.0-x86_64-ebs"),
    named(7, AMAZON, ARM, "amzn2-ami-hvm-2.0.20250101.0-arm64-gp2"),
    named(8, AMAZON, X86, "amzn2-ami-kernel-5.10-hvm-2.0.20250101.0-x86_64-gp2"),
    named(9, AMAZON, ARM, "amzn2-ami-kernel-5.10-hvm-2.0.20250101.0-arm64-gp2"),
    named(10, AMAZON, X86, "amzn2-ami-minimal-hvm-2.0.20250101.0-x86_64-ebs"),
    named(11, AMAZON, X86, "amzn-ami-hvm-2018.03.0.20250101.0-x86_64-gp2"),
    named(12, AMAZON, X86, "amzn-ami-hvm-2018.03.0.20250101.0-x86_64-ebs"),
    named(13, AMAZON, X86, "amzn-ami-vpc-nat-2018.03.0.20250101.0-x86_64-ebs"),
    named(14, AMAZON_ECS, X86, "al2023-ami-ecs-hvm-2023.0.20250101-kernel-6.1-x86_64"),
    named(15, AMAZON_ECS, ARM, "al2023-ami-ecs-hvm-2023.0.20250101-kernel-6.1-arm64"),
    named(16, AMAZON_ECS, X86, "amzn2-ami-ecs-hvm-2.0.20250101-x86_64-ebs"),
    named(17, CANONICAL, X86, "ubuntu/images/hvm-ssd/ubuntu-xenial-16.04-amd64-server-20250101"),
    named(18, CANONICAL, X86, "ubuntu/images/hvm-ssd/ubuntu-bionic-18.04-amd64-server-20250101"),
    named(19, CANONICAL, X86, "ubuntu/images/hvm-ssd/ubuntu-focal-20.04-amd64-server-20250101"),
    named(20, CANONICAL, ARM, "ubuntu/images/hvm-ssd/ubuntu-focal-20.04-arm64-server-20250101"),
    named(21, CANONICAL, X86, "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20250101"),
    named(22, CANONICAL, ARM, "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-arm64-server-20250101"),
    named(23, CANONICAL, X86, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250101"),
    named(24, CANONICAL, ARM, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-20250101"),
    named(25, CANONICAL, X86, "ubuntu-minimal/images/hvm-ssd/ubuntu-jammy-22.04-amd64-minimal-20250101"),
    named(26, DEBIAN, X86, "debian-11-amd64-20250101-1980"),
    named(27, DEBIAN, X86, "debian-12-amd64-20250101-1980"),
    named(28, DEBIAN, ARM, "debian-12-arm64-20250101-1980"),
    named(29, DEBIAN, X86, "debian-13-amd64-20250101-1980"),
    named(30, DEBIAN, ARM, "debian-13-arm64-20250101-1980"),
    named(31, RED_HAT, X86, "RHEL-8.10.0_HVM-20250101-x86_64-0-Hourly2-GP3"),
    named(32, RED_HAT, X86, "RHEL-9.5.0_HVM-20250101-x86_64-0-Hourly2-GP3"),
    named(33, RED_HAT, ARM, "RHEL-9.5.0_HVM-20250101-arm64-0-Hourly2-GP3"),
    named(34, CENTOS, X86, "CentOS Stream 9 x86_64 20250101"),
    named(35, ROCKY, X86, "Rocky-8-EC2-Base-8.10-20250101.0.x86_64"),
    named(36, ROCKY, X86, "Rocky-9-EC2-Base-9.5-20250101.0.x86_64"),
    named(37, ALMA, X86, "AlmaLinux OS 8.10.20250101 x86_64"),
    named(38, ALMA, X86, "AlmaLinux OS 9.5.20250101 x86_64"),
    named(39, SUSE, X86, "suse-sles-15-sp6-v20250101-hvm-ssd-x86_64"),
    named(40, FCK_NAT, X86, "fck-nat-al2023-hvm-1.3.0-20250101-x86_64-ebs"),
    named(41, FCK_NAT, ARM, "fck-nat-al2023-hvm-1.3.0-20250101-arm64-ebs"),
];

/// The default image.
pub const DEFAULT: Image = IMAGES[0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_are_each_images_own() {
        for (nth, image) in IMAGES.iter().enumerate() {
            for other in IMAGES.iter().take(nth) {
                assert_ne!(image.id(), other.id());
                assert_ne!(image.name, other.name);
            }
            assert_eq!(find(image.id()), Some(*image));
            assert_eq!(own(image.id()).is_some(), nth < 4);
            assert_eq!(is_machine(image.id()), image.name.starts_with("atoll-machine-"));
        }
        assert_eq!(own(DEFAULT.id()), Some(DEFAULT));
    }
}
