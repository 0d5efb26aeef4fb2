//! Following a stack: progress per resource on a terminal, plain lines elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::api::{Api, ApiError};
use crate::output;
use crate::stack::{self, Stack, StackEvent};

/// How often a stack is asked about.
const INTERVAL: Duration = Duration::from_millis(150);

/// Shows a stack's events until nothing more is being done to it; gives the stack as it is then, or
/// `None` when it is gone. `seen` holds the ids of events that are not to be shown.
///
/// # Errors
/// The API's.
pub fn follow(api: &Api, id: &str, seen: &mut BTreeSet<String>) -> Result<Option<Stack>, ApiError> {
    let mut shown = Shown::new();
    loop {
        // The stack first: whatever it says, its events are there by then.
        let found = stack::find(api, id)?;
        match stack::events(api, id) {
            Ok(events) => {
                for event in events.into_iter().filter(|event| seen.insert(event.id.clone())) {
                    shown.event(&event);
                }
            }
            Err(ApiError::Refused { code, .. }) if code == "ValidationError" && found.is_none() => {}
            Err(error) => return Err(error),
        }
        match found {
            Some(stack) if stack.in_progress() => std::thread::sleep(INTERVAL),
            Some(stack) if stack.status == "DELETE_COMPLETE" => return Ok(None),
            other => return Ok(other),
        }
    }
}

struct Shown {
    progress: Option<MultiProgress>,
    bars: BTreeMap<String, ProgressBar>,
}

impl Shown {
    fn new() -> Self {
        let progress = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self {
            progress,
            bars: BTreeMap::new(),
        }
    }

    fn event(&mut self, event: &StackEvent) {
        // Each resource begins twice: once when its turn comes, once when it has an id. Its end shows the id.
        if event.reason == "Resource creation Initiated" {
            return;
        }
        let line = output::Visible(line(event)).to_string();
        let Some(progress) = &self.progress else {
            output::note(&line);
            return;
        };
        if event.status.ends_with("_IN_PROGRESS") {
            let bar = self.bars.entry(event.logical_id.clone()).or_insert_with(|| {
                let bar = progress.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                    bar.set_style(style);
                }
                bar.enable_steady_tick(Duration::from_millis(100));
                bar
            });
            bar.set_message(line);
        } else {
            if let Some(bar) = self.bars.remove(&event.logical_id) {
                bar.finish_and_clear();
            }
            let _ = progress.println(line);
        }
    }
}

fn line(event: &StackEvent) -> String {
    let mut line = format!("{:<22} {:<40} {}", event.status, event.kind, event.logical_id);
    for (before, text) in [("  ", &event.physical_id), ("\n    ", &event.reason)] {
        if !text.is_empty() {
            line.push_str(before);
            line.push_str(text);
        }
    }
    line
}
