//! What a person sees at the end: a table of what was tried, expected and seen.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use crate::Observation;

/// Columns of the table where there is no terminal to ask.
const WIDTH: u16 = 160;

/// The table of all observations.
pub fn table(observations: &[Observation]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["", "tried", "expected", "seen", "dropped by"]);
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    for seen in observations {
        let (mark, color) = if seen.holds {
            ("✓", Color::Green)
        } else {
            ("✗", Color::Red)
        };
        table.add_row([
            Cell::new(format!("{mark} {}", seen.check))
                .fg(color)
                .add_attribute(Attribute::Bold),
            Cell::new(&seen.tried),
            Cell::new(&seen.expected),
            Cell::new(&seen.seen),
            Cell::new(seen.dropped_by.as_deref().unwrap_or("")),
        ]);
    }
    table
}

/// One line: how many hold.
pub fn summary(observations: &[Observation]) -> String {
    let holds = observations.iter().filter(|o| o.holds).count();
    let numbers: std::collections::BTreeSet<u8> = observations.iter().map(|o| o.check).collect();
    format!(
        "{holds} of {} observations hold, of {} checks",
        observations.len(),
        numbers.len()
    )
}
