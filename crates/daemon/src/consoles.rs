//! What this host's instances have written to their consoles, those that are terminated included.

use atoll_instance::Host;
use atoll_model::{InstanceId, Timestamp};

use crate::entropy;
use crate::last_console::LastConsoles;

/// The last 64 KiB that an instance wrote, and when that was.
pub(crate) type Console = (Vec<u8>, Timestamp);

/// Where they are.
#[derive(Clone)]
pub(crate) struct Consoles {
    /// `None` without a data plane.
    pub(crate) host: Option<Host>,
    pub(crate) last: LastConsoles,
}

impl Consoles {
    /// What an instance wrote; `None` when nothing is known of it here.
    pub(crate) async fn of(&self, instance: InstanceId) -> Option<Console> {
        let host = self.host.clone();
        let read = move || {
            let (host, id) = (host?, instance.to_string());
            let written = std::fs::metadata(host.console_path(&id).ok()?)
                .ok()?
                .modified()
                .ok()?;
            Some((host.console(&id).ok()?, entropy::timestamp(written)))
        };
        let read = tokio::task::spawn_blocking(read).await.ok().flatten();
        read.or_else(|| self.last.of(instance))
    }
}
