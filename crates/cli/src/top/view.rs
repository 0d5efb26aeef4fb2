//! A frame. However small the terminal is, it shows as much as there is room for, from the top.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Widget};

use super::rates::{FlowRate, PortRate, Rate, Rates, Sort};
use crate::flows::{age, bytes, scaled};
use crate::output::Visible;

/// Rows of each of the lists in the middle, at most.
const LISTED: usize = 7;
/// Lines above the lists.
const HEAD: u16 = 4;

/// What is to be drawn.
pub struct View<'a> {
    /// Figures, their flows in order.
    pub rates: &'a Rates,
    /// What order that is.
    pub sort: Sort,
    /// Whether they stand still.
    pub paused: bool,
    /// Whether keys are obeyed, so that it is to be said which.
    pub keys: bool,
}

/// Text of others, in one line and harmless to a terminal.
fn shown(text: &str) -> String {
    Visible(text).to_string().replace(['\n', '\t'], " ")
}

fn per_second(rate: Option<f64>) -> String {
    match rate {
        None => "-".into(),
        Some(rate) if rate > 0.0 && rate < 9.95 => format!("{rate:.1}"),
        Some(rate) => scaled(rate).trim_end().to_owned(),
    }
}

impl View<'_> {
    fn listed(&self) -> u16 {
        let rates = self.rates;
        let dropped = rates.drops.len() + rates.lost.len();
        let longest = rates.misses.len().max(dropped).max(rates.ports.len());
        // A title, a row at least, and a blank line.
        longest.clamp(1, LISTED) as u16 + 2
    }

    /// Lines that everything takes.
    pub fn height(&self) -> u16 {
        let flows = u16::try_from(self.rates.flows.len().max(1)).unwrap_or(u16::MAX);
        (HEAD + self.listed() + 1 + u16::from(self.keys)).saturating_add(flows)
    }

    /// Draws it.
    pub fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let [head, lists, flows, foot] = Layout::vertical([
            Constraint::Length(HEAD),
            Constraint::Length(self.listed()),
            Constraint::Min(0),
            Constraint::Length(u16::from(self.keys)),
        ])
        .areas(area.intersection(buffer.area));
        self.head(head, buffer);
        let third = Constraint::Ratio(1, 3);
        let [misses, drops, ports] = Layout::horizontal([third, third, third]).spacing(2).areas(lists);
        list("Misses", "none", &self.rates.misses, misses, buffer);
        list("Drops", "none", &self.dropped(), drops, buffer);
        self.ports(ports, buffer);
        self.flows(flows, buffer);
        if self.keys {
            let paused = if self.paused { "paused   " } else { "" };
            let keys = format!("{paused}q quit   p pause   s sort: {}", self.sort.name());
            Line::from(keys).reversed().render(foot, buffer);
        }
    }

    /// What the rules dropped, and what nobody received.
    fn dropped(&self) -> Vec<Rate> {
        let lost = self.rates.lost.iter().map(|lost| Rate {
            name: format!("no place: {}", lost.lost.whose()),
            per_second: lost.per_second,
            total: lost.lost.frames,
        });
        let mut dropped: Vec<Rate> = self.rates.drops.iter().cloned().chain(lost).collect();
        dropped.sort_by(|a, b| b.per_second.total_cmp(&a.per_second).then(b.total.cmp(&a.total)));
        dropped
    }

    fn head(&self, area: Rect, buffer: &mut Buffer) {
        let rates = self.rates;
        let title = Line::from(vec![
            Span::from("atoll top").bold(),
            Span::from(format!(
                "   {}   data plane {}   over {:.1} s",
                shown(&rates.endpoint),
                shown(&rates.data_plane),
                rates.seconds
            )),
        ]);
        let ratio = rates
            .hit_ratio
            .map_or("-".into(), |ratio| format!("{:.2} %", ratio * 100.0));
        let more = if rates.truncated { " or more" } else { "" };
        let made = rates.made_per_second;
        let made = made.map(|made| format!("   connections/s made by the kernel {}", per_second(Some(made))));
        let traffic = format!(
            "packets/s {}   bit/s {}   hits {ratio}{}",
            per_second(Some(rates.packets_per_second)),
            per_second(Some(rates.bits_per_second)),
            made.unwrap_or_default()
        );
        let looked = match rates.revalidated.total {
            0 => String::new(),
            total => format!(
                "   looked at again after changes {total} ({}/s)",
                per_second(Some(rates.revalidated.per_second))
            ),
        };
        let flooding = match &*rates.flooding {
            [] => String::new(),
            ports => {
                let names: Vec<String> = ports.iter().map(|port| shown(port.shortest())).collect();
                format!("   flooding: {}", names.join(", "))
            }
        };
        let state = format!(
            "flows {}{more}   kept answers {}   connections {}   NAT mappings {}   interfaces {}{flooding}{looked}",
            rates.flows.len(),
            rates.kept_answers,
            rates.connections,
            rates.mappings,
            rates.interfaces
        );
        Paragraph::new(vec![title, Line::from(traffic).bold(), Line::from(state)]).render(area, buffer);
    }

    fn ports(&self, area: Rect, buffer: &mut Buffer) {
        let figures = |port: &PortRate| {
            let name = port.name.as_deref().unwrap_or(&port.port);
            Row::new([
                Cell::from(shown(name)),
                right(port.flows.to_string()),
                right(per_second(port.sends_per_second)),
                right(per_second(port.gets_per_second)),
            ])
        };
        let header = Row::new([
            Cell::from("Ports"),
            right("flows".into()),
            right("sends/s".into()),
            right("gets/s".into()),
        ]);
        let widths = [
            Constraint::Fill(1),
            Constraint::Length(6),
            Constraint::Length(8),
            Constraint::Length(8),
        ];
        Table::new(self.rates.ports.iter().take(LISTED).map(figures), widths)
            .header(header.style(Style::new().bold()))
            .render(area, buffer);
    }

    fn flows(&self, area: Rect, buffer: &mut Buffer) {
        let widths = [
            Constraint::Length(6),
            Constraint::Fill(3),
            Constraint::Fill(3),
            Constraint::Length(12),
            Constraint::Length(9),
            Constraint::Length(9),
            Constraint::Length(10),
            Constraint::Length(9),
            Constraint::Length(7),
        ];
        let names = ["Packets/s", "Bit/s", "Packets", "Bytes", "Idle"];
        let sorted = match self.sort {
            Sort::Packets => "Packets/s",
            Sort::Bits => "Bit/s",
            Sort::Bytes => "Bytes",
            Sort::Latest => "Idle",
        };
        let mut header = ["Proto", "From", "To", "State"]
            .map(|name| Cell::from(name).bold())
            .to_vec();
        header.extend(names.map(|name| {
            let cell = right(name.to_owned()).bold();
            if name == sorted { cell.underlined() } else { cell }
        }));
        Table::new(self.rates.flows.iter().map(flow), widths)
            .header(Row::new(header))
            .render(area, buffer);
    }
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

