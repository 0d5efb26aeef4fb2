//! A region's hosts, as people are told of them: which there are, and what is not on this one.

use std::sync::Arc;

use atoll_lens::Trace;
use atoll_model::host::HostNameError;
use atoll_model::{
    AccountId, EniId, Host, HostId, HostName, Instance, InstanceState, NetworkInterface, Timestamp, Vpc,
};
use atoll_region::Region;
use atoll_region::host::{self, ForgetHost, JoinHost};
use atoll_region::instance::{InstanceObserved, TerminateInstances};

use crate::control::protocol::HostStatus;
use crate::daemon::{Daemon, instances};
use crate::feeds::Contact;
use crate::reconcile::internet;

/// What a host is called whose own name has nothing that fits.
const UNNAMED: &str = "this";

/// This host's own name, as far as it can be one among others.
pub(crate) fn own_name() -> Option<HostName> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    fitting(name.trim())
}

/// A host's name of a system's: its first label.
fn fitting(name: &str) -> Option<HostName> {
    let label = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let letters = label.chars().map(|c| match c {
        'a'..='z' | '0'..='9' => c,
        _ => '-',
    });
    let fits: String = letters.take(63).collect();
    let words = [fits.trim_matches('-'), UNNAMED];
    words.iter().find_map(|word| word.parse().ok())
}

/// Whether the region has all that the command would put there.
pub(crate) fn has_joined(region: &Region, join: &JoinHost) -> bool {
    let same = host::by_name(region, &join.name).is_some_and(|host| {
        (host.underlay, host.mtu, host.serves_region) == (join.underlay, join.mtu, join.serves_region)
            && host.zones == join.zones
    });
    same && region.all::<Vpc>().all(|vpc| vpc.network.is_some())
}

/// What people call a host, where the region has several. `None` is the one that serves it.
pub(crate) fn name_of(region: &Region, id: Option<HostId>) -> Option<String> {
    let host = match id {
        Some(id) => region.get::<Host>(id)?,
        None => host::serving(region)?,
    };
    Some(host.name.to_string())
}

/// The host of a hop, unless it is this one: where it is, and what it knows alone.
fn elsewhere(
    regions: &[Arc<Region>],
    this: Option<HostId>,
    kind: &str,
    at: &str,
) -> Option<(String, &'static str)> {
    match kind {
        "network-interface" => {
            let id: EniId = at.parse().ok()?;
            let region = regions
                .iter()
                .find(|region| region.get::<NetworkInterface>(id).is_some())?;
            let on = host::of_interface(region, id);
            let name = (on != this).then(|| name_of(region, on))??;
            Some((name, "what is tracked"))
        }
        "nat-gateway" if this.is_some() => {
            let name = regions.iter().find_map(|region| name_of(region, None))?;
            Some((name, "what is mapped"))
        }
        _ => None,
    }
}

impl Daemon {
    /// This host among the others, in a line; `None` if there may be none.
    pub fn underlay_line(&self) -> Option<String> {
        let tunnel = self.tunnel?;
        let region = self.regions.first()?.current();
        let name = name_of(&region, self.this_host)?;
        Some(format!(
            "other hosts reach this one, {name}, at {}, UDP port 4789",
            tunnel.address
        ))
    }

    /// A region's hosts, the one that serves it first; none where it has no other.
    pub(crate) fn hosts(&self, region: &Region) -> Vec<HostStatus> {
        let status = |host: &Host| {
            let id = (!host.serves_region).then_some(host.id);
            let (connected, since) = self.contact(id).unzip();
            HostStatus {
                name: host.name.to_string(),
                underlay: host.underlay,
                mtu: host.mtu,
                zones: host.zones.iter().map(ToString::to_string).collect(),
                serves_region: host.serves_region,
                instances: instances(region).filter(|instance| instance.host == id).count(),
                this: id == self.this_host,
                connected,
                since: since.flatten().map(|time| time.to_iso8601()),
            }
        };
        let mut hosts: Vec<HostStatus> = region.all::<Host>().map(|host| status(host)).collect();
        hosts.sort_by(|one, other| (!one.serves_region, &one.name).cmp(&(!other.serves_region, &other.name)));
        hosts
    }

