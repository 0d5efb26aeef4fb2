//! Real clients and servers: short Python programs run inside instances and on the internet side.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::World;
use crate::{Failure, Observation};

/// The outside's host that clients and servers run on.
pub const INTERNET: &str = "internet";
/// Its IPv4 address (RFC 5737).
pub const INTERNET_V4: &str = "198.51.100.10";
/// Its IPv6 address (RFC 3849).
pub const INTERNET_V6: &str = "2001:db8:ffff::10";
/// An HTTP request for a page, escaped as programs here take their lines.
pub const REQUEST: &str = "GET / HTTP/1.0\\r\\n\\r\\n";
/// How long a client waits, in seconds, before it calls a silence a drop, where one is expected; SYNs are sent again
/// after one second.
const BRIEFLY: &str = "2.5";
/// The same where an answer is expected: longer than any machine is busy with something else.
const PATIENTLY: &str = "60";
/// How long a server or a session may take to say its next line.
const LINE_DEADLINE: Duration = Duration::from_secs(120);
/// How long the plane may take to have looked at a packet that was sent.
const DROP_DEADLINE: Duration = Duration::from_secs(60);

/// Connects, says one line, prints its own address and everything it gets.
const CLIENT: &str = r#"
import socket, sys
host, port, line, patience = sys.argv[1:5]
try:
    s = socket.create_connection((host, int(port)), timeout=float(patience))
    s.sendall(line.encode().decode("unicode_escape").encode())
    print("local", s.getsockname()[0])
    s.settimeout(float(patience))
    try:
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    while True:
        data = s.recv(65536)
        if not data:
            break
        sys.stdout.write(data.decode())
except (socket.timeout, TimeoutError):
    print("silence")
    sys.exit(2)
except OSError as error:
    print("refused" if error.errno == 111 else "unreachable" if error.errno in (101, 113) else error)
    sys.exit(3)
"#;

/// Listens, tells each caller its address as seen here, says the same on its own output.
const SERVER: &str = r#"
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen(64)
print("listening", flush=True)
while True:
    c, peer = s.accept()
    c.sendall(f"you are {peer[0]}\n".encode())
    c.close()
    print("served", peer[0], flush=True)
"#;

/// Listens, answers each line of every connection with the caller's address as seen here and the line.
const ECHO: &str = r#"
import socket, sys, threading
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen(64)
print("listening", flush=True)
def answer(c, peer):
    for line in c.makefile("r"):
        c.sendall(f"{peer[0]} said {line}".encode())
while True:
    threading.Thread(target=answer, args=s.accept(), daemon=True).start()
"#;

/// Connects and then sends each line of its input, printing the answer to each or `silence`, which it does not wait for
/// as long as for the connection.
const SESSION: &str = r#"
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
s.settimeout(float(sys.argv[4]))
print("connected", flush=True)
for line in sys.stdin:
    try:
        s.sendall(line.rstrip("\n").encode().decode("unicode_escape").encode())
        data = s.recv(65536)
        print(data.decode().replace("\r", "").replace("\n", " ").strip() if data else "closed", flush=True)
    except OSError:
        print("silence", flush=True)
"#;

/// Connects, takes a greeting of some lines, and then sends each line of its input, printing the line that comes back or
/// `silence`.
const CONVERSATION: &str = r#"
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
lines = s.makefile("r")
for _ in range(int(sys.argv[4])):
    lines.readline()
print("connected", flush=True)
for line in sys.stdin:
    try:
        s.sendall(line.encode())
        print(lines.readline().strip() or "closed", flush=True)
    except OSError:
        print("silence", flush=True)
"#;

/// What a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It got this.
    Answer(String),
    /// Nothing came back.
    Silence,
    /// Something else, in words.
    Other(String),
}

impl Seen {
    fn words(&self) -> String {
        match self {
            Seen::Answer(text) => {
                let line = text.lines().rfind(|l| !l.starts_with("local ")).unwrap_or("");
                format!("answered: {}", line.trim())
            }
            Seen::Silence => "silence".into(),
            Seen::Other(words) => words.clone(),
        }
    }

