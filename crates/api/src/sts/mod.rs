//! AWS STS: who am I.

use atoll_shapes::sts::{GetCallerIdentityRequest, GetCallerIdentityResponse};

use crate::{ApiError, Call, dispatch::Table};

pub(crate) fn operations(table: &mut Table) {
    table.add(get_caller_identity, &[]);
}

async fn get_caller_identity(
    call: Call,
    _: GetCallerIdentityRequest,
) -> Result<GetCallerIdentityResponse, ApiError> {
    let account = call.account.to_string();
    Ok(GetCallerIdentityResponse {
        // The root user's id is its account's.
        user_id: Some(account.clone()),
        account: Some(account),
        arn: Some(call.caller.arn.clone()),
    })
}
