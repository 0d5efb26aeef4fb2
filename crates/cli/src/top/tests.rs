use std::time::Duration;

use atoll_daemon::control::protocol::{
    Counted, EngineCounters, Flow, FlowWay, KernelCounters, LostFrames, PortName, Sample, StageCount,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::rates::{Rates, Sort};
use super::view::View;
use super::{printed, text};

fn way(from: &str, name: &str, ends: (&str, &str), counted: Option<(u64, u64)>) -> FlowWay {
    FlowWay {
        from: from.into(),
        from_name: Some(name.into()),
        to: "internet".into(),
        to_name: None,
        source: ends.0.into(),
        destination: ends.1.into(),
        icmp_id: None,
        translated_source: None,
        translated_destination: None,
        translated_icmp_id: None,
        hop_limit_decrement: 1,
        mtu: 1500,
        holds_ms: Some(1000),
        plane: if counted.is_some() { "ebpf" } else { "userspace" }.into(),
        packets: counted.map(|(packets, _)| packets),
        bytes: counted.map(|(_, bytes)| bytes),
        last_seen: None,
        idle_ms: counted.map(|_| 40),
    }
}

fn flow(number: u16, name: &str, there: Option<(u64, u64)>, back: Option<(u64, u64)>) -> Flow {
    let (near, far) = (format!("10.0.0.{number}:4000"), "198.51.100.10:80");
    let mut answer = way("internet", "", (far, &near), back);
    (answer.to, answer.to_name, answer.from_name) = (format!("eni-{number}"), Some(name.into()), None);
    Flow {
        protocol: "tcp".into(),
        state: Some("established".into()),
        path: Vec::new(),
        stage: None,
        forward: way(&format!("eni-{number}"), name, (&near, far), there),
        back: Some(answer),
    }
}

fn sample(kernel: Option<KernelCounters>, flows: Vec<Flow>) -> Sample {
    Sample {
        time: 0,
        endpoint: "http://127.0.0.1:4600".into(),
        data_plane: if kernel.is_some() { "ebpf" } else { "userspace" }.into(),
        interfaces: 3,
        connections: 8,
        mappings: 1,
        kept_answers: 4,
        counted: Counted {
            kernel,
            ..Counted::default()
        },
        flows,
        truncated: false,
    }
}

fn stage(name: &str, drops: bool, packets: u64) -> StageCount {
    StageCount {
        stage: name.into(),
        drops,
        packets,
    }
}

/// Two seconds of a kernel that carries most: 980 of 1000 packets a second.
fn two_samples() -> (Sample, Sample) {
    let kernel = |n: u64| KernelCounters {
        delivered: 1000 * n,
        exited: 960 * n,
        bytes: 250_000 * n,
        made: 8 * n,
        no_flow: 30 * n,
        control: 10 * n,
        ..KernelCounters::default()
    };
    let flows = |n: u64| {
        vec![
            flow(
                1,
                "web-a",
                Some((100 * n, 10_000 * n)),
                Some((50 * n, 70_000 * n)),
            ),
            flow(2, "web-b", Some((1000 * n, 64_000 * n)), Some((10 * n, 640 * n))),
            flow(3, "slow", None, None),
        ]
    };
    let (mut before, mut now) = (
        sample(Some(kernel(1)), flows(1)),
        sample(Some(kernel(2)), flows(2)),
    );
    before.counted.engine.packets = 7;
    now.counted.engine.packets = 47;
    (before.counted.engine.revalidated, now.counted.engine.revalidated) = (10, 30);
    before.counted.stages = vec![stage("nacl-ingress", true, 5)];
    now.counted.stages = vec![
        stage("nacl-ingress", true, 5),
        stage("no-route", true, 6),
        stage("delivered", false, 2000),
    ];
    (before, now)
}

fn rates() -> Rates {
    let (before, now) = two_samples();
    Rates::between(&before, &now, Duration::from_secs(2))
}

#[test]
fn rates_are_what_was_counted_between_two_samples() {
    let rates = rates();
    assert_eq!(rates.hit_ratio, Some(0.98));
    assert_eq!(
        rates.packets_per_second, 1000.0,
        "980 of the kernel's, 20 of the engine's"
    );
    assert_eq!(rates.bits_per_second, 1_000_000.0);
    assert_eq!(rates.made_per_second, Some(4.0));
    assert_eq!(
        (rates.revalidated.per_second, rates.revalidated.total),
        (10.0, 30)
    );
    let misses: Vec<_> = rates
        .misses
        .iter()
        .map(|miss| (&*miss.name, miss.per_second, miss.total))
        .collect();
    assert_eq!(
        misses,
        [
            ("no flow known", 15.0, 60),
            ("SYN, FIN, RST, ICMP errors", 5.0, 20)
        ]
    );
    let drops: Vec<_> = rates
        .drops
        .iter()
        .map(|drop| (&*drop.name, drop.per_second, drop.total))
        .collect();
    assert_eq!(
        drops,
        [("no-route", 3.0, 6), ("nacl-ingress", 0.0, 5)],
        "what is delivered is no drop"
    );
    let flows: Vec<_> = rates
        .flows
        .iter()
        .map(|flow| (&*flow.from, flow.packets_per_second))
        .collect();
    assert_eq!(
        flows,
        [("web-b", Some(505.0)), ("web-a", Some(75.0)), ("slow", None)]
    );
    assert_eq!(rates.flows[1].bits_per_second, Some(320_000.0));
    let internet = &rates.ports[0];
    assert_eq!((&*internet.port, internet.flows), ("internet", 3));
    assert_eq!(
        (internet.sends_per_second, internet.gets_per_second),
        (Some(30.0), Some(550.0))
    );
}

#[test]
fn flows_are_sorted_by_what_is_asked_for_and_the_unknown_comes_last() {
    let mut rates = rates();
    let names = |rates: &Rates| {
        rates
            .flows
            .iter()
            .map(|flow| flow.from.clone())
            .collect::<Vec<_>>()
    };
    rates.sort(Sort::Bits);
    assert_eq!(names(&rates), ["web-a", "web-b", "slow"]);
    let mut sort = Sort::Packets;
    for _ in 0..4 {
        sort = sort.next();
        rates.sort(sort);
        assert_eq!(names(&rates).last().map(String::as_str), Some("slow"), "{sort:?}");
    }
    assert_eq!(sort, Sort::Packets, "round again");
}

#[test]
fn counters_that_began_anew_and_flows_that_were_not_looked_at_make_no_wild_rates() {
    let (before, now) = two_samples();
    let restarted = Rates::between(&now, &before, Duration::from_secs(2));
    assert_eq!(restarted.packets_per_second, 983.5, "what there is since");
    let cut = Sample {
        truncated: true,
        flows: Vec::new(),
        ..before.clone()
    };
    let cut = Rates::between(&cut, &now, Duration::from_secs(2));
    assert!(cut.flows.iter().all(|flow| flow.packets_per_second.is_none()));
    let begun = Sample {
        flows: Vec::new(),
        ..before
    };
    let begun = Rates::between(&begun, &now, Duration::from_secs(2));
    assert_eq!(begun.flows[0].packets_per_second, Some(1010.0));
}

#[test]
fn without_the_kernel_the_engine_s_hits_are_the_ratio_and_flows_have_no_rates() {
    let flows = vec![flow(1, "web-a", None, None)];
    let (before, mut now) = (sample(None, flows.clone()), sample(None, flows));
    let nothing = Rates::between(&before, &now, Duration::from_secs(1));
    assert_eq!(nothing.hit_ratio, None, "nothing came");
    now.counted.engine = EngineCounters {
        packets: 100,
        bytes: 5000,
        hits: 75,
        walks: 20,
        drop_hits: 5,
        misses_refused: 0,
        ..EngineCounters::default()
    };
    let rates = Rates::between(&before, &now, Duration::from_secs(1));
    assert_eq!((rates.hit_ratio, rates.bits_per_second), (Some(0.75), 40_000.0));
    assert_eq!(rates.flows[0].packets_per_second, None);
    assert_eq!(rates.made_per_second, None);
}

fn frame(rates: &Rates, width: u16, height: u16) -> String {
    let view = View {
        rates,
        sort: Sort::Packets,
        paused: true,
        keys: true,
    };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| view.draw(frame.area(), frame.buffer_mut()))
        .unwrap();
    text(terminal.backend().buffer())
}

