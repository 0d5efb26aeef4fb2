//! Datagrams of 64 bytes over one flow, sent many a system call, counted where they arrive; and the processor time
//! that the whole machine spent meanwhile.
//!
//! The rate is that of the receiver while the sender sends, without the first tenth: what waits in a queue when the
//! sender stops does not count as carried in that time (but not as lost either).

use std::io::ErrorKind;
use std::net::{IpAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::batch::Batch;
use crate::cpu;
use crate::first_packet::any_port;
use crate::serve::{COUNTER, COUNTS, ask, now, whole_bins};

/// Datagrams a system call without a rate.
const MANY: usize = 32;
/// Datagrams a system call with one.
const FEW: usize = 8;
/// How long the receiver must have been silent to be taken as finished, and how long that is waited for at most.
const SILENCE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(3);

/// What was sent at some rate, and what came of it.
struct Seen {
    /// Datagrams a second that arrived while more were sent.
    rate: f64,
    sent: u64,
    arrived: u64,
    refused: u64,
    /// Seconds of processor time, the whole machine's.
    busy: f64,
}

impl Seen {
    fn lost_part(&self) -> f64 {
        1.0 - self.arrived as f64 / self.sent as f64
    }
}

/// Sends for `time`, `rate` a second or as many as go (0), and prints what arrived.
pub fn measure(address: IpAddr, time: Duration, rate: u64) -> Result<(), Failure> {
    let seen = send(address, time, rate)?;
    println!(
        r#"{{"per_second": {:.1}, "sent": {}, "arrived": {}, "refused": {}, "lost_part": {:.6}, "cpu_us_per_packet": {:.4}}}"#,
        seen.rate,
        seen.sent,
        seen.arrived,
        seen.refused,
        seen.lost_part(),
        seen.busy * 1e6 / seen.arrived as f64,
    );
    Ok(())
}

/// Finds the path's rate, which is what arrives of as many as go, then sends half of that, and four fifths; each for a
/// third of `time`. Prints what of these was lost.
pub fn below_the_rate(address: IpAddr, time: Duration) -> Result<(), Failure> {
    let part = time / 3;
    let rate = send(address, part, 0)?.rate;
    let half = send(address, part, (rate * 0.5) as u64)?;
    let most = send(address, part, (rate * 0.8) as u64)?;
    println!(
        r#"{{"per_second": {rate:.1}, "sent_half": {}, "lost_half": {:.6}, "sent_most": {}, "lost_most": {:.6}}}"#,
        half.sent,
        half.lost_part(),
        most.sent,
        most.lost_part(),
    );
    Ok(())
}

fn send(address: IpAddr, time: Duration, rate: u64) -> Result<Seen, Failure> {
    let mut counter = TcpStream::connect((address, COUNTS))?;
    counter.set_nodelay(true)?;
    counter.set_read_timeout(Some(Duration::from_secs(5)))?;
    let socket = any_port(address)?;
    socket.connect((address, COUNTER))?;
    let (_, before) = ask(&mut counter, 0, 0)?;

    let size = if rate == 0 { MANY } else { FEW };
    let mut batch = Batch::to_send(size);
    let (mut sent, mut refused) = (0_u64, 0_u64);
    let busy = cpu::busy()?;
    let began = now();
    let start = Instant::now();
    while start.elapsed() < time {
        if rate > 0 {
            let due = Duration::from_secs_f64(sent as f64 / rate as f64);
            if let Some(wait) = due.checked_sub(start.elapsed()) {
                thread::sleep(wait);
            }
        }
        match batch.send(&socket, size) {
            Ok(count) => sent += count as u64,
            // The path has no room just now.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => refused += 1,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => refused += 1,
            Err(error) => return Err(format!("sending datagrams: {error}").into()),
        }
    }
    let ended = now();
    let busy = cpu::busy()? - busy;

    let from = whole_bins(began + (ended - began) / 10);
    let to = whole_bins(ended);
    let (mut last, mut changed) = (before, Instant::now());
    let waiting = Instant::now();
    let (carried, total) = loop {
        let (carried, total) = ask(&mut counter, from, to)?;
        if total != last {
            (last, changed) = (total, Instant::now());
        }
        if changed.elapsed() > SILENCE || waiting.elapsed() > PATIENCE {
            break (carried, total);
        }
        thread::sleep(Duration::from_millis(10));
    };
    let arrived = total - before;
    if arrived == 0 {
        return Err("no datagram arrived".into());
    }
    Ok(Seen {
        rate: carried as f64 / ((to - from) as f64 / 1e9),
        sent,
        arrived,
        refused,
        busy,
    })
}
