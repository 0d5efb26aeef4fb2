//! From one daemon to the next while packets flow.
//!
//! Where the kernel forwards what is known, the holder keeps the links that let it, so it goes on when the daemon ends,
//! however it does. The next daemon stands before the earlier one's program, which forwards what it knew until this one has
//! the rules, the flows and the ports; then the earlier one's links go. They go before any answer is given to a caller and
//! before any change of configuration that this daemon makes itself.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use atoll_instance::Host;
use atoll_plane::Plane;

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
        let kept = match plane.link(ifindex) {
            Ok(Some(link)) => self
                .host
                .keep_link(self.generation, ifindex, 0, link.as_fd())
                .map_err(|error| error.to_string()),
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = kept {
            // It forwards all the same, as long as this process lives.
            tracing::warn!(%error, ifindex, "the holder does not keep a port's link");
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
