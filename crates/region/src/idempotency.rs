//! Client tokens: a request repeated with its token is answered with what it made the first time.

use std::fmt::Debug;

use atoll_model::client_token::{ClientToken, MAX_TOKEN, fingerprint};
use atoll_model::{Key, Row};

use crate::error::Error;
use crate::index::Index;
use crate::state::Noun;
use crate::transaction::Transaction;

/// What a client token leads to.
pub enum Repeated {
    /// No token was given.
    Untokened,
    /// The token is new: keep this with what the request makes.
    New(ClientToken),
    /// The same request was answered before: these rows were made, in key order.
    Before(Vec<Key>),
}

/// Looks a token up among the rows that `kind` picks; `request` is everything else the caller asked for.
///
/// # Errors
/// `InvalidParameterValue` for a token over 64 ASCII characters, `IdempotentParameterMismatch` for a token that
/// came with another request.
pub fn look_up(
    tx: &Transaction,
    token: Option<&str>,
    request: &impl Debug,
    kind: impl Fn(&Row) -> Option<&ClientToken>,
) -> Result<Repeated, Error> {
    let Some(token) = token.filter(|t| !t.is_empty()) else {
        return Ok(Repeated::Untokened);
    };
    if token.len() > MAX_TOKEN || !token.is_ascii() {
        return Err(Error::invalid_value(format!(
            "Value ({}) for parameter clientToken is invalid. It must be of up to {MAX_TOKEN} ASCII characters.",
            token.chars().take(MAX_TOKEN).collect::<String>()
        )));
    }
    let new = ClientToken {
        token: token.to_owned(),
        request: fingerprint(&format!("{request:?}")),
    };
    let mut before = Vec::new();
    for key in tx
        .region()
        .indexed(Index::Token(tx.account(), fingerprint(token)))
    {
        let Some(row) = tx.region().row(key) else { continue };
        match kind(&row) {
            Some(old) if *old == new => before.push(key),
            Some(old) if old.token == new.token => {
                return Err(Error::new(
                    "IdempotentParameterMismatch",
                    format!(
                        "The client token '{token}' was used before with other parameters; use a new token for a new request"
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(if before.is_empty() {
        Repeated::New(new)
    } else {
        Repeated::Before(before)
    })
}

/// The id of the one row of that noun that a repeated request made.
///
/// # Errors
/// `InternalError` when there is none: [`look_up`] was asked about another noun.
pub fn made<N: Noun>(tx: &Transaction, keys: &[Key]) -> Result<N::Id, Error> {
    keys.iter()
        .filter_map(|key| tx.region().row(*key))
        .find_map(N::from_row)
        .map(|row| row.id())
        .ok_or_else(|| Error::internal("a client token led to a row of another noun"))
}
