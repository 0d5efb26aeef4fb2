//! Every reconciler as a task of its own, and what becomes of the daemon when one ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::hosts::Elsewhere;
use super::{hosted, nat_gateway, plane as data_plane, signal, stack, tick, unhosted};
use crate::daemon::Daemon;
use crate::handover::Handover;

/// Starts every reconciler of a daemon; where the region is served elsewhere, those alone that look after what is here.
/// Those that change regions by themselves begin when the data plane is in effect, or when that took longer than
/// `adoption`.
pub(crate) fn start(
    daemon: &Arc<Daemon>,
    handover: Option<&Handover>,
    adoption: Duration,
) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    let plane = daemon.plane.as_ref().zip(handover);
    let elsewhere = daemon
        .tunnel
        .map(|tunnel| Elsewhere::new(daemon.this_host, tunnel));
    for region in daemon.handles() {
        if let Some((plane, handover)) = plane {
            region.expect_in_effect();
            let rows =
                data_plane::run_rows(plane.clone(), elsewhere.clone(), region.clone(), handover.clone());
            tasks.push(tokio::spawn(watched(
                daemon.clone(),
                "the data plane ended",
                rows,
            )));
        }
        if daemon.member.is_none() {
            tasks.push(tokio::spawn(once_ready(
                daemon.clone(),
                adoption,
                nat_gateway::run(region.clone()),
            )));
            tasks.push(tokio::spawn(once_ready(
                daemon.clone(),
                adoption,
                stack::run(region.clone()),
            )));
            tasks.push(tokio::spawn(once_ready(
                daemon.clone(),
                adoption,
                tick::run(region.clone()),
            )));
        }
        if daemon.host.is_none() {
            tasks.push(tokio::spawn(unhosted::run(region.clone(), daemon.this_host)));
        }
    }
    if let Some((plane, handover)) = plane {
        let (adopted, regions) = (daemon.adopted.clone(), daemon.regions.clone());
        let reports = daemon.reports.subscribe();
        let ports = data_plane::run_ports(
            plane.clone(),
            elsewhere,
            regions,
            handover.clone(),
            reports,
            adopted,
        );
        tasks.push(tokio::spawn(watched(
            daemon.clone(),
            "the data plane ended",
            ports,
        )));
    }
    if let Some(host) = &daemon.host {
        let (regions, reports) = (daemon.regions.clone(), daemon.reports.clone());
        let signals = signal::run(host.clone(), regions.clone(), reports.subscribe());
        tasks.push(tokio::spawn(signals));
        let consoles = daemon.last_consoles.clone();
        let instances = hosted::run(host.clone(), daemon.this_host, regions, reports, consoles);
        // The namespace that this process stands in is gone with the holder: only a new process helps.
        let ended = watched(daemon.clone(), "the holder of the instances ended", async {
            Some(instances.await)
        });
        tasks.push(tokio::spawn(ended));
    }
    tasks
}

/// Runs what changes regions by itself, but not before packets meet what was durable: until then an earlier daemon's
/// answers may still be obeyed.
async fn once_ready(daemon: Arc<Daemon>, adoption: Duration, running: impl Future<Output = ()>) {
    if daemon.plane.is_some() {
        let _ = tokio::time::timeout(adoption, daemon.is_in_effect()).await;
    }
    running.await;
}

/// Likewise for one more thing that the daemon cannot go on without.
pub(crate) fn watch<E: std::fmt::Display + Send + 'static>(
    daemon: &Arc<Daemon>,
    what: &'static str,
    running: impl Future<Output = Option<E>> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(watched(daemon.clone(), what, running))
}

/// Runs what the daemon cannot go on without; if it ends with a reason, the daemon ends with it.
async fn watched<E: std::fmt::Display>(
    daemon: Arc<Daemon>,
    what: &'static str,
    running: impl Future<Output = Option<E>>,
) {
    let reason = running.await;
    if let Some(reason) = reason
        && !daemon.going_down.load(Ordering::SeqCst)
    {
        tracing::error!(%reason, "{what}");
        let _ = daemon.broken.set(format!("{what}: {reason}"));
        daemon.stop.notify_one();
    }
}
