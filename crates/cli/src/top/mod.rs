//! `atoll top`: what happens now, second by second. `rates.rs` makes rates of two samples, `view.rs` draws them,
//! `live.rs` keeps the terminal.

mod live;
mod rates;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use atoll_daemon::control::protocol::{Reply, Request, Sample};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

use crate::connection::{Connection, ConnectionError};
use crate::{Outcome, arguments, output};
use rates::{Rates, Sort};
use view::View;

/// Flows that are looked at in one sample: among more, the busiest ones may be missed, and that is said.
const FLOWS: u32 = 5000;
/// Width of a frame where there is no terminal.
const WIDTH: u16 = 140;
/// Flows in a frame that is printed once.
const PRINTED: usize = 40;

pub fn run(endpoint: Option<String>, arguments: arguments::Top) -> Outcome {
    let connection = Connection::new(endpoint)?;
    let first = Taken::now(&connection)?;
    if !arguments.json && !arguments.once && std::io::stdout().is_terminal() {
        return live::run(connection, arguments.interval, first);
    }
    std::thread::sleep(arguments.interval);
    let rates = Taken::now(&connection)?.since(&first);
    if arguments.json {
        output::line(serde_json::to_string_pretty(&rates)?)?;
    } else {
        output::line(printed(&rates, width()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn width() -> u16 {
    let terminal = std::io::stdout().is_terminal();
    let size = terminal.then(ratatui::crossterm::terminal::size);
    size.and_then(Result::ok).map_or(WIDTH, |(columns, _)| columns)
}

/// A sample and when it was taken, by a clock that nobody sets.
struct Taken {
    at: Instant,
    sample: Sample,
}

impl Taken {
    fn now(connection: &Connection) -> Result<Taken, ConnectionError> {
        match connection.ask(&Request::Sample { flows: FLOWS })? {
            Reply::Sample(sample) => Ok(Taken {
                at: Instant::now(),
                sample: *sample,
            }),
            _ => Err(ConnectionError::Confused),
        }
    }

    fn since(&self, earlier: &Taken) -> Rates {
        let passed = self.at.duration_since(earlier.at).max(Duration::from_millis(1));
        Rates::between(&earlier.sample, &self.sample, passed)
    }
}

/// A frame as text, as high as what there is.
fn printed(rates: &Rates, width: u16) -> String {
    let mut rates = rates.clone();
    rates.sort(Sort::Packets);
    rates.flows.truncate(PRINTED);
    let view = View {
        rates: &rates,
        sort: Sort::Packets,
        paused: false,
        keys: false,
    };
    let area = Rect::new(0, 0, width.max(1), view.height());
    let mut buffer = Buffer::empty(area);
    view.draw(area, &mut buffer);
    text(&buffer)
}

/// What a buffer shows, without blanks at the ends of lines.
fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let lines = area.rows().map(|row| {
        let mut line = String::new();
        let mut covered = 0;
        for column in row.columns() {
            let Some(cell) = buffer.cell((column.x, row.y)) else {
                continue;
            };
            // What is wide covers the cells behind it.
            if covered > 0 {
                covered -= 1;
                continue;
            }
            line.push_str(cell.symbol());
            covered = Span::raw(cell.symbol()).width().saturating_sub(1);
        }
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
