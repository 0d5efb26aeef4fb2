//! A daemon in the test's own process: what a client sees of starting, serving, stopping and starting again.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use atoll_access::{Credential, RequestParts, SecretKey, sign};
use atoll_daemon::control::{client, protocol};
use atoll_daemon::options::{Auth, Data, DataPlane, Options};
use atoll_daemon::{Running, ServeError, entropy, open};
use atoll_model::{AccountId, InternetGateway, InternetGatewayId, RegionName, Vpc};
use atoll_region::{Error, Transaction};

fn options(top: &Path, data: Data) -> Options {
    Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        allowed_hosts: Vec::new(),
        data,
        auth: Auth::SigV4,
        data_plane: Some(DataPlane::None),
        regions: vec!["us-east-1".parse().unwrap(), "eu-west-1".parse().unwrap()],
        run_base: top.join("run"),
        ..Options::default()
    }
}

async fn serve(options: Options) -> Running {
    open(options).unwrap().start().await.unwrap()
}

/// Makes an internet gateway, which needs nothing else.
fn internet_gateway(tx: &mut Transaction) -> Result<InternetGatewayId, Error> {
    let id = tx.fresh_id::<InternetGateway>();
    tx.put(InternetGateway {
        id,
        owner: tx.account(),
        vpc: None,
        tags: Default::default(),
    });
    Ok(id)
}

/// Signs and sends; gives the status and the body.
async fn call(running: &Running, credential: &Credential, service: &str, body: &str) -> (u16, String) {
    let url = running.daemon().endpoint_url();
    let (credential, service, body) = (credential.clone(), service.to_owned(), body.to_owned());
    tokio::task::spawn_blocking(move || {
        let host = url.strip_prefix("http://").unwrap();
        let headers = [("host", host.as_bytes())];
        let parts = RequestParts {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
        };
        let signed = sign(
            &parts,
            body.as_bytes(),
            &credential,
            "us-east-1",
            &service,
            entropy::now(),
        );
        let agent =
            ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let mut answer = agent
            .post(&url)
            .header("Authorization", &signed.authorization)
            .header("X-Amz-Date", &signed.x_amz_date)
            .send(&body)
            .unwrap();
        (
            answer.status().as_u16(),
            answer.body_mut().read_to_string().unwrap(),
        )
    })
    .await
    .unwrap()
}

fn credential(running: &Running) -> Credential {
    let socket = running.control_socket();
    let protocol::Reply::Env(env) = client::ask(socket, &protocol::Request::Env).unwrap() else {
        panic!()
    };
    Credential {
        account: AccountId::DEFAULT,
        access_key: env.access_key.parse().unwrap(),
        secret: SecretKey::new(env.secret_key),
    }
}