    /// What came back, if something did.
    pub fn answer(&self) -> Option<&str> {
        match self {
            Seen::Answer(text) => Some(text),
            Seen::Silence | Seen::Other(_) => None,
        }
    }
}

/// A program that goes on running: a server, or a client with an open connection. Ends with its owner.
pub struct Session {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Session {
    /// The next line it prints.
    pub fn line(&self) -> Result<String, Failure> {
        Ok(self
            .lines
            .recv_timeout(LINE_DEADLINE)
            .map_err(|e| format!("no line from a running program: {e}"))?)
    }

    /// Gives it a line and takes the next one it prints.
    pub fn say(&mut self, line: &str) -> Result<String, Failure> {
        if let Some(input) = &mut self.input {
            writeln!(input, "{line}")?;
            input.flush()?;
        }
        self.line()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.input.take();
        let _ = rustix::process::Pid::from_raw(self.child.id() as i32)
            .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        let _ = self.child.wait();
    }
}

impl World {
    /// One TCP exchange from a place to an address, which is to be answered.
    pub fn exchange(&self, from: &str, to: &str, port: u16, line: &str) -> Result<Seen, Failure> {
        self.exchange_within(PATIENTLY, from, to, port, line)
    }

    fn exchange_within(
        &self,
        patience: &str,
        from: &str,
        to: &str,
        port: u16,
        line: &str,
    ) -> Result<Seen, Failure> {
        let port = port.to_string();
        let output = self.run([
            "exec", from, "--", "python3", "-c", CLIENT, to, &port, line, patience,
        ])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(match output.status.code() {
            Some(0) => Seen::Answer(text),
            Some(2) => Seen::Silence,
            Some(3) => Seen::Other(text.trim().to_owned()),
            _ => {
                return Err(format!(
                    "the client at {from} failed: {}",
                    String::from_utf8_lossy(&output.stderr)
                )
                .into());
            }
        })
    }

    /// An HTTP page from a place, which is to be answered.
    pub fn page(&self, from: &str, to: &str) -> Result<Seen, Failure> {
        self.exchange(from, to, 80, REQUEST)
    }

    fn session(&self, at: &str, script: &str, args: &[&str]) -> Result<Session, Failure> {
        let mut words = vec!["exec", at, "--", "python3", "-u", "-c", script];
        words.extend(args);
        let mut child = self
            .atoll(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("no output")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Session { child, input, lines })
    }

    /// A server at a place that tells each caller its address; it listens when this returns.
    pub fn server(&self, at: &str, address: &str, port: u16) -> Result<Session, Failure> {
        self.listening(at, SERVER, address, port)
    }

    /// A server at a place that answers each line with the caller's address and that line; it listens when this returns.
    pub fn echo(&self, at: &str, address: &str, port: u16) -> Result<Session, Failure> {
        self.listening(at, ECHO, address, port)
    }

    fn listening(&self, at: &str, script: &str, address: &str, port: u16) -> Result<Session, Failure> {
        let session = self.session(at, script, &[address, &port.to_string()])?;
        match session.line()?.as_str() {
            "listening" => Ok(session),
            other => Err(format!("the server at {at} said {other:?}").into()),
        }
    }

    /// An open connection from a place; established when this returns.
    pub fn connect(&self, from: &str, to: &str, port: u16) -> Result<Session, Failure> {
        let session = self.session(from, SESSION, &[to, &port.to_string(), PATIENTLY, BRIEFLY])?;
        match session.line()?.as_str() {
            "connected" => Ok(session),
            other => Err(format!("the client at {from} said {other:?}").into()),
        }
    }

    /// An open connection from a place to a server that answers lines, after a greeting of so many.
    pub fn converse(&self, from: &str, to: &str, port: u16, greeting: u8) -> Result<Session, Failure> {
        let args = [to, &port.to_string(), PATIENTLY, &greeting.to_string()];
        let session = self.session(from, CONVERSATION, &args)?;
        match session.line()?.as_str() {
            "connected" => Ok(session),
            other => Err(format!("the client at {from} said {other:?}").into()),
        }
    }

