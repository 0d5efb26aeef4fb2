//! Instance types.

use atoll_model::instance_type::{INSTANCE_TYPES, InstanceType};
use atoll_shapes::ec2::{
    DescribeInstanceTypesRequest, DescribeInstanceTypesResult, InstanceTypeInfo, MemoryInfo, NetworkInfo,
    ProcessorInfo, VCpuInfo,
};

use crate::wire::{Filters, page};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(
        describe_instance_types,
        &["InstanceType", "Filter", "MaxResults", "NextToken"],
    );
}

async fn describe_instance_types(
    _: Call,
    request: DescribeInstanceTypesRequest,
) -> Result<DescribeInstanceTypesResult, ApiError> {
    let keep = Filters::untagged()
        .one("bare-metal", |_: &InstanceType| false)
        .one("burstable-performance-supported", |_| BURSTABLE)
        .one("current-generation", is_current)
        .one("hypervisor", hypervisor)
        .one("instance-type", |kind| kind.name)
        .one("memory-info.size-in-mib", |kind| kind.memory_mib)
        .one("network-info.ipv4-addresses-per-interface", |kind| {
            kind.ipv4_per_interface
        })
        .one("network-info.ipv6-addresses-per-interface", |kind| {
            kind.ipv6_per_interface
        })
        .one("network-info.ipv6-supported", |kind| kind.ipv6_per_interface > 0)
        .one("network-info.maximum-network-interfaces", |kind| kind.interfaces)
        .one("processor-info.supported-architecture", |kind| kind.architecture)
        .one("supported-root-device-type", |_| "ebs")
        .one("supported-usage-class", |_| "on-demand")
        .one("supported-virtualization-type", |_| "hvm")
        .one("vcpu-info.default-cores", |kind| kind.cores())
        .one("vcpu-info.default-threads-per-core", |kind| {
            kind.threads_per_core()
        })
        .one("vcpu-info.default-vcpus", |kind| kind.vcpus)
        .parse(&request.filters)?;
    if request.max_results.is_some() && !request.instance_types.is_empty() {
        return Err(ApiError::invalid_combination(
            "The parameter InstanceType cannot be used with the parameter MaxResults",
        ));
    }
    let unknown = |name: &&String| !INSTANCE_TYPES.iter().any(|kind| kind.name == name.as_str());
    let unknown: Vec<&str> = request
        .instance_types
        .iter()
        .filter(unknown)
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let unknown = crate::error::shortened(&unknown.join(", "));
        let message = format!("The following supplied instance types do not exist: [{unknown}]");
        return Err(ApiError::new("InvalidInstanceType", message));
    }
    let asked = |kind: &&InstanceType| {
        request.instance_types.is_empty() || request.instance_types.iter().any(|name| name == kind.name)
    };
    let mut kinds: Vec<(String, &InstanceType)> = INSTANCE_TYPES
        .iter()
        .filter(asked)
        .filter(|kind| keep.matches(kind))
        .map(|kind| (kind.name.to_owned(), kind))
        .collect();
    kinds.sort_by_key(|(name, _)| name.clone());
    let token = request.next_token.as_deref();
    let page = page(
        "DescribeInstanceTypes",
        kinds,
        request.max_results,
        token,
        5..=100,
    )?;
    Ok(DescribeInstanceTypesResult {
        instance_types: page.items.into_iter().map(shape).collect(),
        next_token: page.next_token,
    })
}

/// No type earns CPU credits here; where this says otherwise, Terraform goes on to ask for an instance's credits
/// and gives up when there are none to tell.
const BURSTABLE: bool = false;

fn is_current(kind: &InstanceType) -> bool {
    !matches!(kind.family(), "t1" | "m1" | "m2" | "m3" | "c1" | "c3" | "r3")
}

fn hypervisor(kind: &InstanceType) -> &'static str {
    if !is_current(kind) || matches!(kind.family(), "t2" | "m4" | "c4" | "r4") {
        "xen"
    } else {
        "nitro"
    }
}

fn shape(kind: &InstanceType) -> InstanceTypeInfo {
    let number = |n: u32| i32::try_from(n).ok();
    InstanceTypeInfo {
        instance_type: Some(kind.name.to_owned()),
        current_generation: Some(is_current(kind)),
        supported_usage_classes: vec!["on-demand".to_owned()],
        supported_root_device_types: vec!["ebs".to_owned()],
        supported_virtualization_types: vec!["hvm".to_owned()],
        bare_metal: Some(false),
        hypervisor: Some(hypervisor(kind).to_owned()),
        processor_info: Some(ProcessorInfo {
            supported_architectures: vec![kind.architecture.to_owned()],
            ..Default::default()
        }),
        vcpu_info: Some(VCpuInfo {
            default_vcpus: number(kind.vcpus),
            default_cores: number(kind.cores()),
            default_threads_per_core: number(kind.threads_per_core()),
            ..Default::default()
        }),
        memory_info: Some(MemoryInfo {
            size_in_mib: Some(kind.memory_mib.into()),
        }),
        instance_storage_supported: Some(false),
        network_info: Some(NetworkInfo {
            maximum_network_interfaces: Some(kind.interfaces.into()),
            maximum_network_cards: Some(1),
            default_network_card_index: Some(0),
            ipv4_addresses_per_interface: Some(kind.ipv4_per_interface.into()),
            ipv6_addresses_per_interface: Some(kind.ipv6_per_interface.into()),
            ipv6_supported: Some(kind.ipv6_per_interface > 0),
            efa_supported: Some(false),
            ..Default::default()
        }),
        hibernation_supported: Some(false),
        burstable_performance_supported: Some(BURSTABLE),
        dedicated_hosts_supported: Some(false),
        auto_recovery_supported: Some(false),
        ..Default::default()
    }
}