    /// Whether a host is connected with this one, and since when that is so; `None` of itself and where it is not known.
    fn contact(&self, host: Option<HostId>) -> Option<(bool, Option<Timestamp>)> {
        match (self.this_host, host, &self.member) {
            (None, Some(id), _) => Some(match self.feeds.contact(id) {
                Contact::Connected(since) => (true, Some(since)),
                Contact::Away(since) => (false, since),
            }),
            (Some(_), None, Some(member)) => {
                let (connected, since) = member.contact();
                Some((connected, Some(since)))
            }
            _ => None,
        }
    }

    /// Why a command cannot be run inside an instance from here, if that is on another host.
    pub(crate) fn exec_elsewhere(&self, name: &str) -> Option<String> {
        let regions = self.current();
        if name == internet::ID {
            let region = self.this_host.and(regions.first())?;
            let host = name_of(region, None)?;
            return Some(format!(
                "the internet is on the host {host}: run `atoll exec` there"
            ));
        }
        let instance = atoll_lens::find_instance(&regions, name).ok()?;
        if instance.host == self.this_host {
            return None;
        }
        let region = regions
            .iter()
            .find(|region| region.get::<Instance>(instance.id).is_some())?;
        let host = name_of(region, instance.host).unwrap_or_else(|| "that serves the region".into());
        let word = match atoll_model::image::is_machine(instance.image) {
            true => "machine",
            false => "exec",
        };
        Some(format!(
            "instance {} is on the host {host}: run `atoll {word}` there",
            instance.id
        ))
    }

    /// Adds what this host does not know of a packet's way, since it leads over others.
    pub(crate) fn note_hosts(&self, regions: &[Arc<Region>], trace: &mut Trace) {
        let answer = trace.answer.iter().flat_map(|answer| &answer.hops);
        let mut notes = Vec::new();
        for hop in trace.hops.iter().chain(answer) {
            let Some((host, what)) = elsewhere(regions, self.this_host, &hop.kind, &hop.at) else {
                continue;
            };
            let note = format!("{} is on the host {host}: {what} there is not known here", hop.at);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        trace.notes.append(&mut notes);
    }

    /// Takes a host out of a region; with `force` what is on it counts as terminated.
    pub(crate) async fn forget_host(
        &self,
        region: Option<&str>,
        name: &str,
        force: bool,
    ) -> Result<(), String> {
        let name: HostName = name.parse().map_err(|error: HostNameError| error.to_string())?;
        let handle = match region {
            Some(region) => self
                .regions
                .iter()
                .find(|handle| handle.name().to_string() == region),
            None => self.regions.first(),
        };
        let handle = handle.ok_or_else(|| format!("{} is not served here", region.unwrap_or("a region")))?;
        let now = handle.current();
        if self.this_host.is_some() {
            let host = name_of(&now, None).unwrap_or_default();
            return Err(format!(
                "the region is served at the host {host}: run `atoll forget-host` there"
            ));
        }
        let connected = |host: &Host| matches!(self.feeds.contact(host.id), Contact::Connected(_));
        if host::by_name(&now, &name).is_some_and(connected) {
            return Err(format!(
                "the host {name} is connected: end it there first, `atoll down --all`"
            ));
        }
        let sentence = |error: atoll_region::Error| error.message;
        if let Some(host) = host::by_name(&now, &name).filter(|_| force) {
            for id in host::instances_on(&now, host.id) {
                let owner = now
                    .get::<Instance>(id)
                    .map_or(AccountId::DEFAULT, |instance| instance.owner);
                let ids = vec![id];
                handle
                    .apply(owner, TerminateInstances { ids })
                    .await
                    .map_err(sentence)?;
                let observed = InstanceObserved {
                    id,
                    state: InstanceState::Terminated,
                    user_data_run: None,
                    failure: None,
                };
                handle
                    .apply(AccountId::DEFAULT, observed)
                    .await
                    .map_err(sentence)?;
            }
        }
        let forget = ForgetHost { name };
        handle
            .apply(AccountId::DEFAULT, forget)
            .await
            .map(drop)
            .map_err(sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_systems_name_is_made_to_fit() {
        for (name, fits) in [
            ("lab", "lab"),
            ("Lab-7.example.com", "lab-7"),
            ("my_host", "my-host"),
            ("-x-", "x"),
            ("", "this"),
            ("é", "this"),
            (&"y".repeat(70), &"y".repeat(63)),
        ] {
            assert_eq!(fitting(name).unwrap().as_str(), fits);
        }
    }
}
