//! What keeps a browser's pages out.
//!
//! A page of any site may have its visitor's browser send forms to a loopback address, and one whose name
//! changes its address meanwhile (DNS rebinding) may even read the answers. No AWS client sends what gives such
//! a request away: a `Host` that is a name of somebody else's, an `Origin`, or a `Sec-Fetch-Site`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;

use crate::error::{ApiError, shortened};

/// By which host names a server may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// Only by these, and by addresses; `None` by any.
    names: Option<Vec<String>>,
    /// The one address beside loopback ones; `None` when any will do.
    address: Option<IpAddr>,
}

impl Hosts {
    /// Any.
    pub const ANY: Hosts = Hosts {
        names: None,
        address: None,
    };

    /// What fits a listener. One on loopback is called by that address, by another loopback address, as
    /// `localhost`, or by one of `names`. Another one may be called by whatever leads there, unless there are
    /// `names`: then by those, `localhost` and addresses, which nobody can make lead elsewhere.
    pub fn of(listen: SocketAddr, names: &[String]) -> Hosts {
        let loopback = listen.ip().to_canonical().is_loopback();
        Hosts {
            names: (loopback || !names.is_empty()).then(|| names.to_vec()),
            address: loopback.then_some(listen.ip()),
        }
    }

    /// Lets a request pass that no page can have sent.
    ///
    /// # Errors
    /// `AccessDenied`, saying what gave the request away.
    pub(crate) fn admit(&self, parts: &Parts) -> Result<(), ApiError> {
        let page = |header: &str, value: &[u8]| {
            let value = String::from_utf8_lossy(value);
            Err(denied(format!(
                "The request has the header {header}: {}, so a web page sent it; pages may not call this endpoint",
                shortened(&value)
            )))
        };
        if let Some(origin) = parts.headers.get(ORIGIN) {
            return page("Origin", origin.as_bytes());
        }
        // `none` is what a person typed or an extension asked.
        if let Some(site) = parts
            .headers
            .get("sec-fetch-site")
            .filter(|site| site.as_bytes() != b"none")
        {
            return page("Sec-Fetch-Site", site.as_bytes());
        }
        let Some(names) = &self.names else {
            return Ok(());
        };
        let mut given = parts.headers.get_all(HOST).iter();
        let authority = match (&parts.uri.authority(), given.next(), given.next()) {
            // A request in absolute form is for the host in its URI (RFC 9112, 3.2.2).
            (Some(authority), _, None) => Some((*authority).clone()),
            (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
            (_, None, _) | (_, Some(_), Some(_)) => None,
        };
        let Some(authority) = authority else {
            return Err(denied(
                "The request must have one header Host with a name or an address",
            ));
        };
        let host = authority.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        let known = match literal {
            Ok(address) => self.is_called_by(address.to_canonical()),
            Err(_) => host == "localhost" || names.iter().any(|name| name.eq_ignore_ascii_case(host)),
        };
        if known {
            return Ok(());
        }
        let ours = self.address.unwrap_or(Ipv4Addr::LOCALHOST.into());
        Err(denied(format!(
            "This endpoint is not called '{}' but localhost or {ours}; to call it by another name, give that name to atoll \
             serve with --allowed-host",
            shortened(host)
        )))
    }

    /// Connecting to the unspecified address leads to loopback.
    fn is_called_by(&self, address: IpAddr) -> bool {
        self.address.is_none_or(|ours| {
            address == ours.to_canonical() || address.is_loopback() || address.is_unspecified()
        })
    }
}

fn denied(message: impl Into<String>) -> ApiError {
    ApiError::new("AccessDenied", message)
}

/// Whether a page could have sent this although nothing gives it away: an image's address, which old browsers
/// ask for as anybody would. Such a request has no headers of the page's choice and cannot be a POST without an
/// origin; its answer is not shown to the page.
pub(crate) fn may_be_an_image(parts: &Parts) -> bool {
    parts.method == axum::http::Method::GET && !parts.headers.contains_key(axum::http::header::AUTHORIZATION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn judged(hosts: &Hosts, uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        hosts.admit(&request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn a_listener_on_loopback_answers_to_its_own_names() {
        let hosts = Hosts::of("127.0.0.1:4600".parse().unwrap(), &["Box.example".to_owned()]);
        let called = |host: &str| judged(&hosts, "/", &[("host", host)]);
        for right in [
            "127.0.0.1:4600",
            "127.0.0.1",
            "127.9.9.9:1",
            "localhost:4600",
            "LocalHost.",
            "[::1]:4600",
            "0.0.0.0:4600",
            "[::ffff:127.0.0.1]",
            "box.EXAMPLE:4600",
        ] {
            assert!(called(right), "{right}");
        }
        for wrong in [
            "evil.example",
            "127.0.0.1.evil.example:4600",
            "localhost.evil.example",
            "evil.box.example",
            "10.0.0.1:4600",
            "host.docker.internal:4600",
            "",
            "[::2]",
        ] {
            assert!(!called(wrong), "{wrong}");
        }
        assert!(!judged(&hosts, "/", &[]));
        assert!(!judged(
            &hosts,
            "/",
            &[("host", "localhost"), ("host", "evil.example")]
        ));
        assert!(!judged(&hosts, "http://evil.example/", &[("host", "localhost")]));
        assert!(judged(
            &hosts,
            "http://localhost:4600/",
            &[("host", "localhost:4600")]
        ));
        let six = Hosts::of("[::1]:4600".parse().unwrap(), &[]);
        assert!(judged(&six, "/", &[("host", "[::1]:4600")]));
    }

    #[test]
    fn a_listener_elsewhere_answers_to_any_name_unless_some_were_given() {
        let listen = "0.0.0.0:4600".parse().unwrap();
        let open = Hosts::of(listen, &[]);
        assert!(judged(&open, "/", &[("host", "lab.example")]) && judged(&open, "/", &[]));
        let named = Hosts::of(listen, &["lab.example".to_owned()]);
        for (host, right) in [
            ("lab.example", true),
            ("192.0.2.7:4600", true),
            ("localhost", true),
            ("evil.example", false),
        ] {
            assert_eq!(judged(&named, "/", &[("host", host)]), right, "{host}");
        }
    }

    #[test]
    fn pages_are_refused_whatever_the_listener() {
        for hosts in [Hosts::ANY, Hosts::of("127.0.0.1:1".parse().unwrap(), &[])] {
            let with = |name, value| judged(&hosts, "/", &[("host", "localhost"), (name, value)]);
            assert!(!with("origin", "https://evil.example") && !with("origin", "null"));
            for site in ["cross-site", "same-site", "same-origin"] {
                assert!(!with("sec-fetch-site", site));
            }
            assert!(with("sec-fetch-site", "none") && with("user-agent", "aws-cli/2"));
        }
    }
}
