//! The time of one byte there and back over one established TCP connection.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::quantile::{Times, json};
use crate::serve::ECHO;

/// Measures for `time` and prints exchanges a second and quantiles in microseconds.
pub fn measure(address: IpAddr, time: Duration) -> Result<(), Failure> {
    let mut connection = TcpStream::connect((address, ECHO))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut byte = [1];
    let mut times = Times::default();
    let start = Instant::now();
    while start.elapsed() < time {
        let sent = Instant::now();
        connection.write_all(&byte)?;
        connection.read_exact(&mut byte)?;
        times.push(sent.elapsed());
    }
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    println!(
        r#"{{"per_second": {rate:.1}, "p50_us": {}, "p99_us": {}}}"#,
        json(times.quantile(0.5)),
        json(times.quantile(0.99))
    );
    Ok(())
}
