//! What a handler may rely on.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use atoll_api::dispatch::Table;
use atoll_api::{ApiError, Backend, Call};
use atoll_model::{AccountId, InternetGateway, InternetGatewayId, RegionName};
use atoll_region::internet_gateway::CreateInternetGateway;
use atoll_region::{Command, Error, Transaction};
use atoll_shapes::Service;
use atoll_shapes::ec2;
use atoll_shapes::query::Parameters;
use support::{Memory, call};

fn gateway(tx: &mut Transaction) -> Result<InternetGatewayId, Error> {
    let tags = Default::default();
    CreateInternetGateway { tags }.apply(tx)
}

async fn create(
    call: Call,
    _: ec2::CreateInternetGatewayRequest,
) -> Result<ec2::CreateInternetGatewayResult, ApiError> {
    let id = call.submit(gateway).await?;
    // What was acknowledged is seen.
    call.region()?.find::<InternetGateway>(call.account, id)?;
    let gateway = ec2::InternetGateway {
        internet_gateway_id: Some(id.to_string()),
        ..Default::default()
    };
    Ok(ec2::CreateInternetGatewayResult {
        internet_gateway: Some(gateway),
    })
}

fn run(memory: &Arc<Memory>, parameters: &[(&'static str, &'static str)]) -> Result<String, ApiError> {
    let mut table = Table::default();
    table.add(create, &["TagSpecification.Tag"]);
    let parameters = Parameters::collect(parameters.iter().map(|(n, v)| ((*n).into(), (*v).into()))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(table.run(Service::Ec2, "CreateInternetGateway", call(memory), parameters))
}

fn gateways(memory: &Memory) -> usize {
    memory
        .snapshot(RegionName::DEFAULT)
        .unwrap()
        .list::<InternetGateway>(AccountId::DEFAULT)
        .count()
}

#[test]
fn a_command_that_was_acknowledged_is_seen() {
    let memory = Memory::new();
    let document = run(&memory, &[]).unwrap();
    assert!(document.contains("<internetGatewayId>igw-0"), "{document}");
    assert_eq!(gateways(&memory), 1);
}

#[test]
fn a_dry_run_tries_the_command_and_changes_nothing() {
    let memory = Memory::new();
    assert_eq!(
        run(&memory, &[("DryRun", "true")]).unwrap_err(),
        ApiError::dry_run()
    );
    assert_eq!(gateways(&memory), 0);
    run(&memory, &[("DryRun", "false")]).unwrap();
    assert_eq!(gateways(&memory), 1);
}

#[test]
fn a_command_that_fails_changes_nothing_and_says_why() {
    let memory = Memory::new();
    let fail = |tx: &mut Transaction| {
        gateway(tx)?;
        Err::<(), _>(Error::dependency("on purpose"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for dry_run in [false, true] {
        let call = Call {
            dry_run,
            ..call(&memory)
        };
        let error = runtime.block_on(call.submit(fail)).unwrap_err();
        assert_eq!(
            (&*error.code, error.message.as_str()),
            ("DependencyViolation", "on purpose")
        );
    }
    assert_eq!(gateways(&memory), 0);
}

#[test]
fn parameters_that_a_handler_does_not_put_into_effect_are_refused_not_ignored() {
    let memory = Memory::new();
    let error = run(
        &memory,
        &[("TagSpecification.1.ResourceType", "internet-gateway")],
    )
    .unwrap_err();
    assert_eq!(error.code, "UnsupportedOperation");
    assert!(error.message.contains("TagSpecification.ResourceType"), "{error}");
    let error = run(
        &memory,
        &[("TagSpecification.1.ResourceType", "x"), ("Tag.1", "x")],
    )
    .unwrap_err();
    assert_eq!(error.code, "UnknownParameter");
    assert_eq!(gateways(&memory), 0);
    run(&memory, &[("TagSpecification.1.Tag.1.Key", "x")]).unwrap();
}
