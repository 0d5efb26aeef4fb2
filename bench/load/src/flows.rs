//! Many flows that stay: one datagram there and back each, from source ports of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use crate::Failure;
use crate::serve::DATAGRAM_ECHO;

/// Source ports of these flows: below those that the kernel gives to sockets, which the other measures use.
const PORTS: std::ops::Range<u16> = 2000..32_000;

/// Makes `count` flows and prints how many were answered.
pub fn make(address: IpAddr, count: usize) -> Result<(), Failure> {
    if count > PORTS.len() {
        return Err(format!("--count {count} is more than the {} ports there are", PORTS.len()).into());
    }
    let any = match address {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let mut answered = 0_u64;
    for port in PORTS.take(count) {
        let socket = UdpSocket::bind((any, port))?;
        socket.connect((address, DATAGRAM_ECHO))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.send(&[1])?;
        answered += u64::from(socket.recv(&mut [0; 1]).is_ok());
    }
    println!(r#"{{"flows": {count}, "answered": {answered}}}"#);
    Ok(())
}
