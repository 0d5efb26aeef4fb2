//! Tables.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};

use crate::output::Visible;

/// A table with a header. A cell's text is made visible before it is measured, and stays in its row: another's text must not
/// look like a row of its own.
pub fn of(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    let visible = |cell: String| Visible(cell).to_string().replace('\n', " ");
    let rows = rows
        .into_iter()
        .map(|row| row.into_iter().map(visible).collect::<Vec<_>>());
    table.set_header(header.iter().copied()).add_rows(rows);
    table
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_can_neither_command_the_terminal_nor_forge_a_row() {
        let name = "web\u{1b}[2J\n│ i-0 ┆ forged".to_owned();
        let table = super::of(&["Instance", "Name"], [vec!["i-1".to_owned(), name]]).to_string();
        assert!(!table.contains('\u{1b}'), "{table}");
        let wanted = table.lines().find(|line| line.contains("forged"));
        assert!(wanted.is_some_and(|line| line.contains("i-1")), "{table}");
    }
}
