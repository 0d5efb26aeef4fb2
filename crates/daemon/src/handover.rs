//! From one daemon to the next while packets flow.
//!
//! Where the kernel forwards what is known, the holder keeps the links that let it, so it goes on when the daemon ends,
//! however it does. The next daemon stands before the earlier one's program, which forwards what it knew until this one has
//! the rules, the flows and the ports; then the earlier one's links go. They go before any answer is given to a caller and
//! before any change of configuration that this daemon makes itself.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use atoll_instance::Host;
use atoll_plane::{Plane, PlaneError};

/// One daemon's side of it; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Handover {
    host: Host,
    generation: u64,
    done: Arc<Mutex<bool>>,
}

impl Handover {
    pub(crate) fn new(host: Host, generation: u64) -> Handover {
        Handover {
            host,
            generation,
            done: Arc::default(),
        }
    }

    /// Has the holder keep what forwards at a port. Blocks.
    pub(crate) fn keep(&self, plane: &Plane, ifindex: u32) {
        self.keep_all(ifindex, plane.link(ifindex).map(Vec::from_iter));
    }

    /// The same at the VXLAN device. Blocks.
    pub(crate) fn keep_tunnel(&self, plane: &Plane, ifindex: u32) {
        self.keep_all(ifindex, plane.tunnel_links());
    }

    fn keep_all(&self, ifindex: u32, links: Result<Vec<OwnedFd>, PlaneError>) {
        let kept = links.map_err(|error| error.to_string()).and_then(|links| {
            (0..).zip(links).try_for_each(|(place, link)| {
                let kept = self.host.keep_link(self.generation, ifindex, place, link.as_fd());
                kept.map_err(|error| error.to_string())
            })
        });
        if let Err(error) = kept {
            // It forwards all the same, as long as this process lives.
            tracing::warn!(%error, ifindex, "the holder does not keep what forwards at an interface");
        }
    }

    /// Ends what the earlier daemon left; does nothing the second time. Blocks.
    ///
    /// # Errors
    /// When the holder does not do it: nothing may be changed or answered then.
    pub(crate) fn finish(&self) -> Result<(), atoll_instance::Error> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if !*done {
            self.host.drop_links(self.generation)?;
            *done = true;
        }
        Ok(())
    }
}
