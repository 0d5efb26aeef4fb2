//! What a flow's first packet costs: one datagram there and back from a new source port, then a second one.
//!
//! The first exchange makes the flow in both directions, the second finds it. New flows come slowly, so that their
//! source ports do not come round again while the last flow of the same port is still remembered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::quantile::{Times, json};
use crate::serve::DATAGRAM_ECHO;

/// Between the starts of two flows.
const PAUSE: Duration = Duration::from_millis(2);

fn exchange(socket: &UdpSocket, times: &mut Times, lost: &mut u64) -> std::io::Result<()> {
    let mut byte = [1];
    let start = Instant::now();
    socket.send(&byte)?;
    match socket.recv(&mut byte) {
        Ok(_) => times.push(start.elapsed()),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ) =>
        {
            *lost += 1;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// An unconnected socket of the family of `address`, at any port.
pub fn any_port(address: IpAddr) -> std::io::Result<UdpSocket> {
    match address {
        IpAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

/// Measures for `time` and prints quantiles of both exchanges in microseconds.
pub fn measure(address: IpAddr, time: Duration) -> Result<(), Failure> {
    let (mut first, mut second, mut lost) = (Times::default(), Times::default(), 0);
    let start = Instant::now();
    while start.elapsed() < time {
        let began = Instant::now();
        let socket = any_port(address)?;
        socket.connect((address, DATAGRAM_ECHO))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        exchange(&socket, &mut first, &mut lost)?;
        exchange(&socket, &mut second, &mut lost)?;
        // Not asleep: waking a processor from idleness would be measured as well.
        while began.elapsed() < PAUSE {
            std::hint::spin_loop();
        }
    }
    println!(
        r#"{{"flows": {}, "lost": {lost}, "p50_us": {}, "p99_us": {}, "second_p50_us": {}}}"#,
        first.len(),
        json(first.quantile(0.5)),
        json(first.quantile(0.99)),
        json(second.quantile(0.5))
    );
    Ok(())
}
