//! The serving end: echoes, accepts, counts; until stdin closes, so that it never outlives who started it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::net::sockopt;
use rustix::time::{ClockId, clock_gettime};

use crate::Failure;
use crate::batch::Batch;

/// TCP: gives back each byte.
pub const ECHO: u16 = 7001;
/// TCP: gives back one byte a connection, then waits for its end.
pub const SERVICE: u16 = 7002;
/// TCP: tells what the counter has received ([`ask`]).
pub const COUNTS: u16 = 7003;
/// UDP: counts.
pub const COUNTER: u16 = 7004;
/// UDP: gives back each datagram.
pub const DATAGRAM_ECHO: u16 = 7005;
/// TCP: the first of [`SERVICES`] ports that do what [`SERVICE`] does.
pub const FIRST_SERVICE: u16 = 7100;
/// How many services there are beside [`SERVICE`].
pub const SERVICES: u16 = 64;

/// Threads that accept on [`SERVICE`].
const ACCEPTORS: usize = 4;
/// Receive buffer of the counter in bytes: a burst waits here while its thread is not running.
const BUFFER: usize = 8 << 20;
/// Nanoseconds that are counted together.
const BIN: u64 = 10_000_000;
/// Bins that are remembered: the last 80 s in which something came.
const BINS: usize = 8192;

/// What came, by time.
#[derive(Default)]
struct Counts {
    /// (time / BIN, datagrams), in order.
    bins: VecDeque<(u64, u64)>,
    total: u64,
}

impl Counts {
    fn add(&mut self, time: u64, count: u64) {
        self.total += count;
        let now = time / BIN;
        match self.bins.back_mut() {
            Some((bin, sum)) if *bin == now => *sum += count,
            _ => self.bins.push_back((now, count)),
        }
        if self.bins.len() > BINS {
            self.bins.pop_front();
        }
    }

    /// Datagrams in the whole bins from `from` on and before `to`, both in nanoseconds.
    fn between(&self, from: u64, to: u64) -> u64 {
        let window = from / BIN..to / BIN;
        self.bins
            .iter()
            .filter(|(bin, _)| window.contains(bin))
            .map(|(_, count)| count)
            .sum()
    }
}

/// Nanoseconds on the clock that both ends share: they run on one machine.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

/// `time` down to the start of its bin, so that a window is as long as what is counted in it.
pub fn whole_bins(time: u64) -> u64 {
    time / BIN * BIN
}

/// Asks the counter over `connection`: (datagrams from `from` to before `to`, datagrams ever).
pub fn ask(connection: &mut TcpStream, from: u64, to: u64) -> Result<(u64, u64), Failure> {
    let mut question = [0; 16];
    question[..8].copy_from_slice(&from.to_le_bytes());
    question[8..].copy_from_slice(&to.to_le_bytes());
    connection.write_all(&question)?;
    let mut answer = [0; 16];
    connection.read_exact(&mut answer)?;
    Ok(halves(answer))
}

fn halves(bytes: [u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(bytes);
    (both as u64, (both >> 64) as u64)
}

fn answer(mut connection: TcpStream, counts: &Mutex<Counts>) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut question = [0; 16];
    loop {
        connection.read_exact(&mut question)?;
        let (from, to) = halves(question);
        let (part, total) = {
            let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            (counts.between(from, to), counts.total)
        };
        connection.write_all(&(u128::from(part) | u128::from(total) << 64).to_le_bytes())?;
    }
}

fn echo(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut byte = [0; 1];
    loop {
        connection.read_exact(&mut byte)?;
        connection.write_all(&byte)?;
    }
}

/// One connection of the service: a byte each way, then its end, which is the client's to bring about.
fn once(mut connection: TcpStream) -> std::io::Result<()> {
    let mut byte = [0; 1];
    connection.read_exact(&mut byte)?;
    connection.write_all(&byte)?;
    connection.read(&mut byte).map(drop)
}

/// Runs `each` on every connection of `listener`, one after the other. A connection that breaks concerns its client.
fn accept(listener: &TcpListener, each: impl Fn(TcpStream) -> std::io::Result<()>) {
    loop {
        if let Ok((connection, _)) = listener.accept() {
            let _ = each(connection);
        }
    }
}

/// Every address of both families; of one where the kernel has no IPv6.
fn any(port: u16) -> [SocketAddr; 2] {
    [
        (Ipv6Addr::UNSPECIFIED, port).into(),
        (Ipv4Addr::UNSPECIFIED, port).into(),
    ]
}

fn listen(port: u16) -> Result<TcpListener, Failure> {
    TcpListener::bind(any(port).as_slice()).map_err(|error| format!("TCP port {port}: {error}").into())
}

fn bind(port: u16) -> Result<UdpSocket, Failure> {
    let socket =
        UdpSocket::bind(any(port).as_slice()).map_err(|error| format!("UDP port {port}: {error}"))?;
    if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        // Not root: as much as net.core.rmem_max allows.
        sockopt::set_socket_recv_buffer_size(&socket, BUFFER)?;
    }
    Ok(socket)
}

/// Serves until stdin closes.
pub fn serve() -> Result<(), Failure> {
    let echoes = listen(ECHO)?;
    thread::spawn(move || {
        accept(&echoes, |connection| {
            thread::spawn(move || echo(connection));
            Ok(())
        });
    });

    let service = Arc::new(listen(SERVICE)?);
    for _ in 0..ACCEPTORS {
        let service = service.clone();
        thread::spawn(move || accept(&service, once));
    }
    for port in FIRST_SERVICE..FIRST_SERVICE + SERVICES {
        let service = listen(port)?;
        thread::spawn(move || accept(&service, once));
    }

    let counts = Arc::new(Mutex::new(Counts::default()));
    let counter = bind(COUNTER)?;
    let counting = counts.clone();
    thread::spawn(move || {
        let mut batch = Batch::to_receive(64);
        loop {
            if let Ok(count) = batch.receive(&counter) {
                let mut counts = counting.lock().unwrap_or_else(PoisonError::into_inner);
                counts.add(now(), count as u64);
            }
        }
    });
    let asked = listen(COUNTS)?;
    thread::spawn(move || {
        accept(&asked, |connection| {
            let counts = counts.clone();
            thread::spawn(move || answer(connection, &counts));
            Ok(())
        });
    });

    let datagrams = bind(DATAGRAM_ECHO)?;
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        loop {
            if let Ok((length, from)) = datagrams.recv_from(&mut bytes) {
                let _ = datagrams.send_to(&bytes[..length], from);
            }
        }
    });

    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_its_whole_bins() {
        let mut counts = Counts::default();
        for (time, count) in [
            (5, 1),
            (BIN, 10),
            (2 * BIN - 1, 100),
            (2 * BIN, 1000),
            (7 * BIN, 10_000),
        ] {
            counts.add(time, count);
        }
        assert_eq!(counts.total, 11_111);
        assert_eq!(counts.between(0, BIN), 1);
        assert_eq!(counts.between(BIN, 2 * BIN), 110);
        assert_eq!(counts.between(BIN, 8 * BIN), 11_110);
    }

    #[test]
    fn old_bins_are_forgotten_and_the_total_is_not() {
        let mut counts = Counts::default();
        for n in 0..BINS as u64 + 10 {
            counts.add(n * BIN, 1);
        }
        assert_eq!(counts.bins.len(), BINS);
        assert_eq!(counts.total, BINS as u64 + 10);
    }
}
