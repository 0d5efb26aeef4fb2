//! What a region's host and its other hosts say to each other, after [`Follow`] and [`Welcome`]: one JSON document a
//! line each way, for as long as the connection lasts.
//!
//! The region's host says all rows, then each change; the other host says what it sees of its instances, and which
//! revision its data plane obeys. Whoever has nothing to say says so every [`ALIVE`].

use std::net::IpAddr;
use std::time::Duration;

use atoll_instance::GuestSignal;
use atoll_model::instance::UserDataRun;
use atoll_model::{Change, HostId, InstanceId, InstanceState, RegionName, Row, Timestamp};
use atoll_net::Prefix;
use atoll_region::instance::InstanceObserved;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What both sides must agree in. It changes when a line's meaning does, and when rows do.
pub const PROTOCOL: u32 = 1;
/// Most rows in a line.
pub const MAX_ROWS: usize = 512;
/// A line of rows ends when it has so many bytes.
pub const FULL: usize = 1024 * 1024;
/// The longest line of the region's host, in bytes: several times a full one with the largest row that a store takes.
pub const MAX_FROM_REGION: usize = 16 * 1024 * 1024;
/// The longest line of another host, in bytes: a console has 64 KiB, of which each byte takes six at the worst.
pub const MAX_FROM_HOST: usize = 512 * 1024;
/// Observations and signals that may be without an answer.
pub const MAX_UNANSWERED: usize = 256;
/// Consoles that may be asked for at a time.
pub const MAX_CONSOLES: usize = 16;
/// Whoever has said nothing for so long says that it is there.
pub const ALIVE: Duration = Duration::from_secs(5);
/// Who has said nothing for so long is gone.
pub const SILENCE: Duration = Duration::from_secs(15);

/// How a host asks to be one of a region's. Every field beyond the protocol's number may be missing, so that another
/// version is told which one it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The version of its atoll.
    #[serde(default)]
    pub version: String,
    /// What it is called: 1 to 63 of a-z, 0-9 and the dash.
    #[serde(default)]
    pub name: String,
    /// Where other hosts' packets reach it.
    pub underlay: Option<IpAddr>,
    /// The longest IP packet of its underlay, in bytes.
    #[serde(default)]
    pub mtu: u32,
    /// The zones whose instances may run on it.
    #[serde(default)]
    pub zones: Vec<String>,
    /// The region.
    #[serde(default)]
    pub region: String,
    /// Which host served it when this one joined, if that was said: regions of one name are not the same one.
    #[serde(default)]
    pub serving: Option<HostId>,
}

/// The answer to [`Follow`]; rows come next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The host's id; another one than before if the region had forgotten it.
    pub host: HostId,
    /// The region.
    pub region: RegionName,
    /// Where the region's public IPv4 addresses come from.
    pub public_pool: Prefix,
    /// Where its IPv6 blocks come from.
    pub ipv6_pool: Prefix,
    /// The host that serves it; `None` without a data plane.
    #[serde(default)]
    pub serving: Option<HostId>,
}

/// What the region's host says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromRegion {
    /// Some of all rows, [`MAX_ROWS`] at most; those that do not come until [`FromRegion::Whole`] are gone.
    Rows(Vec<Row>),
    /// Those were all, as they stand at this revision.
    Whole {
        /// The region's revision.
        revision: u64,
    },
    /// What the next revision changed.
    Delta {
        /// That revision.
        revision: u64,
        /// What changed of what other hosts have; may be nothing.
        changes: Vec<Change>,
    },
    /// What became of an observation or a signal. What it changed has been said before.
    Answer {
        /// Its number.
        number: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// What has an instance of that host written to its console?
    Console {
        /// By which it is answered.
        number: u64,
        /// The instance.
        instance: InstanceId,
    },
    /// It is there.
    Alive,
    /// The connection ends.
    End {
        /// Why, as one sentence.
        why: String,
        /// Whether to come again.
        again: bool,
    },
}

/// What became of an observation or a signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is durable.
    Taken,
    /// It is not taken, and would not be another time.
    Refused(String),
    /// It is not taken, but may be another time.
    Later(String),
}

/// What another host says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromHost {
    /// What it sees of one of its instances.
    Observed {
        /// By which it is answered.
        number: u64,
        /// What.
        observation: Observation,
    },
    /// What one of its instances signals.
    Signal {
        /// By which it is answered.
        number: u64,
        /// The instance.
        instance: InstanceId,
        /// What it said.
        signal: GuestSignal,
    },
    /// To [`FromRegion::Console`].
    Console {
        /// The question's number.
        number: u64,
        /// What there is.
        console: Option<Written>,
    },
    /// Its data plane obeys this revision.
    Obeyed {
        /// The region's revision.
        revision: u64,
    },
    /// It is there.
    Alive,
}

/// What an instance wrote, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// A character a byte, U+0000 to U+00FF: it need not be UTF-8.
    text: String,
    /// When.
    at: Timestamp,
}

impl Written {
    /// These bytes.
    pub fn new(bytes: &[u8], at: Timestamp) -> Written {
        Written {
            text: bytes.iter().map(|byte| char::from(*byte)).collect(),
            at,
        }
    }

    /// The bytes; `None` when they are none.
    pub fn bytes(&self) -> Option<(Vec<u8>, Timestamp)> {
        let bytes = self
            .text
            .chars()
            .map(|character| u8::try_from(u32::from(character)));
        Some((bytes.collect::<Result<_, _>>().ok()?, self.at))
    }
}

/// [`InstanceObserved`], as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Which instance.
    pub instance: InstanceId,
    /// What it is seen in.
    pub state: InstanceState,
    /// How its user data fares, when that is known.
    pub user_data_run: Option<UserDataRun>,
    /// Why it could not be started, as one sentence.
    pub failure: Option<String>,
}

