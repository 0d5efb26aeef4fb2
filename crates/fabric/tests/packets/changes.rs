//! What a delta changes, as the cells see it: no more and no less.

use atoll_fabric::{CellId, Component, Packet};
use atoll_model::{Change, Row};

use crate::scene::{OUT_ALL, OUTSIDE, Scene, ip, two_tier};

fn cell(s: &mut Scene, packet: &Packet) -> (CellId, u32) {
    let outcome = s.send(packet);
    let cell = s.cells.intern(&outcome.dependencies);
    (cell, s.cells.generation(cell))
}

fn is_stale(s: &Scene, (cell, generation): (CellId, u32)) -> bool {
    s.cells.generation(cell) != generation
}

#[test]
fn a_change_touches_the_flows_that_met_it_and_no_others() {
    let mut t = two_tier();
    let db = t.scene.addr(t.db);
    let sql = t.scene.syn(t.web, db, 40000, 5432);
    let web = t.scene.syn_in(OUTSIDE, t.web_public, 40000, 443);
    let out = t.scene.syn(t.db, ip(OUTSIDE), 40000, 443);
    let group = t.db_group;
    let (vpc, private) = (t.vpc, t.private);

    let before = (
        cell(&mut t.scene, &sql),
        cell(&mut t.scene, &web),
        cell(&mut t.scene, &out),
    );
    t.scene.set_group(group, &["in tcp/5432 10.0.0.0/24", OUT_ALL[0]]);
    // The first packet of `sql` was judged by the rule; a web flow has nothing to do with the database's group.
    assert!(is_stale(&t.scene, before.0));
    assert!(!is_stale(&t.scene, before.1));

    let before = (
        cell(&mut t.scene, &sql),
        cell(&mut t.scene, &web),
        cell(&mut t.scene, &out),
    );
    let acl = t.scene.acl(
        vpc,
        &[private],
        &["in 100 allow all 0.0.0.0/0", "out 100 allow all 0.0.0.0/0"],
    );
    assert!(is_stale(&t.scene, before.0), "the subnet has another ACL");
    assert!(!is_stale(&t.scene, before.1));
    assert!(is_stale(&t.scene, before.2));

    let before = (cell(&mut t.scene, &sql), cell(&mut t.scene, &web));
    t.scene.set_acl(acl, &["in 100 allow all 0.0.0.0/0"]);
    assert!(is_stale(&t.scene, before.0));
    assert!(!is_stale(&t.scene, before.1));

    let before = (
        cell(&mut t.scene, &sql),
        cell(&mut t.scene, &web),
        cell(&mut t.scene, &out),
    );
    let table = t.private_table;
    t.scene.unroute(table, "0.0.0.0/0");
    assert!(!is_stale(&t.scene, before.0));
    assert!(!is_stale(&t.scene, before.1));
    assert!(is_stale(&t.scene, before.2));
}

#[test]
fn absence_is_a_dependency_too() {
    let mut t = two_tier();
    let nobody = t.scene.syn(t.web, ip("10.0.1.15"), 40000, 80);
    let unknown = t.scene.syn_in(OUTSIDE, ip("192.0.2.16"), 40000, 80);
    let before = (cell(&mut t.scene, &nobody), cell(&mut t.scene, &unknown));
    let new = t.scene.eni(t.private, &[t.db_group]);
    assert_eq!(t.scene.addr(new), ip("10.0.1.15"), "the scene counts hosts");
    assert!(is_stale(&t.scene, before.0));
    assert!(!is_stale(&t.scene, before.1));
    assert_eq!(t.scene.elastic(new), ip("192.0.2.16"));
    assert!(is_stale(&t.scene, before.1));
}

#[test]
fn a_row_rewritten_to_the_same_meaning_changes_nothing() {
    let mut t = two_tier();
    let s = &mut t.scene;
    let mut rows: Vec<Row> = vec![
        s.vpc_row(t.vpc.id).into(),
        s.subnet_row(t.public).into(),
        s.table_row(t.public_table).into(),
        s.acl_row(t.vpc.acl).into(),
        s.eni_row(t.web).into(),
        s.nat_row(t.nat).into(),
    ];
    let mut group = s.group_row(t.web_group);
    group.tags.insert("Name".into(), "web".into());
    rows.push(group.into());
    let mut eni = s.eni_row(t.db);
    eni.description = "another".into();
    rows.push(eni.into());
    for row in rows {
        let changed = s.apply(vec![Change::Put(row.clone())]);
        // A public address that is put again is the one thing that may be said twice.
        let said: Vec<Component> = changed.components().to_vec();
        assert!(said.is_empty(), "{row:?}");
    }
}

#[test]
fn adding_an_interface_says_only_what_is_new() {
    let mut t = two_tier();
    let group = t.db_group;
    let eni = t.scene.bare_eni(t.private, &[group]);
    let row = t.scene.eni_row(eni);
    t.scene.delete(atoll_model::Key::NetworkInterface(eni));
    let changed = t.scene.put(row.clone());
    let mut expected = vec![Component::interface(eni), Component::station(t.private, row.mac)];
    for addr in row.addresses() {
        expected.push(Component::address(t.vpc.id, addr));
        expected.push(Component::public(addr));
    }
    expected.sort_unstable();
    assert_eq!(changed.components(), expected);
}

#[test]
fn a_new_connection_makes_stale_what_was_dropped_for_want_of_it() {
    let mut t = two_tier();
    let udp = t.scene.udp(t.web, t.scene.addr(t.db), 5000, 6000);
    let before = cell(&mut t.scene, &udp);
    let back = t.scene.udp(t.db, t.scene.addr(t.web), 6000, 5000);
    let outcome = t.scene.send(&back);
    t.scene.cells.begin(&outcome.effects);
    assert!(is_stale(&t.scene, before));
    assert_eq!(t.scene.stage(&udp), atoll_fabric::Stage::Delivered);
    let before = cell(&mut t.scene, &udp);
    let again = t.scene.send(&back);
    t.scene.cells.begin(&again.effects);
    assert!(!is_stale(&t.scene, before), "it is not new any more");
}