fn flow(flow: &FlowRate) -> Row<'static> {
    // A name where there is one, and the address in any case.
    let end = |name: &str, address: &str| {
        if name.starts_with("eni-") || name == "internet" {
            shown(address)
        } else {
            shown(&format!("{name} {address}"))
        }
    };
    Row::new([
        Cell::from(shown(&flow.protocol)),
        Cell::from(end(&flow.from, &flow.source)),
        Cell::from(end(&flow.to, &flow.destination)),
        Cell::from(shown(flow.state.as_deref().unwrap_or("untracked"))),
        right(per_second(flow.packets_per_second)),
        right(per_second(flow.bits_per_second)),
        right(flow.packets.map_or("-".into(), |packets| packets.to_string())),
        right(flow.bytes.map_or("-".into(), bytes)),
        right(flow.idle_ms.map_or("-".into(), age)),
    ])
}

fn list(title: &str, none: &str, rates: &[Rate], area: Rect, buffer: &mut Buffer) {
    let header = Row::new([
        Cell::from(title.to_owned()),
        right("a second".into()),
        right("all".into()),
    ]);
    let rows: Vec<Row> = match rates {
        [] => vec![Row::new([none.to_owned()])],
        rates => rates
            .iter()
            .take(LISTED)
            .map(|rate| {
                let row = Row::new([
                    Cell::from(shown(&rate.name)),
                    right(per_second(Some(rate.per_second))),
                    right(scaled(rate.total as f64).trim_end().to_owned()),
                ]);
                if rate.per_second > 0.0 { row.bold() } else { row }
            })
            .collect(),
    };
    let widths = [Constraint::Fill(1), Constraint::Length(9), Constraint::Length(8)];
    Table::new(rows, widths)
        .header(header.style(Style::new().bold()))
        .render(area, buffer);
}
