//! The words of the command line. They are a contract: more may come, none may go.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use atoll_daemon::options::{Auth, DEFAULT_LISTEN, DataPlane};
use atoll_lens::Protocol;
use atoll_model::{HostName, RegionName, ZoneName};
use clap::{Args, Parser, Subcommand};

/// An AWS VPC that you run yourself: AWS's API in front, real packets behind.
#[derive(Debug, Parser)]
#[command(name = "atoll", version, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    /// The daemon to talk to, as an http URL; else the default one at 127.0.0.1:4600.
    #[arg(long, global = true, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    pub endpoint: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve region(s) and this host's data plane in the foreground.
    Serve(Serve),
    /// Be another host of a region that `atoll serve --underlay` serves elsewhere, in the foreground (root).
    Join(Join),
    /// Deploy a CloudFormation template, starting the default daemon if none runs.
    Up(Up),
    /// Delete a stack, or everything.
    Down(Down),
    /// Show the endpoint, regions, stacks and instances.
    Status(Status),
    /// Run a command inside an instance, or on the internet side.
    Exec(Exec),
    /// Run a virtual machine, or any program that takes a TAP, as an instance of the image atoll-machine-x86_64.
    Machine(Machine),
    /// Show hop by hop what would become of a packet, and of its answer, and by which rules.
    Trace(Trace),
    /// Show what was dropped lately, where and by which rule.
    Drops(Drops),
    /// Show the flows that are known now, with their paths and counters.
    Flows(Flows),
    /// Show flows, rates, misses and drops as they happen.
    Top(Top),
    /// What `atoll join` on another host has run on the region's host: hands on what it is told, nothing else.
    Feed(Feed),
    /// Take a host out of a region: one that is to have no part in it any more.
    ForgetHost(ForgetHost),
    /// Print shell exports: eval "$(atoll env)".
    Env(Env),
    /// Call one operation of AWS's API and print its XML: atoll api DescribeVpcs Filter.1.Name=state …
    Api(Api),
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Where to serve the API; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value_t = DEFAULT_LISTEN, value_parser = listen)]
    pub listen: SocketAddr,
    /// A host name that clients call the API by, beside localhost and the address itself; may be given several
    /// times. One that is served on loopback refuses every other name, so that no web page can call it.
    #[arg(long = "allowed-host", value_name = "NAME", value_parser = host_name)]
    pub allowed_hosts: Vec<String>,
    /// Keep everything in this directory; default: `atoll` in the user's state directory.
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    pub data_dir: Option<PathBuf>,
    /// Keep nothing.
    #[arg(long)]
    pub ephemeral: bool,
    /// Who may call: sigv4 (the generated access key) or none (anybody, as account 123456789012).
    #[arg(long, value_name = "sigv4|none", default_value_t = Auth::SigV4)]
    pub auth: Auth,
    /// What carries packets: ebpf (root), userspace, or none (the API alone); default: ebpf where that is permitted.
    #[arg(long, value_name = "ebpf|userspace|none")]
    pub data_plane: Option<DataPlane>,
    /// This host's address for others of the same region, which come by `atoll join` (root): packets between hosts go
    /// over VXLAN, UDP port 4789.
    #[arg(long, value_name = "ADDRESS")]
    pub underlay: Option<IpAddr>,
    /// What this host is called among them; default: its host name.
    #[arg(long, value_name = "NAME", requires = "underlay")]
    pub host_name: Option<HostName>,
    /// Leave the terminal that this was started from: how `atoll up` starts a daemon.
    #[arg(long, hide = true)]
    pub detached: bool,
    /// A region to serve; may be given several times, the first is the default one.
    #[arg(long = "region", value_name = "R", default_values_t = [RegionName::DEFAULT])]
    pub regions: Vec<RegionName>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Instances of subnets in this host's zones run here from now on; packets to the other hosts go over VXLAN, UDP port 4789.
The region's rows come over the command's standard input and output, and are kept, so that this host starts again while
the region's host is away. Whoever may run the command on the region's host may be a host of the region.

  on host A:  atoll serve --underlay 192.0.2.1
  on host B:  atoll join --name b --underlay 192.0.2.2 --zone us-east-1b -- ssh root@192.0.2.1 atoll feed")]
