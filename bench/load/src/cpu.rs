//! The machine's busy time, from `/proc/stat`: all that every processor did, in the kernel or out of it.

use crate::Failure;

/// The kernel's clock ticks a second in `/proc/stat` (USER_HZ).
const TICKS: f64 = 100.0;

/// Seconds that all processors together have been busy since boot.
pub fn busy() -> Result<f64, Failure> {
    parse(&std::fs::read_to_string("/proc/stat")?).ok_or_else(|| "/proc/stat has no line `cpu`".into())
}

fn parse(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is already in user.
    let (&[user, nice, system, _idle, _iowait, irq, softirq], _) = fields.split_first_chunk::<7>()?;
    Some((user + nice + system + irq + softirq) as f64 / TICKS)
}

#[cfg(test)]
mod tests {
    #[test]
    fn idle_and_waiting_are_not_busy() {
        let stat = "cpu  100 20 300 4000 500 6 70 8 9 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(super::parse(stat), Some(4.96));
        assert_eq!(super::parse("intr 1 2 3\n"), None);
    }
}
