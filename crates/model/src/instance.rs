//! Instances.

use serde::{Deserialize, Serialize};

use crate::id::{HostId, ImageId, InstanceId, ReservationId, SubnetId, VpcId};
use crate::{AccountId, ClientToken, Tags, Timestamp, ZoneName};

text_enum! {
    /// Where an instance stands in its life.
    pub enum InstanceState {
        /// Being started.
        Pending = "pending",
        /// Runs.
        Running = "running",
        /// Being ended.
        ShuttingDown = "shutting-down",
        /// Gone, still listed for about an hour.
        Terminated = "terminated",
        /// Being stopped.
        Stopping = "stopping",
        /// Stopped; keeps its interfaces and its disk.
        Stopped = "stopped",
    }
}

impl InstanceState {
    /// The number that EC2 shows beside the name.
    pub fn code(self) -> i32 {
        match self {
            InstanceState::Pending => 0,
            InstanceState::Running => 16,
            InstanceState::ShuttingDown => 32,
            InstanceState::Terminated => 48,
            InstanceState::Stopping => 64,
            InstanceState::Stopped => 80,
        }
    }
}

text_enum! {
    /// What a shutdown from inside does.
    pub enum ShutdownBehavior {
        /// Stops the instance.
        Stop = "stop",
        /// Ends it.
        Terminate = "terminate",
    }
}

/// What became of the user data script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "status", rename_all = "snake_case")]
pub enum UserDataRun {
    /// There is none, or it does not begin with `#!`.
    None,
    /// Not yet run.
    Pending,
    /// Runs.
    Running,
    /// Ended with this exit status.
    Exited(i32),
}

/// How the launch asked for instance metadata to be served. Shown again; nothing serves metadata here yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataOptions {
    /// Whether there is an endpoint at all.
    pub endpoint: bool,
    /// Whether a session token is required.
    pub tokens_required: bool,
    /// How many hops a token's answer may go, 1 to 64.
    pub hop_limit: u8,
    /// Whether there is an IPv6 endpoint.
    pub ipv6: bool,
    /// Whether the instance's tags are among the metadata.
    pub tags: bool,
}

impl Default for MetadataOptions {
    /// As EC2 has it for an image that asks for nothing itself.
    fn default() -> MetadataOptions {
        MetadataOptions {
            endpoint: true,
            tokens_required: false,
            hop_limit: 1,
            ipv6: false,
            tags: false,
        }
    }
}

/// An instance; its interfaces are those whose attachment names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Who owns it.
    pub owner: AccountId,
    /// The launch it came from.
    pub reservation: ReservationId,
    /// Its place in that launch, from 0.
    pub launch_index: u32,
    /// Its VPC.
    pub vpc: VpcId,
    /// The subnet of its primary interface.
    pub subnet: SubnetId,
    /// Its zone.
    pub zone: ZoneName,
    /// The host that it runs on, for life; `None` is the one that serves the region.
    #[serde(default)]
    pub host: Option<HostId>,
    /// Where it stands.
    pub state: InstanceState,
    /// Why it is where it is: AWS's code and message.
    pub state_reason: Option<(String, String)>,
    /// Why it last changed its state, as EC2 tells it: `User initiated (2026-01-31 08:05:09 GMT)`; else empty.
    #[serde(default)]
    pub transition_reason: String,
    /// Whether its primary interface gets a public IPv4 address at every start, as it did at launch.
    #[serde(default)]
    pub auto_public: bool,
    /// How metadata was asked for.
    #[serde(default)]
    pub metadata: MetadataOptions,
    /// The image as the caller named it; any id runs the default image.
    pub image: ImageId,
    /// Its type, by name: the limits on its interfaces follow from it.
    pub instance_type: String,
    /// The key pair as the caller named it; without effect here.
    pub key_name: Option<String>,
    /// When it was launched or last started.
    pub launched: Timestamp,
    /// How often it was started; a reboot or a start after a stop raises it.
    pub boots: u32,
    /// User data, decoded, at most 16 KiB.
    pub user_data: Option<Vec<u8>>,
    /// What became of the user data.
    pub user_data_run: UserDataRun,
    /// Whether the API refuses to terminate it.
    pub disable_api_termination: bool,
    /// Whether the API refuses to stop it.
    pub disable_api_stop: bool,
    /// What a shutdown from inside does.
    pub shutdown_behavior: ShutdownBehavior,
    /// Instance profile as the caller named it; without effect here.
    pub iam_instance_profile: Option<String>,
    /// Whether it is optimised for EBS; without effect here.
    pub ebs_optimized: bool,
    /// Whether detailed monitoring was asked for; without effect here.
    pub monitoring: bool,
    /// The caller's idempotency token.
    pub client_token: Option<ClientToken>,
    /// When it was terminated.
    pub terminated: Option<Timestamp>,
    /// Tags.
    pub tags: Tags,
}

impl Instance {
    /// Its private host name, such as `ip-10-0-0-5.ec2.internal`, by primary address.
    pub fn private_dns_name(ip: std::net::Ipv4Addr, region: crate::RegionName) -> String {
        let dashed = ip.to_string().replace('.', "-");
        if region == crate::RegionName::DEFAULT {
            format!("ip-{dashed}.ec2.internal")
        } else {
            format!("ip-{dashed}.{region}.compute.internal")
        }
    }
}