pub struct Join {
    /// What this host is called: 1 to 63 of a-z, 0-9 and -; no two hosts of a region have one name.
    #[arg(long, value_name = "NAME")]
    pub name: HostName,
    /// This host's address for packets of the others.
    #[arg(long, value_name = "ADDRESS")]
    pub underlay: IpAddr,
    /// A zone whose instances are to run here; may be given several times.
    #[arg(long = "zone", value_name = "ZONE", required = true, value_parser = zone)]
    pub zones: Vec<ZoneName>,
    /// Its port names the control socket, by which `atoll status --endpoint` and others find this daemon; nothing listens there.
    #[arg(long, value_name = "ADDR", default_value_t = DEFAULT_LISTEN, value_parser = listen)]
    pub listen: SocketAddr,
    /// Keep everything in this directory; default: `atoll` in the user's state directory.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// What carries packets: ebpf (root), or none (the rows alone).
    #[arg(long, value_name = "ebpf|none")]
    pub data_plane: Option<DataPlane>,
    /// What reaches `atoll feed` on the region's host: a program and its arguments, no shell. It is run again whenever it ends.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct Feed {
    /// The only host that may join by it: without, whoever runs it may join by any host's name.
    #[arg(long, value_name = "NAME")]
    pub host: Option<HostName>,
}

#[derive(Debug, Args)]
pub struct Up {
    /// The template, YAML or JSON.
    #[arg(value_name = "TEMPLATE")]
    pub template: PathBuf,
    /// The stack's name; default: the file's name.
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
    /// A template parameter; may be given several times.
    #[arg(long = "param", value_name = "K=V", value_parser = parameter)]
    pub parameters: Vec<(String, String)>,
    /// The region; default: the daemon's first.
    #[arg(long, value_name = "R")]
    pub region: Option<RegionName>,
    /// The stack and its outputs as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Down {
    /// The stack; may be left out when there is one only.
    #[arg(value_name = "STACK", conflicts_with = "all")]
    pub stack: Option<String>,
    /// End everything: stacks, instances, namespaces, the daemon, and what it kept.
    #[arg(long)]
    pub all: bool,
    /// The region; default: whichever has the stack.
    #[arg(long, value_name = "R")]
    pub region: Option<RegionName>,
}

#[derive(Debug, Args)]
pub struct Status {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Exec {
    /// The instance, by id, Name tag or logical id; or `internet`.
    #[arg(value_name = "INSTANCE")]
    pub instance: String,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// The command runs here, as whoever calls, with the instance's interfaces as open TAPs (frames behind a virtio-net header of
/// 10 bytes until it says another length) at descriptors 3, 4, …; it ends when the instance stops. Its environment says:
///
/// ATOLL_TAP_FD, ATOLL_TAP_MAC, ATOLL_TAP_MTU: of the primary interface the descriptor, what MAC address and MTU to have.
///
/// ATOLL_TAP_ADDRESS, ATOLL_TAP_ROUTER: IPv4, the address with its prefix length; also _IP and _NETMASK, _ADDRESSES (all).
///
/// ATOLL_TAP_ADDRESS6, ATOLL_TAP_SUBNET6, ATOLL_TAP_ROUTER6: IPv6, if it has it; _ADDRESSES6.
///
/// ATOLL_TAP0_FD, ATOLL_TAP1_FD, …: the same of each interface by its device index; ATOLL_TAPS has the indexes.
///
/// ATOLL_INSTANCE_ID, ATOLL_HOSTNAME, ATOLL_USER_DATA (base64, if there is any).
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Machine {
    /// The instance, by id, Name tag or logical id.
    #[arg(value_name = "INSTANCE")]
    pub instance: String,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Trace {
    /// An instance, an interface, an address or `internet`.
    #[arg(value_name = "FROM")]
    pub from: String,
    /// Likewise.
    #[arg(value_name = "TO")]
    pub to: String,
    /// The protocol.
    #[arg(long, value_name = "tcp|udp|icmp", default_value = "tcp", value_parser = protocol)]
    pub proto: Protocol,
    /// The destination port, for tcp and udp; default: 80.
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// The source port, for tcp and udp; default: one of which no connection is known, so that the packet begins one.
    #[arg(long, value_name = "N")]
    pub source_port: Option<u16>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Drops {
    /// The latest so many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit::<1, { u32::MAX }>)]
    pub limit: u32,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Flows {
    /// Only those of this instance (id, Name tag or logical id), interface, address, or `internet`.
    #[arg(value_name = "INSTANCE")]
    pub instance: Option<String>,
    /// At most so many, 8000 at the most.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = limit::<0, 8000>)]
    pub limit: u32,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Top {
    /// One frame as text; so it is, too, when the output is no terminal.
    #[arg(long)]
    pub once: bool,
    /// One sample, with rates over the interval, as JSON.
    #[arg(long, conflicts_with = "once")]
    pub json: bool,
    /// Seconds between two looks, 0.1 to 60.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: Duration,
}

#[derive(Debug, Args)]
pub struct ForgetHost {
    /// The host, as `atoll status` names it.
    #[arg(value_name = "NAME")]
    pub name: HostName,
    /// Also if there are instances on it: they count as terminated. Where it runs on, `atoll down --all` ends them.
    #[arg(long)]
    pub force: bool,
    /// The region; default: the daemon's first.
    #[arg(long, value_name = "R")]
    pub region: Option<RegionName>,
}

#[derive(Debug, Args)]
pub struct Env {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Api {
    /// The operation, such as DescribeVpcs, CreateStack or GetCallerIdentity.
    #[arg(value_name = "ACTION")]
    pub action: String,
    /// The request's parameters, named as on AWS's wire.
    #[arg(value_name = "KEY=VALUE", value_parser = parameter)]
    pub parameters: Vec<(String, String)>,
    /// The region; default: the daemon's first.
    #[arg(long, value_name = "R")]
    pub region: Option<RegionName>,
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not an IP address with a port, such as {DEFAULT_LISTEN} or [::1]:4600")
    })
}

fn zone(text: &str) -> Result<ZoneName, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a zone that can be served, such as us-east-1b"))
}

fn limit<const MIN: u32, const MAX: u32>(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if (MIN..=MAX).contains(&number) => Ok(number),
        _ if MAX == u32::MAX => Err(format!("{text:?} is not a number of {MIN} or above")),
        _ => Err(format!("{text:?} is not a number from {MIN} to {MAX}")),
    }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "icmp" => Ok(Protocol::Icmp),
        other => Err(format!("{other:?} is not one of: tcp, udp, icmp")),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("{text:?} is not a number of seconds from 0.1 to 60")),
    }
}

fn host_name(text: &str) -> Result<String, String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match text.trim_end_matches('.') {
        name if !name.is_empty() && name.chars().all(letter) => Ok(name.to_ascii_lowercase()),
        _ => Err(format!(
            "{text:?} is not a host name, such as host.docker.internal, without a port"
        )),
    }
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_words_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn serve_takes_several_regions_and_not_both_kinds_of_data() {
        let parsed =
            Arguments::try_parse_from(["atoll", "serve", "--region", "us-east-1", "--region", "eu-west-1"]);
        let Command::Serve(serve) = parsed.unwrap().command else {
            panic!()
        };
        assert_eq!(serve.regions.len(), 2);
        assert_eq!(serve.listen.to_string(), "127.0.0.1:4600");
        let both = Arguments::try_parse_from(["atoll", "serve", "--ephemeral", "--data-dir", "d"]);
        assert!(both.is_err());
    }

