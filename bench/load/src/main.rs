//! The load generator of `bench/run`: one end serves, the other measures; each run prints one line of JSON.
//!
//! It measures what iperf3 does not: ping-pongs, new connections, a flow's first packet, small datagrams. `batch.rs`
//! is the only place with `unsafe`; what a measure means stands at the head of its file.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod batch;
mod connect;
mod cpu;
mod datagrams;
mod first_packet;
mod flows;
mod ping_pong;
mod quantile;
mod serve;

use std::net::IpAddr;
use std::time::Duration;

/// What ends the program, as a sentence.
type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "\
bench-load serve                                  answer until stdin closes; prints `ready` first
bench-load ping-pong ADDRESS [--seconds N]        one byte each way over one TCP connection
bench-load connect ADDRESS [--seconds N] [--close rst|fin] [--threads N] [--services N]
bench-load first-packet ADDRESS [--seconds N]     the first and the second exchange of new UDP flows
bench-load datagrams ADDRESS [--seconds N] [--rate N]   64-byte datagrams, as many as go or N a second
bench-load below-the-rate ADDRESS [--seconds N]   what is lost of half the datagrams that go, and of four fifths
bench-load flows ADDRESS [--count N]              makes N UDP flows, at most 30000, and leaves them";

/// The command line, taken apart.
struct Given {
    words: Vec<String>,
}

impl Given {
    /// What follows `--name`, read as `T`, or `default` where the option is not there.
    fn option<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T, Failure> {
        let Some(at) = self.words.iter().position(|word| word == name) else {
            return Ok(default);
        };
        let text = self
            .words
            .get(at + 1)
            .ok_or_else(|| format!("{name} wants a value"))?;
        text.parse()
            .map_err(|_| format!("{name} {text} is not a value that it takes").into())
    }

    fn address(&self) -> Result<IpAddr, Failure> {
        let text = self
            .words
            .get(1)
            .ok_or("the address of the serving end is missing")?;
        text.parse()
            .map_err(|_| format!("{text} is not an IP address").into())
    }

    /// How long to measure: `--seconds`, a fraction allowed.
    fn time(&self) -> Result<Duration, Failure> {
        let seconds: f64 = self.option("--seconds", 2.0)?;
        if !(0.1..=3600.0).contains(&seconds) {
            return Err(format!("--seconds {seconds} is not between 0.1 and 3600").into());
        }
        Ok(Duration::from_secs_f64(seconds))
    }
}

fn run(given: &Given) -> Result<(), Failure> {
    match given.words.first().map(String::as_str) {
        Some("serve") => serve::serve(),
        Some("ping-pong") => ping_pong::measure(given.address()?, given.time()?),
        Some("connect") => connect::measure(
            given.address()?,
            given.time()?,
            given.option("--close", connect::Close::Reset)?,
            given.option("--threads", 4)?,
            given.option("--services", 1)?,
        ),
        Some("first-packet") => first_packet::measure(given.address()?, given.time()?),
        Some("datagrams") => datagrams::measure(given.address()?, given.time()?, given.option("--rate", 0)?),
        Some("below-the-rate") => datagrams::below_the_rate(given.address()?, given.time()?),
        Some("flows") => flows::make(given.address()?, given.option("--count", 10_000)?),
        _ => Err(USAGE.into()),
    }
}

fn main() -> std::process::ExitCode {
    let given = Given {
        words: std::env::args().skip(1).collect(),
    };
    match run(&given) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench-load: {failure}");
            std::process::ExitCode::FAILURE
        }
    }
}
