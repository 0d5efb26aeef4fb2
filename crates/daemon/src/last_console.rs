//! What terminated instances had written to their consoles: their files are gone, and why a stack rolled
//! back is often to be read there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use atoll_model::{InstanceId, Timestamp};

/// How many instances' consoles are kept, the latest; one is at most 64 KiB.
const KEPT: usize = 64;

struct Last {
    instance: InstanceId,
    text: Vec<u8>,
    at: Timestamp,
}

/// The last consoles, in memory alone: they are gone with the daemon.
#[derive(Clone, Default)]
pub(crate) struct LastConsoles(Arc<Mutex<VecDeque<Last>>>);

impl LastConsoles {
    /// Keeps what an instance that is being terminated wrote until `at`.
    pub(crate) fn keep(&self, instance: InstanceId, text: Vec<u8>, at: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A termination that is tried again.
        kept.retain(|last| last.instance != instance);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Last { instance, text, at });
    }

    /// What the instance wrote, and when that was read last.
    pub(crate) fn of(&self, instance: InstanceId) -> Option<(Vec<u8>, Timestamp)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept.iter().find(|last| last.instance == instance)?;
        Some((last.text.clone(), last.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> InstanceId {
        format!("i-{number:017x}").parse().unwrap()
    }

    #[test]
    fn the_latest_consoles_are_kept_and_the_oldest_go() {
        let consoles = LastConsoles::default();
        let at = crate::entropy::now();
        for number in 0..=KEPT as u64 {
            consoles.keep(id(number), vec![b'x'], at);
        }
        consoles.keep(id(1), b"again".to_vec(), at);
        assert_eq!(consoles.of(id(0)), None);
        assert_eq!(consoles.of(id(1)), Some((b"again".to_vec(), at)));
        assert!(consoles.of(id(2)).is_some());
    }
}