    #[test]
    fn join_wants_a_name_an_address_a_zone_and_a_command() {
        let whole = "atoll join --name b --underlay 192.0.2.2 --zone us-east-1b -- ssh host-a atoll feed";
        let words: Vec<&str> = whole.split(' ').collect();
        let Command::Join(join) = Arguments::try_parse_from(&words).unwrap().command else {
            panic!()
        };
        assert_eq!(join.command, ["ssh", "host-a", "atoll", "feed"]);
        for left_out in [2..4, 4..6, 6..8, 8..13, 9..13] {
            let fewer = words.iter().enumerate().filter(|(at, _)| !left_out.contains(at));
            let parsed = Arguments::try_parse_from(fewer.map(|(_, word)| word));
            assert!(parsed.is_err(), "without {:?}", &words[left_out]);
        }
        for (word, wrong) in [
            (3, "B"),
            (3, "-"),
            (5, "host-b"),
            (7, "us-east-1"),
            (7, "us-east-9a"),
        ] {
            let mut words = words.clone();
            words[word] = wrong;
            assert!(Arguments::try_parse_from(words).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_allowed_host_is_a_name_alone() {
        assert_eq!(
            host_name("Host.docker.internal."),
            Ok("host.docker.internal".into())
        );
        for wrong in ["", ".", "lab:4600", "http://lab", "*.lab", "[::1]"] {
            assert!(host_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_interval_is_neither_nothing_nor_endless() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "0", "-1", "61", "NaN", "inf", "1s"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_is_a_number_within_what_is_told() {
        assert_eq!(limit::<0, 8000>("0"), Ok(0));
        assert_eq!(limit::<0, 8000>("8000"), Ok(8000));
        for wrong in ["", "-1", "8001", "many"] {
            assert!(limit::<0, 8000>(wrong).is_err(), "{wrong}");
        }
        assert!(limit::<1, { u32::MAX }>("0").is_err());
    }

    #[test]
    fn an_address_to_listen_at_has_a_port() {
        assert!(listen("[::1]:0").is_ok());
        for wrong in ["", "127.0.0.1", "localhost:4600", "127.0.0.1:99999"] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_parameter_may_hold_an_equals_sign_in_its_value() {
        assert_eq!(parameter("K=a=b"), Ok(("K".into(), "a=b".into())));
        assert!(parameter("K").is_err() && parameter("=b").is_err());
    }
}
