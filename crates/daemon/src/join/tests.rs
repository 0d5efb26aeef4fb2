//! Both ends of a connection, joined in memory.

use std::sync::Arc;

use atoll_model::{AccountId, Host, HostId, ImageId, Instance, InstanceState, InternetGateway, Row};
use atoll_region::host::JoinHost;
use atoll_region::instance::InstanceObserved;
use atoll_region::instance::launch::RunInstances;
use atoll_region::vpc::CreateDefaultVpc;
use atoll_region::{Config, Region, Transaction};
use atoll_store::{Memory, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, split};

use super::*;
use crate::control::follow::travels;
use crate::feed;
use crate::feeds::Feeds;
use crate::last_console::LastConsoles;
use crate::writer::Writer;

/// A busy machine may need as much.
const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config::default_for(atoll_model::RegionName::DEFAULT, 0)
}

fn writer(store: &Arc<Memory>) -> Writer {
    let store: Arc<dyn Store> = store.clone();
    Writer::open(store, config()).unwrap()
}

async fn region() -> RegionHandle {
    let (handle, _) = RegionHandle::start(writer(&Arc::default())).unwrap();
    handle.apply(AccountId::DEFAULT, CreateDefaultVpc).await.unwrap();
    handle
}

async fn join(handle: &RegionHandle, name: &str, underlay: &str, zone: &str) -> HostId {
    let join = JoinHost {
        name: name.parse().unwrap(),
        underlay: underlay.parse().unwrap(),
        mtu: 1500,
        zones: vec![zone.parse().unwrap()],
        serves_region: false,
    };
    handle.apply(AccountId::DEFAULT, join).await.unwrap().host
}

fn copy(store: &Arc<Memory>) -> (RegionHandle, Upstream) {
    let upstream = Upstream::default();
    let (handle, _) = RegionHandle::start_copy(writer(store), upstream.clone()).unwrap();
    (handle, upstream)
}

/// Both ends; the connection ends when it is aborted.
fn connect(
    feeds: &Feeds,
    region: &RegionHandle,
    host: HostId,
    copy: &RegionHandle,
    upstream: &Upstream,
) -> tokio::task::JoinHandle<()> {
    let (ours, theirs) = tokio::io::duplex(1000);
    let (region, copy, upstream) = (region.clone(), copy.clone(), upstream.clone());
    let (seat, calls) = feeds.take(region.clone(), host).unwrap();
    let consoles = Consoles {
        host: None,
        last: LastConsoles::default(),
    };
    let written = (b"\xffhello\n".to_vec(), Timestamp(7));
    consoles.last.keep(InstanceId::new(5), written.0, written.1);
    tokio::spawn(async move {
        let _seat = seat;
        let ((from_host, mut to_host), (from_region, mut to_region)) = (split(ours), split(theirs));
        let (mut from_host, mut from_region) = (BufReader::new(from_host), BufReader::new(from_region));
        let fed = feed::speak(&region, host, calls, &mut from_host, &mut to_host);
        let followed = speak(&copy, &upstream, &consoles, &mut from_region, &mut to_region);
        tokio::select! {
            ended = fed => panic!("{ended:?}"),
            ended = followed => panic!("{ended:?}"),
        }
    })
}

/// What other hosts are to have.
fn rows(region: &Region) -> Vec<Row> {
    region.rows().filter(|row| travels(row.key().table())).collect()
}

async fn until_same(region: &RegionHandle, copy: &RegionHandle) {
    let wanted = rows(&region.current());
    let mut latest = copy.latest();
    let same = latest.wait_for(|copy| rows(copy) == wanted);
    drop(
        tokio::time::timeout(PATIENCE, same)
            .await
            .expect("the copy is not the region"),
    );
}

/// The same numbers in each run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn make(tx: &mut Transaction) -> Result<(), Error> {
    let id = tx.fresh_id::<InternetGateway>();
    tx.put(InternetGateway {
        id,
        owner: tx.account(),
        vpc: None,
        tags: Default::default(),
    });
    Ok(())
}

