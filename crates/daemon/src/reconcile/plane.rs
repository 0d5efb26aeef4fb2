//! Keeps the data plane's copy: each region's rows, and the ports that the holder reports.
//!
//! A command is answered only once the data plane has its rows (see [`RegionHandle::in_effect`]): whoever is
//! told that a route exists may send packets along it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use atoll_instance::InstanceState as Held;
use atoll_model::EniId;
use atoll_net::Mac;
use atoll_plane::{Attachment, Plane, PlaneError};
use atoll_region::Region;
use tokio::sync::watch;

use super::hosted::Reports;
use super::hosts::Elsewhere;
use super::internet;
use crate::handover::Handover;
use crate::region_handle::{Followed, RegionHandle};
use crate::writer::difference;

/// Feeds a region's deltas; gives the reason why it ended.
pub(crate) async fn run_rows(
    plane: Plane,
    elsewhere: Option<Elsewhere>,
    handle: RegionHandle,
    handover: Handover,
) -> Option<String> {
    let mut follower = handle.follow();
    // What the plane has of this region.
    let mut at: Option<Arc<Region>> = None;
    loop {
        let (region, delta) = match follower.next().await? {
            Followed::Restart(region) => {
                let nothing = Region::new(region.config().clone());
                (
                    region.clone(),
                    difference(at.as_deref().unwrap_or(&nothing), &region),
                )
            }
            Followed::Delta(published) => (published.region.clone(), published.delta.clone()),
        };
        let revision = region.revision().0;
        let (plane, handover, first) = (plane.clone(), handover.clone(), at.is_none());
        let (elsewhere, next) = (elsewhere.clone(), region.clone());
        let applied = tokio::task::spawn_blocking(move || {
            // What an earlier daemon left in the kernel does not know of changes.
            if !first {
                handover.finish().map_err(|error| error.to_string())?;
            }
            let begun = Instant::now();
            if let Some(elsewhere) = elsewhere {
                let told = elsewhere.before(&plane, &next, &delta);
                told.map_err(|error| error.to_string())?;
            }
            plane.apply(&delta).map_err(|error| error.to_string())?;
            // What `bench/change` reads.
            let micros = begun.elapsed().as_micros() as u64;
            tracing::debug!(revision, micros, "obeyed");
            Ok(())
        });
        match applied.await {
            Ok(Ok(())) => handle.now_in_effect(revision),
            Ok(Err(reason)) => return Some(reason),
            Err(_) => return Some(PlaneError::Stopped.to_string()),
        }
        at = Some(region);
    }
}

/// A port as it was given to the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Given {
    ifindex: u32,
    generation: u64,
    attachment: Attachment,
}

/// Tells the plane of ports that come and go, and `adopted` once it has those that the holder's first report
/// names; gives the reason why it ended. Ports come when the rows of all `regions` have, and the way to other hosts: no
/// packet of an established flow meets rules that are not there yet.
pub(crate) async fn run_ports(
    plane: Plane,
    elsewhere: Option<Elsewhere>,
    regions: Vec<RegionHandle>,
    handover: Handover,
    mut reports: watch::Receiver<Reports>,
    adopted: watch::Sender<bool>,
) -> Option<PlaneError> {
    for region in &regions {
        region.in_effect().await;
    }
    let (settling, keeping) = (plane.clone(), handover.clone());
    let settled = tokio::task::spawn_blocking(move || {
        settling.settle()?;
        match elsewhere {
            Some(elsewhere) => elsewhere.begin(&settling, &keeping),
            None => Ok(()),
        }
    });
    match settled.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Some(error),
        Err(_) => return Some(PlaneError::Stopped),
    }
    let mut given: BTreeMap<String, Given> = BTreeMap::new();
    loop {
        // Nothing is reported before the holder has said what there is.
        if reports.changed().await.is_err() {
            return None;
        }
        let wanted = ports(&reports.borrow_and_update());
        let gone: Vec<(String, Given)> = given
            .iter()
            .filter(|(id, port)| wanted.get(*id) != Some(*port))
            .map(|(id, port)| (id.clone(), *port))
            .collect();
        let came: Vec<(String, Given)> = wanted
            .into_iter()
            .filter(|(id, port)| given.get(id) != Some(port))
            .collect();
        for (id, _) in &gone {
            given.remove(id);
        }
        let (plane, handover, ups) = (plane.clone(), handover.clone(), came.clone());
        let told = tokio::task::spawn_blocking(move || {
            // First what goes: an interface's index is given again as soon as it is free.
            gone.iter()
                .try_for_each(|(_, port)| plane.port_down(port.ifindex))?;
            ups.iter()
                .try_for_each(|(_, port)| plane.port_up(port.ifindex, port.attachment))?;
            ups.iter()
                .for_each(|(_, port)| handover.keep(&plane, port.ifindex));
            Ok(())
        });
        match told.await {
            Ok(Ok(())) => given.extend(came),
            Ok(Err(error)) => return Some(error),
            Err(_) => return Some(PlaneError::Stopped),
        }
        adopted.send_replace(true);
    }
}

fn ports(reports: &Reports) -> BTreeMap<String, Given> {
    let running = reports
        .values()
        .filter(|report| matches!(report.state, Held::Running | Held::Starting));
    running
        .flat_map(|report| &report.ports)
        .filter_map(|port| {
            let attachment = match port.id.as_str() {
                internet::ID => Attachment::Internet {
                    router: Mac(internet::ROUTER_MAC),
                    station: Mac(port.mac),
                },
                id => Attachment::Eni(id.parse::<EniId>().ok()?),
            };
            let given = Given {
                ifindex: port.host_index,
                generation: port.generation,
                attachment,
            };
            Some((port.id.clone(), given))
        })
        .collect()
}
