//! HTTP: `POST /` with a form, `GET /` with a query.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atoll_access::Caller;
use atoll_model::RegionName;
use atoll_shapes::Service;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::auth::{self, Auth};
use crate::backend::Backend;
use crate::body;
use crate::call::Call;
use crate::connections::{Connections, Limits, Place};
use crate::dispatch::Table;
use crate::error::ApiError;
use crate::hosts::{self, Hosts};
use crate::wire::Query;

/// Largest head in bytes, with the query of a GET.
const MAX_HEAD: usize = 64 * 1024;
/// How long clients may take to receive answers when the server ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The API of a process.
pub struct Api {
    backend: Arc<dyn Backend>,
    auth: Auth,
    hosts: Hosts,
    limits: Limits,
    table: Table,
}

impl Api {
    /// All operations over `backend`, called by the names `hosts`.
    pub fn new(backend: Arc<dyn Backend>, auth: Auth, hosts: Hosts) -> Api {
        Api {
            backend,
            auth,
            hosts,
            limits: Limits::DEFAULT,
            table: Table::all(),
        }
    }

    /// The same within other limits.
    #[must_use]
    pub fn within(self, limits: Limits) -> Api {
        Api { limits, ..self }
    }

    /// Reads, authenticates and runs one request; on failure also says in which service's words.
    async fn answer(
        &self,
        parts: &Parts,
        body: Body,
        request_id: &Arc<str>,
    ) -> Result<(Service, String), Failure> {
        // Until the request says otherwise, errors are EC2's.
        let mut service = Service::Ec2;
        let answer = self.answer_as(parts, body, request_id, &mut service).await;
        match answer {
            Ok(document) => Ok((service, document)),
            Err(error) => Err(Failure { service, error }),
        }
    }

    async fn answer_as(
        &self,
        parts: &Parts,
        body: Body,
        request_id: &Arc<str>,
        service: &mut Service,
    ) -> Result<String, ApiError> {
        let body = tokio::time::timeout(self.limits.body, body::read(body))
            .await
            .map_err(|_| ApiError::new("RequestTimeout", "The body did not arrive in time"))??;
        self.hosts.admit(parts)?;
        if parts.uri.path() != "/" {
            return Err(ApiError::new("InvalidURI", "The only path here is /"));
        }
        if parts.method != Method::POST && parts.method != Method::GET {
            return Err(ApiError::new(
                "MethodNotAllowed",
                "Only GET and POST are answered here",
            ));
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default(), &body);
        // The service by the version, if it can be read, so that refusals speak its language; the
        // credential's scope then decides.
        if let Ok(query) = &query
            && let Some(named) = Service::ALL
                .into_iter()
                .find(|s| query.version.as_deref() == Some(s.version()))
        {
            *service = named;
        }
        let caller = auth::authenticate(self.auth, &*self.backend, *service, parts, &body)?;
        *service = scoped_service(&caller)?;
        let query = query.map_err(|error| ApiError::undecodable(*service, &error))?;
        let action = query.action.ok_or_else(|| {
            ApiError::new(
                "MissingAction",
                "The request is missing an action: the parameter Action names one",
            )
        })?;
        if self.auth == Auth::None && hosts::may_be_an_image(parts) && !only_reads(&action) {
            return Err(ApiError::new(
                "MissingAuthenticationToken",
                "A GET without an Authorization header may only describe, since any web page can have it sent: use POST, or \
                 sign it",
            ));
        }
        match query.version.as_deref() {
            Some(version) if version == service.version() => {}
            None => return Err(ApiError::missing("Version")),
            Some(version) => {
                let version = crate::error::shortened(version);
                return Err(ApiError::new(
                    "NoSuchVersion",
                    format!(
                        "The version {version} is not one of {}'s; {} is",
                        service.signing_name(),
                        service.version()
                    ),
                ));
            }
        }
        let call = Call {
            backend: Arc::clone(&self.backend),
            account: caller.account,
            region_name: self.region(&caller, *service)?,
            caller: Arc::new(caller),
            request_id: Arc::clone(request_id),
            dry_run: false,
        };
        self.table.run(*service, &action, call, query.parameters).await
    }

