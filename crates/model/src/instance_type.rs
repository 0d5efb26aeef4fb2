//! Instance types and what they allow.

/// A type's limits (semantics 63).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// Its name, such as `t3.micro`.
    pub name: &'static str,
    /// Virtual CPUs; enforced where the host lets instances be limited.
    pub vcpus: u32,
    /// Memory in MiB; enforced where the host lets instances be limited.
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

impl InstanceType {
    /// Its family, such as `t3`.
    pub fn family(&self) -> &'static str {
        self.name.split('.').next().unwrap_or_default()
    }

    /// Threads of each of its cores; shown, not enforced.
    pub fn threads_per_core(&self) -> u32 {
        let single = matches!(self.family(), "t1" | "t2" | "m1" | "m2" | "c1");
        if single || self.architecture == "arm64" || self.vcpus < 2 {
            1
        } else {
            2
        }
    }

    /// Its cores; shown, not enforced.
    pub fn cores(&self) -> u32 {
        self.vcpus / self.threads_per_core()
    }
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

const fn old(name: &'static str, vcpus: u32, memory_mib: u32, enis: u8, v4: u8) -> InstanceType {
    InstanceType {
        ipv6_per_interface: 0,
        ..x86(name, vcpus, memory_mib, enis, v4)
    }
}

/// Every known type.
pub const INSTANCE_TYPES: &[InstanceType] = &[
    // Named by many old templates: without IPv6.
    old("t1.micro", 1, 627, 2, 2),
    old("m1.small", 1, 1740, 2, 4),
    old("m1.medium", 1, 3788, 2, 6),
    old("m1.large", 2, 7680, 3, 10),
    old("m1.xlarge", 4, 15360, 4, 15),
    old("m2.xlarge", 2, 17510, 4, 15),
    old("m3.medium", 1, 3840, 2, 6),
    old("m3.large", 2, 7680, 3, 10),
    old("m3.xlarge", 4, 15360, 4, 15),
    old("c1.medium", 2, 1740, 2, 6),
    old("c1.xlarge", 8, 7168, 4, 15),
    x86("t2.nano", 1, 512, 2, 2),
    x86("t2.micro", 1, 1024, 2, 2),
    x86("t2.small", 1, 2048, 3, 4),
    x86("t2.medium", 2, 4096, 3, 6),
    x86("t2.large", 2, 8192, 3, 12),
    x86("t2.xlarge", 4, 16384, 3, 15),
    x86("t2.2xlarge", 8, 32768, 3, 15),
    x86("t3.nano", 2, 512, 2, 2),
    x86("t3.micro", 2, 1024, 2, 2),
    x86("t3.small", 2, 2048, 3, 4),
    x86("t3.medium", 2, 4096, 3, 6),
    x86("t3.large", 2, 8192, 3, 12),
    x86("t3.xlarge", 4, 16384, 4, 15),
    x86("t3.2xlarge", 8, 32768, 4, 15),
    x86("t3a.nano", 2, 512, 2, 2),
    x86("t3a.micro", 2, 1024, 2, 2),
    x86("t3a.small", 2, 2048, 2, 4),
    x86("t3a.medium", 2, 4096, 3, 6),
    x86("t3a.large", 2, 8192, 3, 12),
    x86("t3a.xlarge", 4, 16384, 4, 15),
    x86("m4.large", 2, 8192, 2, 10),
    x86("m4.xlarge", 4, 16384, 4, 15),
    x86("m4.2xlarge", 8, 32768, 4, 15),
    x86("m5.large", 2, 8192, 3, 10),
    x86("m5.xlarge", 4, 16384, 4, 15),
    x86("m5.2xlarge", 8, 32768, 4, 15),
    x86("m5.4xlarge", 16, 65536, 8, 30),
    x86("m5a.large", 2, 8192, 3, 10),
    x86("m6i.large", 2, 8192, 3, 10),
    x86("m6i.xlarge", 4, 16384, 4, 15),
    x86("m6a.large", 2, 8192, 3, 10),
    x86("m7i.large", 2, 8192, 3, 10),
    x86("c3.large", 2, 3840, 3, 10),
    x86("c3.xlarge", 4, 7680, 4, 15),
    x86("c4.large", 2, 3840, 3, 10),
    x86("c4.xlarge", 4, 7680, 4, 15),
    x86("c5.large", 2, 4096, 3, 10),
    x86("c5.xlarge", 4, 8192, 4, 15),
    x86("c5.2xlarge", 8, 16384, 4, 15),
    x86("c5n.large", 2, 5376, 3, 10),
    x86("c5n.18xlarge", 72, 196_608, 15, 50),
    x86("c6i.large", 2, 4096, 3, 10),
    x86("c6i.xlarge", 4, 8192, 4, 15),
    x86("r3.large", 2, 15616, 3, 10),
    x86("r4.large", 2, 15616, 3, 10),
    x86("r5.large", 2, 16384, 3, 10),
    x86("r5.xlarge", 4, 32768, 4, 15),
    x86("r6i.large", 2, 16384, 3, 10),
    arm("t4g.nano", 2, 512, 2, 2),
    arm("t4g.micro", 2, 1024, 2, 2),
    arm("t4g.small", 2, 2048, 3, 4),
    arm("t4g.medium", 2, 4096, 3, 6),
    arm("t4g.large", 2, 8192, 3, 12),
    arm("t4g.xlarge", 4, 16384, 4, 15),
    arm("m6g.medium", 1, 4096, 2, 4),
    arm("m6g.large", 2, 8192, 3, 10),
    arm("m6g.xlarge", 4, 16384, 4, 15),
    arm("m7g.medium", 1, 4096, 2, 4),
    arm("m7g.large", 2, 8192, 3, 10),
    arm("c6g.medium", 1, 2048, 2, 4),
    arm("c6g.large", 2, 4096, 3, 10),
    arm("c7g.medium", 1, 2048, 2, 4),
    arm("c7g.large", 2, 4096, 3, 10),
    arm("r6g.medium", 1, 8192, 2, 4),
    arm("r6g.large", 2, 16384, 3, 10),
];

/// The type RunInstances takes when none is named: EC2's own default is m1.small; here the smallest current one.
pub const DEFAULT: &str = "t3.micro";

/// The type of that name.
pub fn find(name: &str) -> Option<InstanceType> {
    INSTANCE_TYPES.iter().find(|t| t.name == name).copied()
}
