//! New TCP connections: connect, one byte each way, close; by RST (no TIME_WAIT) or by FIN.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::Failure;
use crate::quantile::{Times, json};
use crate::serve::{FIRST_SERVICE, SERVICE, SERVICES};

/// How the client ends a connection.
#[derive(Clone, Copy)]
pub enum Close {
    /// At once, by RST.
    Reset,
    /// In order, by FIN.
    Finish,
}

impl FromStr for Close {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "rst" => Ok(Self::Reset),
            "fin" => Ok(Self::Finish),
            _ => Err(()),
        }
    }
}

/// What one thread saw.
#[derive(Default)]
struct Seen {
    connects: Times,
    done: u64,
    failed: u64,
    why: Option<String>,
}

fn once(to: SocketAddr, close: Close, connects: &mut Times) -> std::io::Result<()> {
    let start = Instant::now();
    let mut connection = TcpStream::connect(to)?;
    connects.push(start.elapsed());
    connection.set_read_timeout(Some(Duration::from_secs(2)))?;
    if let Close::Reset = close {
        sockopt::set_socket_linger(&connection, Some(Duration::ZERO))?;
    }
    let mut byte = [1];
    connection.write_all(&byte)?;
    connection.read_exact(&mut byte)
}

/// Measures for `time` with `threads` at once, in turn against `services` (1: the one; more: ports of their own), and
/// prints connections a second, failures, and quantiles of connect() in microseconds.
pub fn measure(
    address: IpAddr,
    time: Duration,
    close: Close,
    threads: usize,
    services: u16,
) -> Result<(), Failure> {
    if services == 0 || services > SERVICES {
        return Err(format!("--services {services} is not between 1 and {SERVICES}").into());
    }
    let ports: Vec<u16> = if services == 1 {
        vec![SERVICE]
    } else {
        (FIRST_SERVICE..FIRST_SERVICE + services).collect()
    };
    let start = Instant::now();
    let running: Vec<_> = (0..threads)
        .map(|first| {
            let ports = ports.clone();
            thread::spawn(move || {
                let mut seen = Seen::default();
                // Each thread starts at another service, so that they do not walk in step.
                for port in ports.iter().cycle().skip(first * ports.len() / threads.max(1)) {
                    if start.elapsed() >= time {
                        break;
                    }
                    match once(SocketAddr::new(address, *port), close, &mut seen.connects) {
                        Ok(()) => seen.done += 1,
                        Err(error) => {
                            seen.failed += 1;
                            seen.why = Some(error.to_string());
                        }
                    }
                }
                seen
            })
        })
        .collect();
    let mut all = Seen::default();
    for thread in running {
        let seen = thread.join().map_err(|_| "a thread panicked")?;
        all.connects.extend(seen.connects);
        all.done += seen.done;
        all.failed += seen.failed;
        all.why = all.why.or(seen.why);
    }
    let rate = all.done as f64 / start.elapsed().as_secs_f64();
    if all.done == 0 {
        return Err(format!("no connection succeeded: {}", all.why.unwrap_or_default()).into());
    }
    println!(
        r#"{{"per_second": {rate:.1}, "failed": {}, "connect_p50_us": {}, "connect_p99_us": {}}}"#,
        all.failed,
        json(all.connects.quantile(0.5)),
        json(all.connects.quantile(0.99))
    );
    Ok(())
}
