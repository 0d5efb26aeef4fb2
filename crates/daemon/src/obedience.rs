//! Which revision the data planes of a region's other hosts obey, and whom an answer waits for.

use std::collections::BTreeMap;

use atoll_model::HostId;

/// Who is so few revisions behind is waited for again.
const NEAR: u64 = 64;

/// The hosts that are connected.
#[derive(Debug, Clone, Default)]
pub(crate) struct Obedience(BTreeMap<HostId, Obeys>);

#[derive(Debug, Clone, Copy, Default)]
struct Obeys {
    revision: u64,
    /// Not so while it catches up: after it came, and after it was too slow once.
    waited_for: bool,
}

impl Obedience {
    /// A host has come, and has nothing yet.
    pub(crate) fn came(&mut self, host: HostId) {
        self.0.insert(host, Obeys::default());
    }

    /// A host obeys a revision, while the region stands at `latest`.
    pub(crate) fn obeys(&mut self, host: HostId, revision: u64, latest: u64) {
        // One that the region has not come to is said in error, or in malice.
        if let Some(obeys) = self.0.get_mut(&host)
            && revision <= latest
        {
            obeys.revision = revision;
            obeys.waited_for |= revision.saturating_add(NEAR) >= latest;
        }
    }

    /// A host is away.
    pub(crate) fn left(&mut self, host: HostId) {
        self.0.remove(&host);
    }

    /// Whether some host that is waited for does not obey a revision yet.
    pub(crate) fn lags(&self, revision: u64) -> bool {
        self.0
            .values()
            .any(|obeys| obeys.waited_for && obeys.revision < revision)
    }

    /// Those that were too slow are not waited for until they have caught up; gives them.
    pub(crate) fn give_up(&mut self, revision: u64) -> Vec<HostId> {
        let slow = self
            .0
            .iter_mut()
            .filter(|(_, obeys)| obeys.waited_for && obeys.revision < revision);
        slow.map(|(host, obeys)| {
            obeys.waited_for = false;
            *host
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_come_is_waited_for_once_it_has_caught_up() {
        let (mut hosts, b) = (Obedience::default(), HostId::new(2));
        hosts.came(b);
        assert!(!hosts.lags(1000));
        hosts.obeys(b, 10, 1000);
        assert!(!hosts.lags(1000));
        hosts.obeys(b, 1000, 1000);
        assert!(!hosts.lags(1000));
        assert!(hosts.lags(1001));
        hosts.obeys(b, 1001, 1001);
        assert!(!hosts.lags(1001));
    }

    #[test]
    fn who_is_too_slow_is_given_up_until_it_is_near() {
        let (mut hosts, b, c) = (Obedience::default(), HostId::new(2), HostId::new(3));
        for host in [b, c] {
            hosts.came(host);
            hosts.obeys(host, 1, 1);
        }
        hosts.obeys(c, 2, 2);
        assert_eq!(hosts.give_up(2), [b]);
        assert!(!hosts.lags(2));
        assert!(hosts.lags(3), "the other one is still waited for");
        hosts.left(c);
        hosts.obeys(b, 2, 1000);
        assert!(!hosts.lags(1000));
        hosts.obeys(b, 990, 1000);
        assert!(hosts.lags(1000));
    }

    #[test]
    fn a_revision_that_is_not_yet_says_nothing() {
        let (mut hosts, b) = (Obedience::default(), HostId::new(2));
        hosts.came(b);
        hosts.obeys(b, u64::MAX, 5);
        assert!(!hosts.lags(6));
        hosts.obeys(HostId::new(9), 5, 5);
        assert!(!hosts.lags(6), "a host that is not here is nobody");
    }
}