impl From<InstanceObserved> for Observation {
    fn from(observed: InstanceObserved) -> Self {
        Self {
            instance: observed.id,
            state: observed.state,
            user_data_run: observed.user_data_run,
            failure: observed.failure,
        }
    }
}

impl From<Observation> for InstanceObserved {
    fn from(observation: Observation) -> Self {
        Self {
            id: observation.instance,
            state: observation.state,
            user_data_run: observation.user_data_run,
            failure: observation.failure,
        }
    }
}

/// A host other than the region's own, as its status says how it stands with the region's host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedStatus {
    /// What this host is called.
    pub name: String,
    /// The region.
    pub region: String,
    /// Where other hosts' packets reach it; absent without a data plane.
    pub underlay: Option<IpAddr>,
    /// The region's host, as far as it is known.
    pub region_host: Option<String>,
    /// Whether the region's host is connected.
    pub connected: bool,
    /// Since when it is, or is not, as EC2 prints it.
    pub since: String,
    /// Why it is not.
    pub why: Option<String>,
}

/// A line that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("a line that means nothing here ({why}): {line:?}")]
pub struct Meaningless {
    /// Its beginning.
    line: String,
    /// What is wrong with it.
    why: String,
}

/// A line, with its end.
///
/// # Errors
/// When a row cannot be written as JSON, which none should be.
pub fn encode<T: Serialize>(said: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    Ok(line)
}

/// What a line says.
///
/// # Errors
/// When it is none of the things that may be said.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, Meaningless> {
    serde_json::from_slice(line).map_err(|why| Meaningless {
        line: beginning(line),
        // It may repeat what it does not know, as long as the line.
        why: plain(&why.to_string()),
    })
}

/// How a line begins, for a sentence about it.
pub(crate) fn beginning(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.get(..line.len().min(256)).unwrap_or(line));
    text.trim_end().chars().take(80).collect()
}

/// The beginning of what another host's words are part of, for the log: a terminal is to find nothing in it that it obeys.
pub(crate) fn plain(text: &str) -> String {
    let printed = text.chars().filter(|character| !character.is_control());
    printed.take(300).collect()
}

/// Whether other hosts have the row: not what only the region's host acts upon, which may hold secrets.
pub fn travels(table: &str) -> bool {
    !matches!(table, "stack" | "stack_template" | "stack_event")
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_model::{AccountId, InternetGateway, InternetGatewayId, Key};

    fn gateway(bits: u64) -> Row {
        InternetGateway {
            id: InternetGatewayId::new(bits),
            owner: AccountId::DEFAULT,
            vpc: None,
            tags: Default::default(),
        }
        .into()
    }

    #[test]
    fn what_is_said_is_what_is_heard() {
        let said = [
            FromRegion::Rows(vec![gateway(1), gateway(2)]),
            FromRegion::Whole { revision: 7 },
            FromRegion::Delta {
                revision: 8,
                changes: vec![
                    Change::Put(gateway(3)),
                    Change::Delete(Key::InternetGateway(InternetGatewayId::new(1))),
                ],
            },
            FromRegion::Answer {
                number: 1,
                outcome: Outcome::Refused("no".into()),
            },
            FromRegion::Alive,
        ];
        for said in said {
            let line = encode(&said).unwrap();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(decode::<FromRegion>(&line).unwrap(), said);
        }
        let said = FromHost::Observed {
            number: 3,
            observation: Observation {
                instance: InstanceId::new(5),
                state: InstanceState::Running,
                user_data_run: Some(UserDataRun::Exited(1)),
                failure: Some("a\nb".into()),
            },
        };
        let line = encode(&said).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(decode::<FromHost>(&line).unwrap(), said);
    }

    #[test]
    fn a_line_that_means_nothing_is_told_by_its_beginning() {
        let deep = "[".repeat(100_000);
        let long = format!("{{\"\\u001b[2J{}\":1}}", "x".repeat(100_000));
        for line in [
            "",
            "Welcome to Debian",
            "{\"rows\":[{\"moon\":{}}]}",
            "\"dead\"",
            &deep,
            &long,
            "{\"alive\":1,\"x\":2}",
        ] {
            let error = decode::<FromRegion>(line.as_bytes()).unwrap_err().to_string();
            assert!(error.len() < 600 && !error.contains('\u{1b}'), "{error}");
        }
        assert!(decode::<FromHost>(&[0xff; 1000]).is_err());
    }

    #[test]
    fn a_console_need_not_be_text_and_fits_a_line() {
        let bytes: Vec<u8> = (0..64 * 1024).map(|n| (n % 256) as u8).collect();
        for bytes in [bytes, vec![0; 64 * 1024]] {
            let said = FromHost::Console {
                number: u64::MAX,
                console: Some(Written::new(&bytes, Timestamp(7))),
            };
            let line = encode(&said).unwrap();
            assert!(line.len() < MAX_FROM_HOST);
            let FromHost::Console {
                console: Some(console),
                ..
            } = decode(&line).unwrap()
            else {
                panic!()
            };
            assert_eq!(console.bytes(), Some((bytes, Timestamp(7))));
        }
        let wrong: Written = serde_json::from_str("{\"text\":\"\u{20ac}\",\"at\":7}").unwrap();
        assert_eq!(wrong.bytes(), None);
    }

    #[test]
    fn another_versions_follow_is_read_for_its_number() {
        let line = br#"{"protocol":9,"who":"b","underlay":null,"colour":"green"}"#;
        assert_eq!(decode::<Follow>(line).unwrap().protocol, 9);
        assert_eq!(decode::<Follow>(br#"{"protocol":9}"#).unwrap().protocol, 9);
    }
}