const WHO: &str = "Action=GetCallerIdentity&Version=2011-06-15";

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_env_opens_the_api_and_another_does_not() {
    let top = tempfile::tempdir().unwrap();
    let running = serve(options(top.path(), Data::Ephemeral)).await;
    let good = credential(&running);
    let (status, body) = call(&running, &good, "sts", WHO).await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("<Account>123456789012</Account>"), "{body}");
    let bad = Credential {
        secret: SecretKey::new("x"),
        ..good
    };
    let (status, body) = call(&running, &bad, "sts", WHO).await;
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("SignatureDoesNotMatch"), "{body}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart_with_the_same_key() {
    let top = tempfile::tempdir().unwrap();
    let options = options(top.path(), Data::Directory(top.path().join("data")));
    let running = serve(options.clone()).await;
    let key = credential(&running);
    let eu: RegionName = "eu-west-1".parse().unwrap();
    let region = running.daemon().region(eu).unwrap().clone();
    let id = region.apply(AccountId::DEFAULT, internet_gateway).await.unwrap();
    assert!(
        region.current().get::<InternetGateway>(id).is_some(),
        "a caller reads its own write"
    );
    drop(region);
    running.stop().await;

    let running = serve(options).await;
    assert_eq!(credential(&running), key);
    let region = running.daemon().region(eu).unwrap().current();
    assert!(region.get::<InternetGateway>(id).is_some());
    assert_eq!(region.revision().0, 2, "the default VPC and the gateway");
    assert_eq!(region.all::<Vpc>().filter(|vpc| vpc.is_default).count(), 1);
    let other = running.daemon().region(RegionName::DEFAULT).unwrap().current();
    assert!(other.get::<InternetGateway>(id).is_none(), "regions are apart");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_data_is_told_so() {
    let top = tempfile::tempdir().unwrap();
    let options = options(top.path(), Data::Directory(top.path().join("data")));
    let first = open(options.clone()).unwrap();
    assert!(matches!(open(options.clone()), Err(ServeError::DataInUse { .. })));
    let taken = Options {
        listen: first.endpoint(),
        data: Data::Ephemeral,
        ..options
    };
    assert!(matches!(open(taken), Err(ServeError::Listen { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn ephemeral_leaves_nothing_and_the_control_socket_is_its_owners() {
    let top = tempfile::tempdir().unwrap();
    let running = serve(options(top.path(), Data::Ephemeral)).await;
    let socket = running.control_socket().to_owned();
    assert_eq!(
        std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let run = socket.parent().unwrap();
    assert_eq!(
        std::fs::metadata(run).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let names = |directory: &Path| {
        std::fs::read_dir(directory)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(top.path()), ["run"]);
    running.stop().await;
    assert_eq!(names(top.path()), [""; 0]);
    assert!(matches!(
        client::ask(&socket, &protocol::Request::Status),
        Err(client::ControlError::NotRunning { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_see_every_delta_once_and_in_order() {
    use atoll_daemon::Followed;
    let top = tempfile::tempdir().unwrap();
    let running = serve(options(top.path(), Data::Ephemeral)).await;
    let region = running.daemon().region(RegionName::DEFAULT).unwrap().clone();
    let mut follower = region.follow();
    let mut copy = match follower.next().await.unwrap() {
        Followed::Restart(region) => (*region).clone(),
        Followed::Delta(_) => panic!("a follower begins with the region"),
    };
    let mut writes = Vec::new();
    for _ in 0..50 {
        let region = region.clone();
        writes.push(tokio::spawn(async move {
            region.apply(AccountId::DEFAULT, internet_gateway).await.unwrap();
        }));
    }
    for write in writes {
        write.await.unwrap();
    }
    for revision in 2..=51 {
        let Followed::Delta(published) = follower.next().await.unwrap() else {
            panic!()
        };
        copy = copy.after(&published.delta);
        assert_eq!(
            (copy.revision().0, published.region.revision().0),
            (revision, revision)
        );
    }
    assert!(copy.rows().eq(region.current().rows()));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_data_plane_a_creation_policy_is_not_awaited_and_that_is_said() {
    use atoll_model::stack::{Stack, StackEvent};
    let top = tempfile::tempdir().unwrap();
    let running = serve(options(top.path(), Data::Ephemeral)).await;
    let template = "
Resources:
  I:
    Type: AWS::EC2::Instance
    CreationPolicy: {ResourceSignal: {Count: 1, Timeout: PT12H}}
    Properties: {ImageId: ami-12345678, UserData: !Base64 '#!/bin/sh'}
";
    let handle = running.daemon().region(RegionName::DEFAULT).unwrap();
    let create = atoll_stack::CreateStack::new("waits", template);
    handle.apply(AccountId::DEFAULT, create).await.unwrap();
    let mut latest = handle.latest();
    let made = latest.wait_for(|region| region.all::<Stack>().any(|stack| !stack.status.in_progress()));
    let region = tokio::time::timeout(std::time::Duration::from_secs(120), made)
        .await
        .expect("the stack waits")
        .unwrap()
        .clone();
    let stack = region.all::<Stack>().next().unwrap();
    assert_eq!(stack.status.to_string(), "CREATE_COMPLETE");
    let said = region
        .all::<StackEvent>()
        .filter_map(|event| event.reason.clone())
        .find(|reason| reason.contains("were not awaited"));
    assert_eq!(
        said.as_deref(),
        Some(
            "Warning: The data plane is off, so that no user data runs and nothing can signal: the signals that this \
             resource wants were not awaited"
        )
    );
    running.stop().await;
}