    /// The region of the credential's scope. STS has a global endpoint, whose callers sign for
    /// us-east-1 whether that is served or not.
    fn region(&self, caller: &Caller, service: Service) -> Result<RegionName, ApiError> {
        let served = self.backend.regions();
        let named = served.iter().find(|region| region.as_str() == caller.region);
        match (named, service) {
            (Some(region), _) => Ok(*region),
            (None, Service::Sts) => served
                .first()
                .copied()
                .ok_or_else(|| ApiError::unavailable("No region is served here")),
            (None, Service::Ec2 | Service::CloudFormation) => {
                let served: Vec<&str> = served.iter().map(|region| region.as_str()).collect();
                Err(ApiError::new(
                    if service == Service::Ec2 {
                        "AuthFailure"
                    } else {
                        "SignatureDoesNotMatch"
                    },
                    format!(
                        "Credential should be scoped to a region that is served here, not '{}': {}",
                        crate::error::shortened(&caller.region),
                        served.join(", ")
                    ),
                ))
            }
        }
    }
}

fn scoped_service(caller: &Caller) -> Result<Service, ApiError> {
    Service::ALL.into_iter().find(|s| s.signing_name() == caller.service).ok_or_else(|| {
        let service = crate::error::shortened(&caller.service);
        ApiError::new(
            "SignatureDoesNotMatch",
            format!(
                "Credential should be scoped to one of the services here, ec2, sts or cloudformation, not '{service}'"
            ),
        )
    })
}

fn only_reads(action: &str) -> bool {
    ["Describe", "Get", "List"]
        .iter()
        .any(|verb| action.starts_with(verb))
}

struct Failure {
    service: Service,
    error: ApiError,
}

/// Answers on `listener` until `stop` completes, then lets the calls under way finish.
pub async fn serve(mut listener: TcpListener, api: Arc<Api>, stop: impl Future<Output = ()> + Send) {
    let connections = Connections::new(api.limits.connections);
    let (stopping, stopped) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = &mut stop => break,
        };
        match connections.enter().await {
            Some(place) => {
                tokio::spawn(converse(
                    stream,
                    Arc::new(place),
                    Arc::clone(&api),
                    stopped.clone(),
                ));
            }
            None => {
                tracing::warn!(%peer, "a connection was refused: a call is under way on each of the others")
            }
        }
    }
    drop((listener, stopping));
    // Those that wait for a head's end are told nothing, so they are not waited for.
    if tokio::time::timeout(LAST_ANSWERS, connections.all_closed())
        .await
        .is_err()
    {
        connections.close_idle();
        connections.all_closed().await;
    }
}

/// One connection, until either side closes it.
async fn converse(stream: TcpStream, place: Arc<Place>, api: Arc<Api>, mut stopped: watch::Receiver<()>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(api.limits.head)
        .max_header_size(MAX_HEAD);
    let service = service_fn(|request| {
        let begun = place.begin();
        let (place, api) = (Arc::clone(&place), Arc::clone(&api));
        async move {
            if !begun {
                return Err(GaveWay);
            }
            let response = handle(api, request).await;
            place.end();
            Ok(response)
        }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut ending = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            () = place.closed() => return,
            _ = stopped.changed(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A request came while its connection was being closed: it was not begun, so a client may send it again.
#[derive(Debug, thiserror::Error)]
#[error("the connection gave way to a newer one")]
struct GaveWay;

async fn handle(api: Arc<Api>, request: Request<hyper::body::Incoming>) -> Response<Body> {
    let request_id: Arc<str> = new_request_id().into();
    let id = Arc::clone(&request_id);
    // A task of its own: a client that hangs up does not leave work half done, and a panic is this
    // call's alone.
    let task = tokio::spawn(async move {
        let (parts, body) = request.into_parts();
        api.answer(&parts, Body::new(body), &id).await
    });
    let outcome = task.await.unwrap_or_else(|failure| {
        tracing::error!(%failure, "a call ended abnormally");
        let error = ApiError::internal("An internal error has occurred");
        Err(Failure {
            service: Service::Ec2,
            error,
        })
    });
    let (status, document, service) = match outcome {
        Ok((service, document)) => (StatusCode::OK, document, service),
        Err(Failure { service, error }) => {
            if error.status() >= 500 {
                tracing::warn!(%error, "a call failed");
            }
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
            (status, error.document(service, &request_id), service)
        }
    };
    let mut response = Response::new(Body::from(document));
    *response.status_mut() = status;
    let content_type = match service {
        Service::Ec2 => "text/xml;charset=UTF-8",
        Service::Sts | Service::CloudFormation => "text/xml",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// An id that no other call has, in the form of a UUID: unique, not secret.
fn new_request_id() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let (high, low) = (
        RandomState::new().hash_one(call),
        RandomState::new().hash_one(call),
    );
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        0x8000 | low >> 48 & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}