#[test]
fn a_frame_says_what_happens() {
    let frame = frame(&rates(), 140, 20);
    let lines: Vec<&str> = frame.lines().collect();
    assert_eq!(
        lines[0],
        "atoll top   http://127.0.0.1:4600   data plane ebpf   over 2.0 s"
    );
    assert_eq!(
        lines[1],
        "packets/s 1.0 k   bit/s 1.0 M   hits 98.00 %   connections/s made by the kernel 4.0"
    );
    assert!(
        lines[2].starts_with("flows 3   kept answers 4   connections 8   NAT mappings 1"),
        "{frame}"
    );
    let titles = ["Misses", "Drops", "Ports"].map(|title| lines[4].contains(title));
    assert_eq!(titles, [true; 3], "{frame}");
    assert!(lines[5].starts_with("no flow known"), "{frame}");
    assert!(
        lines[5].contains("no-route") && lines[5].contains("internet"),
        "{frame}"
    );
    let row = lines
        .iter()
        .find(|line| line.contains("web-b 10.0.0.2:4000"))
        .unwrap();
    for part in [
        "tcp",
        "198.51.100.10:80",
        "established",
        "505",
        "259 k",
        "2020",
        "129 kB",
        "40 ms",
    ] {
        assert!(row.contains(part), "{part}: {row}");
    }
    assert_eq!(lines[19], "paused   q quit   p pause   s sort: packets/s");
}

