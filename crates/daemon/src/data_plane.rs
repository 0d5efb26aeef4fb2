//! Which data plane a daemon gets: the one that is wanted, or the fastest that is permitted here.

use std::path::Path;

use atoll_plane::{Plane, PlaneConfig, PlaneError};

use crate::options::DataPlane;

/// Starts the data plane that is wanted, or the fastest that is permitted here, with why it is not a faster one.
pub(crate) fn start(
    wanted: Option<DataPlane>,
    flows: &Path,
) -> Result<(Plane, DataPlane, Option<String>), PlaneError> {
    let start = |config| match Plane::resume(config, flows) {
        Err(error @ PlaneError::Journal { .. }) => {
            tracing::warn!(%error, "connections will not outlive this process");
            Plane::start(config)
        }
        started => started,
    };
    if wanted == Some(DataPlane::Userspace) {
        return Ok((start(PlaneConfig::HOST)?, DataPlane::Userspace, None));
    }
    match start(PlaneConfig::HOST_FAST) {
        Ok(plane) => Ok((plane, DataPlane::Ebpf, None)),
        Err(PlaneError::Fast(error)) if wanted.is_none() => {
            let plane = start(PlaneConfig::HOST)?;
            Ok((plane, DataPlane::Userspace, Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}
