//! Standard output, which a reader may close at any time: `atoll status | head`, and standard error.
//!
//! What is written came from others: a tag's value, a template's text. A terminal obeys what it reads, so nothing goes out
//! but what can be seen.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

/// Writes a line.
///
/// # Errors
/// The system's; that nobody reads any more is for `main` to pass over.
pub fn line(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", Visible(text))?;
    out.flush()
}

/// Writes a line on standard error.
pub fn note(text: impl Display) {
    eprintln!("{}", Visible(text));
}

/// A text in which a terminal finds nothing to obey: control characters but line feed and tab, and those that turn the
/// direction of writing, are written as JSON escapes them, so that a JSON text stays the same value.
pub struct Visible<T>(pub T);

impl<T: Display> Display for Visible<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Filter(f), "{}", self.0)
    }
}

struct Filter<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Filter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.write_char(character)?;
        }
        Ok(())
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        if obeyed(character) {
            write!(self.0, "\\u{:04x}", u32::from(character))
        } else {
            self.0.write_char(character)
        }
    }
}

fn obeyed(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // Marks, embeddings, overrides and isolates of Unicode's bidirectional algorithm, and its line separators.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => character.is_control(),
    }
}

/// Whether all that went wrong is that nobody reads any more.
pub fn nobody_reads(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::Visible;

    #[test]
    fn a_terminal_finds_nothing_to_obey() {
        let name = "a\u{1b}]0;owned\u{7}\u{1b}[2J\r\u{9b}31m\u{7f}\u{202e}b\n\tü";
        assert_eq!(
            Visible(name).to_string(),
            "a\\u001b]0;owned\\u0007\\u001b[2J\\u000d\\u009b31m\\u007f\\u202eb\n\tü"
        );
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({ "name": "\u{1b}[2J\u{9b}\u{7f}\u{202e}" });
        let text = Visible(serde_json::to_string_pretty(&value).unwrap()).to_string();
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
