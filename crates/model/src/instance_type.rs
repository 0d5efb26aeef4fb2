//! Instance types and what they allow.

/// A type's limits (semantics 63).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// Its name, such as `t3.micro`.
    pub name: &'static str,
    /// Virtual CPUs; shown, not enforced.
    pub vcpus: u32,
    /// Memory in MiB; shown, not enforced.
    pub memory_mib: u32,
    /// Interfaces at most.
    pub interfaces: u8,
    /// IPv4 addresses an interface at most.
    pub ipv4_per_interface: u8,
    /// IPv6 addresses an interface at most.
    pub ipv6_per_interface: u8,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
}

const fn x86(name: &'static str, vcpus: u32, memory_mib: u32, enis: u8, v4: u8) -> InstanceType {
    InstanceType {
        name,
        vcpus,
        memory_mib,
        interfaces: enis,
        ipv4_per_interface: v4,
        ipv6_per_interface: v4,
        architecture: "x86_64",
    }
}

const fn arm(name: &'static str, vcpus: u32, memory_mib: u32, enis: u8, v4: u8) -> InstanceType {
    InstanceType {
        architecture: "arm64",
        ..x86(name, vcpus, memory_mib, enis, v4)
    }
}

/// Every known type.
pub const INSTANCE_TYPES: &[InstanceType] = &[
    InstanceType {
        ipv6_per_interface: 0,
        ..x86("t1.micro", 1, 627, 2, 2)
    },
    x86("t2.nano", 1, 512, 2, 2),
    x86("t2.micro", 1, 1024, 2, 2),
    x86("t2.small", 1, 2048, 3, 4),
    x86("t2.medium", 2, 4096, 3, 6),
    x86("t2.large", 2, 8192, 3, 12),
    x86("t3.nano", 2, 512, 2, 2),
    x86("t3.micro", 2, 1024, 2, 2),
    x86("t3.small", 2, 2048, 3, 4),
    x86("t3.medium", 2, 4096, 3, 6),
    x86("t3.large", 2, 8192, 3, 12),
    x86("t3.xlarge", 4, 16384, 4, 15),
    x86("t3.2xlarge", 8, 32768, 4, 15),
    x86("t3a.micro", 2, 1024, 2, 2),
    x86("t3a.small", 2, 2048, 2, 4),
    x86("t3a.medium", 2, 4096, 3, 6),
    arm("t4g.nano", 2, 512, 2, 2),
    arm("t4g.micro", 2, 1024, 2, 2),
    arm("t4g.small", 2, 2048, 3, 4),
    arm("t4g.medium", 2, 4096, 3, 6),
    x86("m5.large", 2, 8192, 3, 10),
    x86("m5.xlarge", 4, 16384, 4, 15),
    x86("m5.2xlarge", 8, 32768, 4, 15),
    x86("m6i.large", 2, 8192, 3, 10),
    arm("m6g.medium", 1, 4096, 2, 4),
    arm("m6g.large", 2, 8192, 3, 10),
    x86("c5.large", 2, 4096, 3, 10),
    x86("c5.xlarge", 4, 8192, 4, 15),
    x86("c5n.18xlarge", 72, 196_608, 15, 50),
    x86("r5.large", 2, 16384, 3, 10),
];

/// The type RunInstances takes when none is named: EC2's own default is m1.small; here the smallest current one.
pub const DEFAULT: &str = "t3.micro";

/// The type of that name.
pub fn find(name: &str) -> Option<InstanceType> {
    INSTANCE_TYPES.iter().find(|t| t.name == name).copied()
}
