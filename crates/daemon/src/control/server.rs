//! Answering over the control socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use atoll_instance::InstanceState;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::follow::SILENCE;
use super::protocol::{ExecTarget, MAX_REPLY, MAX_REQUEST, Reply, Request};
use crate::daemon::Daemon;
use crate::feed;
use crate::reconcile::hosted::Reports;
use crate::reconcile::internet;

/// Conversations at a time; the socket is its owner's alone.
const MAX_CONNECTIONS: usize = 64;
/// Connections by way of `atoll feed` on which no host has joined yet.
const MAX_FEEDS: usize = 16;
/// How long the internet's namespace may take to start.
const OUTSIDE_STARTS: Duration = Duration::from_secs(60);
/// How long a client may be silent.
const IDLE: Duration = Duration::from_secs(300);

/// Answers until the task is dropped.
pub(crate) async fn serve(listener: UnixListener, daemon: Arc<Daemon>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let of_hosts = Arc::new(Semaphore::new(MAX_FEEDS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (daemon, of_hosts) = (daemon.clone(), of_hosts.clone());
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &daemon, place, &of_hosts).await {
                        tracing::debug!(%error, "a control connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// `place` is one of [`MAX_CONNECTIONS`], of which other hosts have none; `of_hosts` has theirs.
async fn converse(
    mut stream: UnixStream,
    daemon: &Arc<Daemon>,
    mut place: OwnedSemaphorePermit,
    of_hosts: &Arc<Semaphore>,
) -> io::Result<()> {
    // The mode of the socket says so already; this says it again.
    let peer = stream.peer_cred()?.uid();
    if peer != rustix::process::geteuid().as_raw() && peer != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut handed_on: Option<HandedOn> = None;
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut read).take(MAX_REQUEST);
        let patience = if handed_on.is_some() { SILENCE } else { IDLE };
        let received = tokio::time::timeout(patience, bounded.read_until(b'\n', &mut line)).await??;
        if received == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_slice(&line) {
            Ok(Request::Feed { host }) if handed_on.is_none() => match of_hosts.clone().try_acquire_owned() {
                Ok(other) => {
                    (handed_on, place) = (Some(HandedOn { host }), other);
                    continue;
                }
                Err(_) => refused("too many hosts are about to join: try again".into()),
            },
            Ok(Request::Follow(asked)) => match handed_on.as_ref().and_then(|it| it.refuses(&asked.name)) {
                None => return feed::serve(daemon, *asked, &mut read, &mut write, place).await,
                Some(message) => refused(message),
            },
            Ok(_) if handed_on.is_some() => {
                refused("`atoll feed` is for `atoll join` on another host and answers nothing else".into())
            }
            Ok(request) => answer(daemon, request).await,
            Err(error) if line.ends_with(b"\n") => {
                refused(format!("this daemon does not know that request: {error}"))
            }
            Err(_) => refused(format!("a request is one line of at most {MAX_REQUEST} bytes")),
        };
        let mut bytes = serde_json::to_vec(&reply)?;
        if bytes.len() as u64 >= MAX_REPLY {
            bytes = serde_json::to_vec(&refused(format!("the answer is over {MAX_REPLY} bytes")))?;
        }
        bytes.push(b'\n');
        write.write_all(&bytes).await?;
        // Another host asks one thing; one that is refused is not to keep its place by asking on.
        if !line.ends_with(b"\n") || handed_on.is_some() {
            return Ok(());
        }
    }
}

/// A connection that `atoll feed` hands on to another host.
struct HandedOn {
    /// The only host that may join by it; `None`, any.
    host: Option<String>,
}

impl HandedOn {
    /// Why a host of that name may not join by it.
    fn refuses(&self, name: &str) -> Option<String> {
        let host = self.host.as_ref().filter(|host| *host != name)?;
        Some(format!(
            "whoever asks here may join as the host {host} alone (`atoll feed --host {host}`)"
        ))
    }
}

fn refused(message: String) -> Reply {
    Reply::Error { message }
}

async fn answer(daemon: &Arc<Daemon>, request: Request) -> Reply {
    match request {
        Request::Status => {
            let daemon = daemon.clone();
            match tokio::task::spawn_blocking(move || daemon.status()).await {
                Ok(status) => Reply::Status(Box::new(status)),
                Err(panic) => refused(panic.to_string()),
            }
        }
        Request::Env => match daemon.served_elsewhere() {
            None => Reply::Env(daemon.env()),
            Some(message) => refused(message),
        },
        Request::Trace { query } => match daemon.trace(query).await {
            Ok(trace) => Reply::Trace(Box::new(trace)),
            Err(message) => refused(message),
        },
        Request::Drops { limit } => match daemon.drops(limit).await {
            Ok(drops) => Reply::Drops { drops },
            Err(message) => refused(message),
        },
        Request::Flows { place, limit } => match daemon.flows(place, limit).await {
            Ok(flows) => Reply::Flows(flows),
            Err(message) => refused(message),
        },
        Request::Sample { flows } => match daemon.sample(flows).await {
            Ok(sample) => Reply::Sample(Box::new(sample)),
            Err(message) => refused(message),
        },
        Request::ExecTarget { name } => exec_target(daemon, &name).await,
        // Those begin another kind of conversation.
        Request::Feed { .. } | Request::Follow(_) => refused("that is not asked here".into()),
        Request::ForgetHost { region, name, force } => {
            match daemon.forget_host(region.as_deref(), &name, force).await {
                Ok(()) => Reply::Done,
                Err(message) => refused(message),
            }
        }
        Request::Shutdown => {
            daemon.stop.notify_one();
            Reply::Done
        }
        Request::DownAll => match daemon.down_all().await {
            Ok(()) => Reply::Done,
            Err(message) => refused(message),
        },
    }
}

async fn exec_target(daemon: &Daemon, name: &str) -> Reply {
    let Some(host) = &daemon.host else {
        return refused(
            "this daemon has no data plane, so no instance has processes (--data-plane none)".into(),
        );
    };
    let target = |id: String| match host.exec_socket(&id) {
        Ok(socket) => Reply::ExecTarget(ExecTarget {
            id,
            socket: socket.display().to_string(),
        }),
        Err(error) => refused(error.to_string()),
    };
    if let Some(elsewhere) = daemon.exec_elsewhere(name) {
        return refused(elsewhere);
    }
    if name == internet::ID {
        // It is always there, but for the first moment of a daemon's life.
        let there = |reports: &Reports| {
            reports
                .get(internet::ID)
                .is_some_and(|report| report.state == InstanceState::Running)
        };
        let mut reports = daemon.reports.subscribe();
        if tokio::time::timeout(OUTSIDE_STARTS, reports.wait_for(there))
            .await
            .is_err()
        {
            return refused("the internet's namespace has not started; the daemon's log says why".into());
        }
        return target(name.to_owned());
    }
    match atoll_lens::find_instance(&daemon.current(), name) {
        Ok(instance) => target(instance.id.to_string()),
        Err(error) => refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_for_one_host_is_for_that_one_alone() {
        let any = HandedOn { host: None };
        assert_eq!(any.refuses("b"), None);
        let only = HandedOn {
            host: Some("b".into()),
        };
        assert_eq!(only.refuses("b"), None);
        assert!(only.refuses("c").unwrap().contains("as the host b alone"));
        assert!(only.refuses("").is_some());
    }
}
