//! What a client may take of the server's connections, from real sockets on loopback.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use atoll_api::Limits;
use support::{Answer, Server};

const BODY: &str = "Action=DescribeRegions&Version=2016-11-15";
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(200);

fn request() -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
}

/// A connection on which a part of a request was sent.
fn half_open(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nX-").unwrap();
    stream
}

/// One answer from a connection that stays open.
fn answer(stream: &mut TcpStream) -> Answer {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if length.unwrap().parse() == Ok(body.len()) {
                return Answer::parse(&text);
            }
        }
        let mut part = [0; 4096];
        let size = stream.read(&mut part).unwrap();
        assert!(size > 0, "closed after {text:?}");
        read.extend_from_slice(&part[..size]);
    }
}

/// Waits until the server closes a connection, without a word.
fn assert_is_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[test]
fn beyond_the_limit_the_longest_idle_connection_gives_way() {
    let server = Server::within(Limits {
        connections: 3,
        head: LONG,
        body: LONG,
    });
    let mut used = server.connect();
    used.write_all(request().as_bytes()).unwrap();
    assert_eq!(answer(&mut used).status, 200);
    let mut silent: Vec<TcpStream> = (0..50).map(|_| half_open(&server)).collect();
    // Whoever comes after all of them is answered.
    let mut last = server.connect();
    last.write_all(request().as_bytes()).unwrap();
    assert_eq!(answer(&mut last).status, 200);
    assert_is_closed(&mut used);
    let kept = silent.split_off(48);
    silent.iter_mut().for_each(assert_is_closed);
    for mut stream in kept {
        stream
            .write_all(format!("Y: y\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len()).as_bytes())
            .unwrap();
        assert_eq!(answer(&mut stream).status, 200);
    }
}

#[test]
fn a_connection_whose_call_is_under_way_does_not_give_way() {
    let server = Server::within(Limits {
        connections: 1,
        head: LONG,
        body: LONG,
    });
    let mut under_way = server.connect();
    let request = request();
    let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
    // What is answered before its body comes is under way.
    let asked = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    under_way.write_all(asked.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    under_way.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_is_closed(&mut half_open(&server));
    under_way.write_all(body.as_bytes()).unwrap();
    assert_eq!(answer(&mut under_way).status, 200);
}

#[test]
fn a_head_has_a_deadline_and_so_has_an_idle_connection() {
    let server = Server::within(Limits {
        head: SHORT,
        ..Limits::DEFAULT
    });
    assert_is_closed(&mut server.connect());
    assert_is_closed(&mut half_open(&server));
    // Whoever is slower than the deadline is closed on before it has asked: then once more.
    let start = Instant::now();
    let mut idle = loop {
        let mut stream = server.connect();
        let asked = stream.write_all(request().as_bytes());
        if asked.is_ok() && stream.peek(&mut [0]).is_ok_and(|size| size > 0) {
            break stream;
        }
        assert!(start.elapsed() < LONG, "no request is answered");
    };
    assert_eq!(answer(&mut idle).status, 200);
    assert_is_closed(&mut idle);
}

#[test]
fn a_body_has_a_deadline() {
    let server = Server::within(Limits {
        body: SHORT,
        ..Limits::DEFAULT
    });
    let slow = server.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nAction=");
    assert_eq!(
        slow.error(),
        (400, "RequestTimeout", "The body did not arrive in time")
    );
}

#[test]
fn a_head_is_bounded() {
    let server = Server::within(Limits::DEFAULT);
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    let mut stream = server.connect();
    _ = stream.write_all(long.as_bytes());
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 431");
}

#[test]
fn idle_connections_do_not_keep_a_server_from_ending() {
    let server = Server::within(Limits {
        head: LONG,
        ..Limits::DEFAULT
    });
    let mut idle = server.connect();
    idle.write_all(request().as_bytes()).unwrap();
    assert_eq!(answer(&mut idle).status, 200);
    let mut silent = [server.connect(), half_open(&server)];
    // Both were taken up: the server takes one after the other.
    assert_eq!(
        server
            .send(request().replace("Host", "Connection: close\r\nHost").as_bytes())
            .status,
        200
    );
    server.stop();
    silent.iter_mut().for_each(assert_is_closed);
    assert_is_closed(&mut idle);
}
