//! Keeps the data plane's copy: each region's rows, and the ports that the holder reports.
//!
//! A command is answered only once the data plane has its rows (see [`RegionHandle::in_effect`]): whoever is
//! told that a route exists may send packets along it.

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_instance::InstanceState as Held;
use atoll_model::EniId;
use atoll_net::Mac;
use atoll_plane::{Attachment, Plane, PlaneError};
use atoll_region::Region;
use tokio::sync::watch;

use super::hosted::Reports;
use super::internet;
use crate::region_handle::{Followed, RegionHandle};
use crate::writer::difference;

/// Feeds a region's deltas; gives the reason why it ended.
pub(crate) async fn run_rows(plane: Plane, handle: RegionHandle) -> Option<PlaneError> {
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
        let plane = plane.clone();
        match tokio::task::spawn_blocking(move || plane.apply(&delta)).await {
            Ok(Ok(())) => handle.now_in_effect(revision),
            Ok(Err(error)) => return Some(error),
            Err(_) => return Some(PlaneError::Stopped),
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
/// names; gives the reason why it ended.
pub(crate) async fn run_ports(
    plane: Plane,
    mut reports: watch::Receiver<Reports>,
    adopted: watch::Sender<bool>,
) -> Option<PlaneError> {
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
        let (plane, ups) = (plane.clone(), came.clone());
        let told = tokio::task::spawn_blocking(move || {
            // First what goes: an interface's index is given again as soon as it is free.
            gone.iter()
                .try_for_each(|(_, port)| plane.port_down(port.ifindex))?;
            ups.iter()
                .try_for_each(|(_, port)| plane.port_up(port.ifindex, port.attachment))
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
