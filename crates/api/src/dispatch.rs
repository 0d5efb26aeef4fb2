//! From an operation's name to its handler.
//!
//! # How to add a handler
//!
//! 1. The operation stands in `crates/shapes/operations.txt` (all of today's do), so that
//!    `atoll_shapes::ec2` has its request and answer types.
//! 2. Write it in its noun's file, `src/ec2/<noun>.rs`, as an ordinary async function:
//!    ```ignore
//!    async fn delete_vpc(call: Call, request: DeleteVpcRequest) -> Result<DeleteVpcResult, ApiError> {
//!        let id: VpcId = wire::id(&request.vpc_id)?;
//!        call.submit(atoll_region::vpc::DeleteVpc { id }).await?;
//!        Ok(DeleteVpcResult::default())
//!    }
//!    ```
//! 3. Put one line into the `operations` function of that file (and that function, if the file is
//!    new, into the list in `src/ec2/mod.rs`), with the parameters that it puts into effect:
//!    ```ignore
//!    table.add(delete_vpc, &["VpcId"]);
//!    ```
//!    Names are the wire's, without indices; one name stands for everything below it
//!    (`TagSpecification`). What the caller sends and the list does not name is refused with
//!    `UnsupportedOperation`; what AWS does not know either is `UnknownParameter`; so nothing is
//!    ever ignored. `DryRun` need not be named.
//!
//! Reading is [`Call::region`], changing is [`Call::submit`], which also does the whole of `DryRun`
//! for handlers that change something; for the others a `DryRun` that came through answers
//! `DryRunOperation` by itself. A handler that does more than one command checks
//! [`Call::dry_run`] before the second. Identifiers, filters, pages and tags have their words in
//! [`crate::wire`]. A handler runs to its end even if the client hangs up.

use std::collections::BTreeMap;
use std::future::Future;

use atoll_shapes::query::Parameters;
use atoll_shapes::{Request, Service};

use crate::backend::BoxFuture;
use crate::call::Call;
use crate::error::ApiError;

type Run = Box<dyn Fn(Call, Parameters) -> BoxFuture<'static, Result<String, ApiError>> + Send + Sync>;

struct Operation {
    /// The parameters that are in effect.
    takes: &'static [&'static str],
    /// Whether the parameters are the operation's at all.
    check: fn(Parameters) -> Result<(), ApiError>,
    run: Run,
}

/// The operations there are.
#[derive(Default)]
pub struct Table {
    operations: BTreeMap<Service, BTreeMap<&'static str, Operation>>,
}

impl Table {
    /// Every operation of every service.
    pub fn all() -> Table {
        let mut table = Table::default();
        crate::ec2::operations(&mut table);
        crate::sts::operations(&mut table);
        crate::cloudformation::operations(&mut table);
        table
    }

    /// Adds the handler of the operation whose request it takes; `takes` names the parameters that
    /// it puts into effect.
    pub fn add<R, F, Outcome>(&mut self, handler: F, takes: &'static [&'static str])
    where
        R: Request,
        F: Fn(Call, R) -> Outcome + Send + Sync + Clone + 'static,
        Outcome: Future<Output = Result<R::Answer, ApiError>> + Send + 'static,
    {
        let run: Run = Box::new(move |mut call, parameters| {
            let handler = handler.clone();
            Box::pin(async move {
                let request: R = read(parameters)?;
                call.dry_run = request.dry_run();
                let (dry_run, request_id) = (call.dry_run, call.request_id.clone());
                let answer = handler(call, request).await?;
                if dry_run {
                    return Err(ApiError::dry_run());
                }
                Ok(R::document(&answer, &request_id))
            })
        });
        let check = |parameters| read::<R>(parameters).map(drop);
        let operations = self.operations.entry(R::SERVICE).or_default();
        operations.insert(R::ACTION, Operation { takes, check, run });
    }

    /// The names of a service's operations, in order.
    pub fn actions(&self, service: Service) -> impl Iterator<Item = &'static str> + '_ {
        let operations = self.operations.get(&service).into_iter();
        operations.flat_map(|operations| operations.keys().copied())
    }

    /// Runs an operation; its answer is a document.
    ///
    /// # Errors
    /// `InvalidAction` for what is not in the table, then what the parameters and the handler give.
    pub async fn run(
        &self,
        service: Service,
        action: &str,
        call: Call,
        parameters: Parameters,
    ) -> Result<String, ApiError> {
        let operations = self.operations.get(&service);
        let Some(operation) = operations.and_then(|operations| operations.get(action)) else {
            return Err(ApiError::invalid_action(service, action));
        };
        if let Some(name) = parameters
            .names()
            .into_iter()
            .find(|name| !operation.accepts(name))
        {
            // What AWS would not know either is named first.
            (operation.check)(parameters)?;
            return Err(ApiError::unsupported(format!(
                "The parameter {name} of {action} is not in effect here; leave it out"
            )));
        }
        (operation.run)(call, parameters).await
    }
}

fn read<R: Request>(parameters: Parameters) -> Result<R, ApiError> {
    parameters
        .decode()
        .map_err(|error| ApiError::undecodable(R::SERVICE, &error))
}

impl Operation {
    fn accepts(&self, name: &str) -> bool {
        name == "DryRun"
            || self.takes.iter().any(|taken| {
                name.strip_prefix(taken)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
    }
}