    /// Notes an exchange that must be answered with a text that contains all of `wanted`.
    pub fn expect_answer(&mut self, check: u8, tried: &str, seen: &Seen, wanted: &[&str]) {
        let holds = seen
            .answer()
            .is_some_and(|text| wanted.iter().all(|w| text.contains(w)));
        self.observe(Observation {
            check,
            tried: tried.into(),
            expected: format!("answered: {}", wanted.join(", ")),
            seen: seen.words(),
            dropped_by: None,
            holds,
        });
    }

    /// Tries an exchange that must meet silence, and holds the live drop's stage against the trace's.
    pub fn expect_drop(&mut self, drop: &ExpectedDrop) -> Result<(), Failure> {
        let seen = self.exchange_within(BRIEFLY, drop.from, drop.to, drop.port, "x")?;
        self.judge_drop(drop, &seen)
    }

    /// Judges a silence: what the live plane said dropped the packet, and what the trace says.
    pub fn judge_drop(&mut self, drop: &ExpectedDrop, seen: &Seen) -> Result<(), Failure> {
        let deadline = Instant::now() + DROP_DEADLINE;
        // The client may have given up before the plane came to its packet.
        let live = loop {
            let live = self.last_drop(drop.answering.unwrap_or(drop.to), drop.port, drop.on_return)?;
            if live["stage"] == drop.stage || Instant::now() > deadline {
                break live;
            }
        };
        let trace = self.trace(drop.from, drop.to, drop.port)?;
        let part = if drop.on_return {
            trace["return"].clone()
        } else {
            trace.clone()
        };
        let traced = part["stage"].as_str().unwrap_or("?").to_owned();
        let lived = live["stage"]
            .as_str()
            .unwrap_or("no live drop was recorded")
            .to_owned();
        let by = match (part["at"].as_str(), part["rule"].as_str()) {
            (Some(at), Some(rule)) => format!("{traced} at {at} by {rule}"),
            (Some(at), None) => format!("{traced} at {at}"),
            _ => traced.clone(),
        };
        let silent = matches!(seen, Seen::Silence);
        let seen = match (silent, lived == traced) {
            (true, true) => "dropped".to_owned(),
            (true, false) => format!("dropped, but live says {lived} and the trace {traced}"),
            (false, _) => seen.words(),
        };
        self.observe(Observation {
            check: drop.check,
            tried: drop.tried.into(),
            expected: format!("dropped: {}", drop.stage),
            holds: silent && lived == drop.stage && traced == drop.stage,
            seen,
            dropped_by: Some(by),
        });
        Ok(())
    }

    /// What `atoll trace` says about TCP between two places.
    pub fn trace(&self, from: &str, to: &str, port: u16) -> Result<Value, Failure> {
        self.json(&["trace", from, to, "--proto", "tcp", "--port", &port.to_string()])
    }

    /// The latest live drop of a TCP packet to that address and port, or, on the return way, from them.
    pub fn last_drop(&self, address: &str, port: u16, on_return: bool) -> Result<Value, Failure> {
        let drops = self.json(&["drops"])?;
        let side = if on_return { "source" } else { "destination" };
        let wanted = if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        };
        let all = drops.as_array().cloned().unwrap_or_default();
        let of_it = all.into_iter().filter(|d| d[side].as_str() == Some(&wanted));
        // ISO 8601 times order as text.
        Ok(of_it
            .max_by_key(|d| d["time"].as_str().unwrap_or_default().to_owned())
            .unwrap_or(Value::Null))
    }
}

/// A drop that must be seen.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedDrop<'a> {
    /// The check's number.
    pub check: u8,
    /// In words.
    pub tried: &'a str,
    /// From an instance's name or `internet`.
    pub from: &'a str,
    /// To this address.
    pub to: &'a str,
    /// To this TCP port.
    pub port: u16,
    /// The stage that must drop it.
    pub stage: &'a str,
    /// Whether it is the reply that is dropped.
    pub on_return: bool,
    /// For a dropped reply: the address that it comes from, where that is not the one that was called.
    pub answering: Option<&'a str>,
}
