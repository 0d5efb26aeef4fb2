//! What is counted.

use atoll_fabric::{Port, Stage};

use crate::fast::KernelCounters;
use crate::losses::LostFrames;

/// Counts since the plane started.
#[derive(Clone, Debug, PartialEq)]
pub struct Counters {
    /// What the kernel forwarded, or left to the engine, by itself; `None` where it takes no part. All other counts
    /// but [`Counters::stage`] are the engine's alone.
    pub kernel: Option<KernelCounters>,
    /// Packets read, a super-segment counting once.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on.
    pub bytes: u64,
    /// Packets that a kept answer forwarded.
    pub hits: u64,
    /// Packets that were walked.
    pub walks: u64,
    /// Kept answers that a change made stale and that were looked at again before a packet came.
    pub revalidated: u64,
    /// Packets dropped by a verdict kept from an earlier one.
    pub drop_hits: u64,
    /// Packets dropped unread, by the engine or by the kernel for it, since their port had sent more that was to be
    /// walked than its share while others waited: counted as `table-full` (semantics 48).
    pub misses_refused: u64,
    /// Pieces of packets that came before the first one, which has the ports, and waited for it.
    pub fragments_waited: u64,
    /// ARP requests and neighbour solicitations answered.
    pub neighbours_answered: u64,
    /// ARP and neighbour discovery that nobody answers: probes, announcements, router solicitations, questions
    /// for addresses that are not there.
    pub neighbours_ignored: u64,
    /// ICMP errors and TCP resets sent.
    pub answers: u64,
    /// ICMP errors that a port's rate limit withheld.
    pub answers_withheld: u64,
    /// Frames that the kernel refused to send.
    pub refused: u64,
    /// Frames that found no free place where they are received.
    pub overrun: u64,
    /// Those, by where it was and by ports as far as these are known.
    pub lost: Vec<LostFrames>,
    /// Ports that have a lane of their own now, since they flood.
    pub flooding: Vec<Port>,
    /// How often a port was given one.
    pub lanes_given: u64,
    /// Packets that went on to other hosts.
    pub sent_elsewhere: u64,
    /// Packets that came from other hosts, whatever became of them.
    pub from_elsewhere: u64,
    /// Of these: in a network that names no VPC here, from no host that is known, or without being what a host sends.
    pub wire_unknown: u64,
    /// Of these: for whom or from whom there is nobody, or not on that host, or nobody who may send that.
    pub wire_spoofed: u64,
    stages: [u64; Stage::ALL.len()],
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            kernel: None,
            packets: 0,
            bytes: 0,
            hits: 0,
            walks: 0,
            revalidated: 0,
            drop_hits: 0,
            misses_refused: 0,
            fragments_waited: 0,
            neighbours_answered: 0,
            neighbours_ignored: 0,
            answers: 0,
            answers_withheld: 0,
            refused: 0,
            overrun: 0,
            lost: Vec::new(),
            flooding: Vec::new(),
            lanes_given: 0,
            sent_elsewhere: 0,
            from_elsewhere: 0,
            wire_unknown: 0,
            wire_spoofed: 0,
            stages: [0; Stage::ALL.len()],
        }
    }
}

impl Counters {
    /// Packets that ended at a stage.
    pub fn stage(&self, stage: Stage) -> u64 {
        let kernel = self.kernel.unwrap_or_default();
        let kernel = match stage {
            Stage::Delivered => kernel.delivered,
            Stage::ExitsToInternet => kernel.exited,
            _ => 0,
        };
        self.stages.get(stage as usize).copied().unwrap_or(0) + kernel
    }

    /// Every stage where a packet ended, with how many.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, u64)> + '_ {
        Stage::ALL
            .iter()
            .map(|s| (*s, self.stage(*s)))
            .filter(|(_, count)| *count > 0)
    }

    #[inline]
    pub(crate) fn ended(&mut self, stage: Stage, packets: u64) {
        if let Some(count) = self.stages.get_mut(stage as usize) {
            *count += packets;
        }
    }
}
