//! The query of a request: of its URI and of its body together.

use atoll_shapes::query::{DecodeError, Parameters};

/// A request's parameters, apart from the two that say which operation they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The operation.
    pub action: Option<String>,
    /// The API version, which names the service.
    pub version: Option<String>,
    /// Everything else.
    pub parameters: Parameters,
}

impl Query {
    /// Reads the URI's query and a body of `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// Those of [`Parameters::collect`].
    pub fn parse(uri_query: &str, body: &[u8]) -> Result<Query, DecodeError> {
        let pairs = form_urlencoded::parse(uri_query.as_bytes()).chain(form_urlencoded::parse(body));
        let mut parameters = Parameters::collect(pairs)?;
        let action = parameters.take_value("Action");
        let version = parameters.take_value("Version");
        Ok(Query {
            action,
            version,
            parameters,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn uri_and_body_are_one_query() {
        let query = Query::parse("Action=A%20b", b"Version=1&X.1=+y").unwrap();
        assert_eq!(
            (query.action.as_deref(), query.version.as_deref()),
            (Some("A b"), Some("1"))
        );
        assert_eq!(query.parameters.names(), ["X"]);
        assert!(matches!(
            Query::parse("X=1", b"X=2"),
            Err(DecodeError::Repeated { .. })
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(uri in "\\PC*", body: Vec<u8>) {
            let _ = Query::parse(&uri, &body);
        }
    }
}
