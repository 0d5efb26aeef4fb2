//! Which daemon is meant, and the way to it.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use atoll_access::{Credential, SecretKey};
use atoll_daemon::control::client::{ControlError, ask, feed};
use atoll_daemon::control::protocol::{Env, Reply, Request};
use atoll_daemon::options::DEFAULT_LISTEN;
use atoll_daemon::{places, removal};
use atoll_model::AccountId;

use crate::api::Api;
use crate::output;

/// How long a daemon that was started may take until it serves: it may have instances to adopt.
const START: Duration = Duration::from_secs(60);

/// Why a daemon cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The endpoint is not a URL of ours.
    #[error("the endpoint {0:?} is not of the form http://HOST:PORT; atoll daemons speak http")]
    Endpoint(String),
    /// Something that only the daemon's own host can do.
    #[error("{0} is on another host, and this is asked over the control socket on the daemon's own host")]
    Remote(String),
    /// No credentials for a daemon elsewhere.
    #[error("to call {0}, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key of that daemon")]
    NoCredentials(String),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The daemon that was started ended again.
    #[error("the daemon did not start; {why}")]
    NotStarted {
        /// The end of its log.
        why: String,
    },
    /// A daemon that was named does not run, and it is not the one that is started unasked.
    #[error(
        "no atoll daemon answers at {endpoint}: start it with `atoll serve --listen 127.0.0.1:{port}`; \
         without --endpoint and AWS_ENDPOINT_URL, `atoll up` starts the default one"
    )]
    NotStartedHere {
        /// What was named.
        endpoint: String,
        /// Its port.
        port: u16,
    },
    /// The daemon does not serve the region.
    #[error(
        "{region} is not served here: name one of {served}, or start the daemon with --region {region}, too"
    )]
    NotServed {
        /// The region.
        region: String,
        /// Those that are.
        served: String,
    },
    /// The control socket answered something else.
    #[error("the daemon's answer makes no sense: is it of another version?")]
    Confused,
}

/// A daemon that was named, or the default one.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its API.
    pub endpoint: String,
    host: String,
    port: u16,
}

