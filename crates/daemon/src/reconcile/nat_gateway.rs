//! A NAT gateway is ready as soon as the data plane has its rows, and gone as soon as it is asked for: its
//! steps are taken here, each a command of its own.

use atoll_model::{AccountId, NatGateway, NatGatewayState};
use atoll_region::nat_gateway::{NatGatewayGone, NatGatewayReady};

use crate::region_handle::RegionHandle;

/// Moves a region's NAT gateways on until it is no longer served.
pub(crate) async fn run(handle: RegionHandle) {
    let mut latest = handle.latest();
    loop {
        let region = latest.borrow_and_update().clone();
        let moves: Vec<_> = region
            .all::<NatGateway>()
            .filter(|row| matches!(row.state, NatGatewayState::Pending | NatGatewayState::Deleting))
            .map(|row| (row.id, row.state))
            .collect();
        drop(region);
        for (gateway, state) in moves {
            let moved = match state {
                NatGatewayState::Pending => handle
                    .apply(AccountId::DEFAULT, NatGatewayReady { gateway })
                    .await
                    .map(drop),
                _ => handle
                    .apply(AccountId::DEFAULT, NatGatewayGone { gateway })
                    .await
                    .map(drop),
            };
            if let Err(error) = moved {
                tracing::warn!(%gateway, %error, "a NAT gateway did not move on");
            }
        }
        if latest.changed().await.is_err() {
            return;
        }
    }
}
