//! A request's body: read whole within a bound, and to its end also when it is refused.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody};

use crate::error::ApiError;

/// Largest body in bytes: room for a large CloudFormation template.
pub const MAX_BODY: usize = 1024 * 1024;
/// How much of a larger one is read and thrown away, in bytes. A connection that is closed on a client that still sends
/// is reset, and the reset may overtake the answer: the client would see a broken pipe instead of the refusal.
const MAX_DISCARDED: usize = 16 * 1024 * 1024;

/// The body, if it is within the bound.
///
/// # Errors
/// `RequestEntityTooLarge`, when it is not; `IncompleteBody`, when it breaks off.
pub(crate) async fn read(mut body: Body) -> Result<Vec<u8>, ApiError> {
    let (mut kept, mut length) = (Vec::new(), 0_usize);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame =
            frame.map_err(|_| ApiError::new("IncompleteBody", "The body could not be read to its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= MAX_BODY {
            kept.extend_from_slice(&data);
        } else if length <= MAX_BODY + MAX_DISCARDED {
            kept = Vec::new();
        } else {
            break;
        }
    }
    if length > MAX_BODY {
        let message = format!("The body exceeds the limit of {MAX_BODY} bytes");
        return Err(ApiError::new("RequestEntityTooLarge", message));
    }
    Ok(kept)
}