impl Connection {
    /// The daemon that the endpoint names.
    ///
    /// # Errors
    /// When it is not a URL of the form `http://HOST:PORT`.
    pub fn new(endpoint: Option<String>) -> Result<Self, ConnectionError> {
        // An empty variable names nothing, as AWS's own clients have it.
        let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty());
        let endpoint = endpoint.unwrap_or_else(|| format!("http://{DEFAULT_LISTEN}"));
        let wrong = || ConnectionError::Endpoint(endpoint.clone());
        let authority = endpoint
            .strip_prefix("http://")
            .ok_or_else(wrong)?
            .trim_end_matches('/');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (authority, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.contains(['/', '?', '#', '@']) {
            return Err(wrong());
        }
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            host,
            port,
        })
    }

    /// The API's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn is_local(&self) -> bool {
        let address: Result<IpAddr, _> = self.host.parse();
        self.host == "localhost"
            || address.is_ok_and(|address| address.is_loopback() || address == Ipv4Addr::UNSPECIFIED)
    }

    /// Whether it is the one that `atoll up` starts, however it was named: `atoll env` names it, too.
    fn is_default(&self) -> bool {
        let address: Result<IpAddr, _> = self.host.parse();
        self.port == DEFAULT_LISTEN.port() && (self.host == "localhost" || address == Ok(DEFAULT_LISTEN.ip()))
    }

    fn control_socket(&self) -> Result<PathBuf, ConnectionError> {
        if !self.is_local() {
            return Err(ConnectionError::Remote(self.endpoint.clone()));
        }
        Ok(places::find_control_socket(self.port))
    }

    /// Hands a connection on to another host; with `host` it may join by that name alone.
    ///
    /// # Errors
    /// When the daemon is elsewhere or does not answer.
    pub fn feed(&self, host: Option<String>) -> Result<UnixStream, ConnectionError> {
        Ok(feed(&self.control_socket()?, host)?)
    }

    /// Asks over the control socket.
    ///
    /// # Errors
    /// When the daemon is elsewhere, does not answer, or refuses.
    pub fn ask(&self, request: &Request) -> Result<Reply, ConnectionError> {
        Ok(ask(&self.control_socket()?, request)?)
    }

    /// What a shell needs to call the API.
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub fn env(&self) -> Result<Env, ConnectionError> {
        match self.ask(&Request::Env)? {
            Reply::Env(env) => Ok(env),
            _ => Err(ConnectionError::Confused),
        }
    }

    /// The API, signed with the daemon's own key, or with the environment's for a daemon elsewhere.
    ///
    /// # Errors
    /// When there are no credentials for it, or it does not serve the region.
    pub fn api(&self, region: Option<String>) -> Result<Api, ConnectionError> {
        match self.env() {
            Ok(env) => {
                if let Some(region) = &region {
                    self.serves(region)?;
                }
                let credential = credential(&env.access_key, env.secret_key);
                let credential = credential.ok_or(ConnectionError::Confused)?;
                Ok(Api::new(
                    self.endpoint.clone(),
                    credential,
                    region.unwrap_or(env.region),
                ))
            }
            Err(ConnectionError::Remote(_)) => {
                let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
                let key = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
                let credential = key.and_then(|(key, secret)| credential(&key, secret));
                let credential =
                    credential.ok_or_else(|| ConnectionError::NoCredentials(self.endpoint.clone()))?;
                let region = region
                    .or_else(|| variable("AWS_REGION"))
                    .or_else(|| variable("AWS_DEFAULT_REGION"))
                    .unwrap_or_else(|| atoll_model::RegionName::DEFAULT.to_string());
                Ok(Api::new(self.endpoint.clone(), credential, region))
            }
            Err(error) => Err(error),
        }
    }

    fn serves(&self, region: &str) -> Result<(), ConnectionError> {
        let Reply::Status(status) = self.ask(&Request::Status)? else {
            return Err(ConnectionError::Confused);
        };
        let served: Vec<&str> = status.regions.iter().map(|region| region.name.as_str()).collect();
        match served.contains(&region) {
            true => Ok(()),
            false => Err(ConnectionError::NotServed {
                region: region.into(),
                served: served.join(", "),
            }),
        }
    }

    /// Starts the default daemon in the background if that is the one meant and it does not answer; says so on stderr.
    ///
    /// # Errors
    /// When it cannot be started or ends again, and when another one was named that does not answer.
    pub fn ensure_running(&self) -> Result<(), ConnectionError> {
        match self.ask(&Request::Status) {
            Ok(_) => return Ok(()),
            Err(ConnectionError::Control(ControlError::NotRunning { .. })) if self.is_default() => {}
            Err(ConnectionError::Control(ControlError::NotRunning { .. })) => {
                return Err(ConnectionError::NotStartedHere {
                    endpoint: self.endpoint.clone(),
                    port: self.port,
                });
            }
            Err(ConnectionError::Remote(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        let not_started = |why: String| ConnectionError::NotStarted { why };
        let data = places::private_directory(&places::default_data_directory())
            .map_err(|error| not_started(error.to_string()))?;
        let log = data.join(removal::LOG);
        let mut child = spawn(&log).map_err(|error| not_started(error.to_string()))?;
        output::note(format!("starting the atoll daemon; its log is {}", log.display()));
        let deadline = Instant::now() + START;
        while self.ask(&Request::Status).is_err() {
            if let Ok(Some(status)) = child.try_wait() {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let last = text
                    .lines()
                    .rev()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or("it said nothing");
                return Err(not_started(format!(
                    "{status}: {}",
                    last.trim_start_matches("atoll: ")
                )));
            }
            if Instant::now() > deadline {
                return Err(not_started(format!(
                    "it does not answer after {START:?}; see {}",
                    log.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Its own words go to its log.
        if let Ok(Reply::Status(status)) = self.ask(&Request::Status)
            && status.limits.reason.is_some()
        {
            output::note(status.limits.sentence());
        }
        Ok(())
    }
}

fn credential(key: &str, secret: String) -> Option<Credential> {
    Some(Credential {
        account: AccountId::DEFAULT,
        access_key: key.parse().ok()?,
        secret: SecretKey::new(secret),
    })
}

fn spawn(log: &std::path::Path) -> std::io::Result<Child> {
    use std::os::unix::fs::OpenOptionsExt;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(log)?;
    std::process::Command::new(std::env::current_exe()?)
        .args(["serve", "--detached"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        .spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_daemon_is_the_same_by_any_name() {
        let is_default =
            |endpoint: Option<&str>| Connection::new(endpoint.map(str::to_owned)).unwrap().is_default();
        assert!(is_default(None) && is_default(Some("")));
        assert!(is_default(Some("http://127.0.0.1:4600")) && is_default(Some("http://localhost:4600/")));
        for other in ["http://127.0.0.1:4601", "http://[::1]:4600", "http://lab:4600"] {
            assert!(!is_default(Some(other)), "{other}");
        }
    }

    #[test]
    fn endpoints_have_a_host_and_a_port() {
        let parts = |endpoint: &str| {
            let connection = Connection::new(Some(endpoint.into()))?;
            Ok::<_, ConnectionError>((connection.host.clone(), connection.port, connection.is_local()))
        };
        assert_eq!(
            parts("http://127.0.0.1:4600/").unwrap(),
            ("127.0.0.1".into(), 4600, true)
        );
        assert_eq!(
            parts("http://localhost:1").unwrap(),
            ("localhost".into(), 1, true)
        );
        assert_eq!(parts("http://[::1]:4600").unwrap(), ("::1".into(), 4600, true));
        assert_eq!(
            parts("http://atoll.example").unwrap(),
            ("atoll.example".into(), 80, false)
        );
        for wrong in [
            "https://127.0.0.1:4600",
            "127.0.0.1:4600",
            "http://",
            "http://h:x",
            "http://h:1/p",
        ] {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
    }
}
