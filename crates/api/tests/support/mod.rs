//! A region in memory behind a real server on loopback, and a client of a few lines.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoll_access::{AccessKey, Credential, RequestParts, SecretKey, identify};
use atoll_api::auth::Auth;
use atoll_api::backend::{BoxFuture, Submission};
use atoll_api::dispatch::Table;
use atoll_api::wire::Query;
use atoll_api::{Api, ApiError, Backend, Call, Hosts, Limits};
use atoll_model::{AccountId, RegionName, Timestamp};
use atoll_region::{Config, Context, Region};
use atoll_shapes::Service;

/// Half past nine on the last day of January 2026.
pub const NOW: Timestamp = Timestamp(1_769_851_800_000);
pub const KEY: &str = "AKIDEXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// us-east-1 and eu-west-1 in memory; every commit is at once durable.
pub struct Memory {
    regions: Vec<Mutex<Arc<Region>>>,
}

impl Memory {
    pub fn new() -> Arc<Memory> {
        let names = ["us-east-1", "eu-west-1"];
        let region = |(i, name): (usize, &&str)| {
            Mutex::new(Arc::new(Region::new(Config::default_for(
                name.parse().unwrap(),
                i,
            ))))
        };
        Arc::new(Memory {
            regions: names.iter().enumerate().map(region).collect(),
        })
    }
}

impl Backend for Memory {
    fn regions(&self) -> Vec<RegionName> {
        self.regions
            .iter()
            .map(|region| region.lock().unwrap().name())
            .collect()
    }

    fn snapshot(&self, name: RegionName) -> Option<Arc<Region>> {
        self.regions
            .iter()
            .map(|region| region.lock().unwrap().clone())
            .find(|region| region.name() == name)
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<(), ApiError>> {
        Box::pin(async move {
            let found = self
                .regions
                .iter()
                .find(|region| region.lock().unwrap().name() == submission.region);
            let mut region = found.unwrap().lock().unwrap();
            let seed = region.revision().0;
            let context = Context {
                account: submission.account,
                now: NOW,
                seed,
            };
            *region = Arc::new(region.apply(&context, submission.command)?.region);
            Ok(())
        })
    }

    fn now(&self) -> Timestamp {
        NOW
    }

    fn credential(&self, access_key: &AccessKey) -> Option<Credential> {
        (access_key.as_str() == KEY).then(|| Credential {
            account: AccountId::DEFAULT,
            access_key: access_key.clone(),
            secret: SecretKey::new(SECRET),
        })
    }
}

/// A call of the default account, in us-east-1.
pub fn call(memory: &Arc<Memory>) -> Call {
    let request = RequestParts {
        method: "POST",
        path: "/",
        query: "",
        headers: &[],
    };
    Call {
        backend: memory.clone(),
        caller: Arc::new(identify(&request, AccountId::DEFAULT, "us-east-1", "ec2")),
        account: AccountId::DEFAULT,
        region_name: RegionName::DEFAULT,
        request_id: "id".into(),
        dry_run: false,
    }
}

/// Runs an operation of EC2 without HTTP: `Action=…` and its parameters as a query.
pub fn run(memory: &Arc<Memory>, query: &str) -> Result<String, ApiError> {
    let Query {
        action, parameters, ..
    } = Query::parse(query, b"").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(Table::all().run(Service::Ec2, &action.unwrap(), call(memory), parameters))
}

/// The texts of the elements of that name, in order.
pub fn elements<'a>(document: &'a str, name: &str) -> Vec<&'a str> {
    let open = format!("<{name}>");
    document
        .split(open.as_str())
        .skip(1)
        .filter_map(|rest| rest.split('<').next())
        .collect()
}

/// A server that runs as long as the test.
pub struct Server {
    pub address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
    stop: tokio::sync::oneshot::Sender<()>,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    pub fn start(auth: Auth) -> Server {
        Server::of(|memory| Api::new(memory, auth, Hosts::ANY))
    }

    /// One within these limits, without authentication.
    pub fn within(limits: Limits) -> Server {
        Server::of(|memory| Api::new(memory, Auth::None, Hosts::ANY).within(limits))
    }

    pub fn of(api: impl FnOnce(Arc<Memory>) -> Api) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = runtime.spawn(atoll_api::serve(
            listener,
            Arc::new(api(Memory::new())),
            async move {
                // A server that is merely dropped ends with its runtime.
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            },
        ));
        Server {
            address,
            serving,
            stop,
            runtime,
        }
    }

    /// Ends it and waits until it has ended.
    pub fn stop(self) {
        self.stop.send(()).unwrap();
        let ended = async { tokio::time::timeout(Duration::from_secs(120), self.serving).await };
        self.runtime
            .block_on(ended)
            .expect("it ends although connections are open")
            .unwrap();
    }

    /// A connection, on which nothing was sent.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream
    }

    /// Sends the bytes of a request as they are and reads the answer to its end.
    pub fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // A server that refuses a body may close before it was all written.
        _ = stream.write_all(request);
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer);
        Answer::parse(&String::from_utf8(answer).unwrap())
    }

    /// A `POST /` with these headers beside the usual ones.
    pub fn post(&self, body: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        self.send(format!("{request}\r\n{body}").as_bytes())
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn parse(text: &str) -> Answer {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Answer {
            status,
            headers: lines.map(header).collect(),
            body: body.to_owned(),
        }
    }

    pub fn header(&self, name: &str) -> &str {
        &self
            .headers
            .iter()
            .find(|(n, _)| n == name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .1
    }

    /// The text of the first element of that name.
    pub fn element(&self, name: &str) -> &str {
        let found = self
            .body
            .split_once(&format!("<{name}>"))
            .and_then(|(_, rest)| rest.split_once('<'));
        found.unwrap_or_else(|| panic!("no <{name}> in {}", self.body)).0
    }

    /// Status, code and message of an error.
    pub fn error(&self) -> (u16, &str, &str) {
        (self.status, self.element("Code"), self.element("Message"))
    }
}