fn remove(tx: &mut Transaction) -> Result<(), Error> {
    let all: Vec<_> = tx.region().all::<InternetGateway>().map(|row| row.id).collect();
    let nth = tx.draw() as usize % all.len().max(1);
    if let Some(id) = all.get(nth) {
        tx.delete(atoll_model::Key::InternetGateway(*id));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_becomes_what_the_region_is_however_often_the_connection_breaks() {
    let mut rng = Numbers(7);
    let region = region().await;
    let host = join(&region, "b", "192.0.2.2", "us-east-1b").await;
    let (store, feeds) = (Arc::default(), Feeds::default());
    let (mut kept, mut upstream) = copy(&store);
    for round in 0..20 {
        let connection = connect(&feeds, &region, host, &kept, &upstream);
        for _ in 0..rng.below(40) {
            match rng.below(3) {
                0 => region.apply(AccountId::DEFAULT, remove).await.unwrap(),
                _ => region.apply(AccountId::DEFAULT, make).await.unwrap(),
            }
        }
        if round % 3 == 0 {
            until_same(&region, &kept).await;
        }
        connection.abort();
        let _ = connection.await;
        // While nobody is connected, a batch that no single change may be.
        for _ in 0..rng.below(200) {
            region.apply(AccountId::DEFAULT, make).await.unwrap();
        }
        if round % 4 == 0 {
            // The host starts again.
            kept.end();
            (kept, upstream) = copy(&store);
        }
    }
    let connection = connect(&feeds, &region, host, &kept, &upstream);
    until_same(&region, &kept).await;
    assert!(kept.current().index_is_true());
    // What is obeyed there is known here.
    region.apply(AccountId::DEFAULT, make).await.unwrap();
    until_same(&region, &kept).await;
    connection.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_sees_is_in_its_copy_when_it_is_answered_and_it_speaks_for_itself_alone() {
    let region = region().await;
    let host = join(&region, "b", "192.0.2.2", "us-east-1b").await;
    join(&region, "c", "192.0.2.3", "us-east-1c").await;
    let launch = |zone: &str| RunInstances {
        zone: Some(zone.parse().unwrap()),
        ..RunInstances::new(ImageId::new(1))
    };
    let mut instances = Vec::new();
    for zone in ["us-east-1b", "us-east-1c", "us-east-1a"] {
        region.apply(AccountId::DEFAULT, launch(zone)).await.unwrap();
        let current = region.current();
        let new = current
            .all::<Instance>()
            .find(|row| row.zone == zone.parse().unwrap());
        instances.push(new.unwrap().id);
    }
    let (kept, upstream) = copy(&Arc::default());
    let feeds = Feeds::default();
    let observed = |id| InstanceObserved {
        id,
        state: InstanceState::Running,
        user_data_run: None,
        failure: None,
    };
    let away = kept.observed(observed(instances[0])).await.unwrap_err();
    assert_eq!(away.code, "Unavailable");
    let connection = connect(&feeds, &region, host, &kept, &upstream);
    until_same(&region, &kept).await;
    kept.observed(observed(instances[0])).await.unwrap();
    for region in [&region, &kept] {
        assert_eq!(
            region.current().get::<Instance>(instances[0]).unwrap().state,
            InstanceState::Running
        );
    }
    for other in &instances[1..] {
        let refused = kept.observed(observed(*other)).await.unwrap_err();
        assert!(refused.message.contains("is not on that host"), "{refused}");
        assert_eq!(
            region.current().get::<Instance>(*other).unwrap().state,
            InstanceState::Pending
        );
    }
    // One that was forgotten meanwhile is nobody's.
    kept.observed(observed(atoll_model::InstanceId::new(77)))
        .await
        .unwrap();
    // What its instances wrote is known where the region is.
    let written = feeds.console(host, InstanceId::new(5)).await;
    assert_eq!(written, Some((b"\xffhello\n".to_vec(), Timestamp(7))));
    assert_eq!(feeds.console(host, InstanceId::new(6)).await, None);
    assert_eq!(feeds.console(HostId::new(9), InstanceId::new(5)).await, None);
    // A copy is changed by nobody but the region.
    let refused = kept.apply(AccountId::DEFAULT, make).await.unwrap_err();
    assert_eq!(refused.code, "Unavailable");
    assert!(kept.current().get::<Host>(host).is_some());
    connection.abort();
}

/// What becomes of a copy that is told this.
async fn told(lines: &[Vec<u8>]) -> io::Result<Option<LastWord>> {
    let (kept, upstream) = copy(&Arc::default());
    let (mut ours, theirs): (DuplexStream, DuplexStream) = tokio::io::duplex(64 * 1024);
    let lines = lines.concat();
    let saying = tokio::spawn(async move {
        let _ = ours.write_all(&lines).await;
        let _ = ours.shutdown().await;
        // What the host says meanwhile is not listened to.
        std::future::pending::<()>().await
    });
    let (from, mut to) = split(theirs);
    let mut from = BufReader::new(from);
    let consoles = Consoles {
        host: None,
        last: LastConsoles::default(),
    };
    let ended = tokio::time::timeout(PATIENCE, speak(&kept, &upstream, &consoles, &mut from, &mut to)).await;
    saying.abort();
    ended.expect("it does not end").0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_region_ends_the_connection_and_nothing_else() {
    let line = |said: FromRegion| encode(&said).unwrap();
    let whole = |revision| line(FromRegion::Whole { revision });
    let delta = |revision, changes| line(FromRegion::Delta { revision, changes });
    let gateway = |bits| -> Row {
        InternetGateway {
            id: atoll_model::InternetGatewayId::new(bits),
            owner: AccountId::DEFAULT,
            vpc: None,
            tags: Default::default(),
        }
        .into()
    };
    let put = |bits| atoll_model::Change::Put(gateway(bits));
    assert_eq!(told(&[]).await.unwrap(), None);
    assert_eq!(
        told(&[whole(u64::MAX), delta(3, vec![])])
            .await
            .map_err(|e| e.kind()),
        Err(io::ErrorKind::InvalidData)
    );
    for hostile in [
        vec![b"Last login: Mon Nov 23\n".to_vec()],
        vec![b"\n".to_vec()],
        vec![vec![b'['; 1000], b"\n".to_vec()],
        vec![delta(1, vec![])],
        vec![whole(7), delta(7, vec![])],
        vec![whole(7), delta(8, vec![put(1), put(1)])],
        vec![whole(7), delta(8, (0..129).map(put).collect())],
        vec![line(FromRegion::Rows((0..513).map(gateway).collect()))],
        vec![vec![b' '; MAX_FROM_REGION + 1]],
    ] {
        let ended = told(&hostile).await;
        assert_eq!(
            ended.unwrap_err().kind(),
            io::ErrorKind::InvalidData,
            "{:?}",
            beginning(&hostile.concat())
        );
    }
    // Answers to what was never asked, and a last word.
    let answer = FromRegion::Answer {
        number: 9,
        outcome: Outcome::Taken,
    };
    let end = FromRegion::End {
        why: "x".repeat(10_000),
        again: true,
    };
    let ended = told(&[line(answer), line(FromRegion::Alive), line(end)])
        .await
        .unwrap()
        .unwrap();
    assert!(ended.0.len() == 200 && ended.1);
}

/// A host that says that it is there and takes nothing once rows have begun to come; how the region's host ends with it.
async fn takes_nothing(
    feeds: &Feeds,
    region: &RegionHandle,
    host: HostId,
) -> tokio::task::JoinHandle<String> {
    let (begun, rows_come) = oneshot::channel();
    let (ours, mut theirs) = tokio::io::duplex(10);
    let (region, (seat, calls)) = (region.clone(), feeds.take(region.clone(), host).unwrap());
    let connection = tokio::spawn(async move {
        let _seat = seat;
        let (from, mut to) = split(ours);
        let mut from = BufReader::new(from);
        let alive = encode(&crate::control::follow::FromHost::Alive).unwrap();
        let alive = async {
            // More than that the other side is there.
            theirs.read_exact(&mut [0; 9]).await.unwrap();
            begun.send(()).unwrap();
            loop {
                lines::write(&mut theirs, &alive).await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            ended = feed::speak(&region, host, calls, &mut from, &mut to) => ended.unwrap(),
            () = alive => unreachable!(),
        }
    });
    tokio::time::timeout(PATIENCE, rows_come).await.unwrap().unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_gives_its_name_up_all_the_same() {
    let region = region().await;
    let host = join(&region, "b", "192.0.2.2", "us-east-1b").await;
    let feeds = Feeds::default();
    let earlier = takes_nothing(&feeds, &region, host).await;
    let _later = feeds.take(region.clone(), host).unwrap();
    let ended = tokio::time::timeout(PATIENCE / 2, earlier).await;
    let ended = ended.expect("it stays").unwrap();
    assert!(ended.contains("another daemon joined"), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_forgotten_before_the_first_row_is_told_none() {
    let region = region().await;
    let (feeds, nobody) = (Feeds::default(), HostId::new(99));
    let (_seat, calls) = feeds.take(region.clone(), nobody).unwrap();
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let (from, mut to) = split(ours);
    let mut from = BufReader::new(from);
    let ended = feed::speak(&region, nobody, calls, &mut from, &mut to);
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it stays");
    assert_eq!(ended.unwrap(), "forgotten");
    let mut from = BufReader::new(&mut theirs);
    loop {
        let line = lines::next(&mut from, MAX_FROM_REGION, PATIENCE).await.unwrap();
        match follow::decode(&line.expect("no last word")).unwrap() {
            FromRegion::Alive => {}
            FromRegion::End { again: false, .. } => return,
            said => panic!("{said:?}"),
        }
    }
}