#[test]
fn frames_that_nobody_received_are_drops_of_those_that_share_a_lane() {
    let port = |name: &str| PortName {
        port: format!("eni-{name}"),
        name: Some(name.into()),
    };
    let lost = |lane: &str, ports: &[&str], frames| LostFrames {
        lane: lane.into(),
        ports: ports.iter().map(|name| port(name)).collect(),
        more_ports: 0,
        frames,
    };
    let (mut before, mut now) = two_samples();
    before.counted.lost = vec![lost("own", &["web-a"], 10), lost("ipv4-small-1", &["web-a"], 7)];
    now.counted.lost = vec![
        lost("own", &["web-a"], 4010),
        lost("own", &["db-a"], 2),
        lost("ipv4-small-1", &["db-a", "web-b"], 9),
        lost("ipv6-large", &[], 1),
    ];
    now.counted.flooding = vec![port("web-a")];
    let rates = Rates::between(&before, &now, Duration::from_secs(2));
    let rate: Vec<f64> = rates.lost.iter().map(|lost| lost.per_second).collect();
    assert_eq!(rate, [2000.0, 1.0, 1.0, 0.5]);
    let frame = frame(&rates, 200, 20);
    for part in [
        "no place: web-a",
        "no place: of db-a or web-b",
        "no place: of any (ipv6-large)",
        "flooding: web-a",
    ] {
        assert!(frame.contains(part), "{part}: {frame}");
    }
}

#[test]
fn no_terminal_is_too_small() {
    let rates = rates();
    for (width, height) in (0..40).flat_map(|width| (0..20).map(move |height| (width, height))) {
        frame(&rates, width, height);
    }
    let mut nothing = rates.clone();
    nothing.flows.clear();
    nothing.misses.clear();
    nothing.ports.clear();
    for size in 0..40 {
        frame(&nothing, size, size);
        printed(&nothing, size);
    }
}

#[test]
fn a_printed_frame_has_every_row_and_no_keys() {
    let mut rates = rates();
    let one = rates.flows[0].clone();
    rates.flows = (0..100)
        .map(|number| super::rates::FlowRate {
            source: format!("10.0.0.2:{}", 4000 + number),
            ..one.clone()
        })
        .collect();
    let text = printed(&rates, 140);
    let rows = text.lines().filter(|line| line.contains("10.0.0.2:40"));
    assert_eq!(rows.count(), super::PRINTED, "{text}");
    assert!(!text.contains("quit"), "{text}");
}

#[test]
fn a_name_commands_no_terminal() {
    let mut rates = rates();
    rates.flows[0].from = "\u{1b}[2Jweb\n\u{202e}".into();
    rates.ports[0].name = Some("宽宽\u{7}".into());
    let text = printed(&rates, 200);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(
        !text.contains('\u{202e}') && text.contains("\\u001b[2Jweb"),
        "{text}"
    );
    assert!(text.contains("宽宽\\u0007"), "{text}");
}
