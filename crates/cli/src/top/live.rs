//! The terminal while `atoll top` has it: taken, and given back as it was however this ends.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Taken;
use super::rates::{Rates, Sort};
use super::view::View;
use crate::Outcome;
use crate::connection::{Connection, ConnectionError};

/// How long a key, a signal or a sample may lie unnoticed.
const GLANCE: Duration = Duration::from_millis(50);

/// The terminal; its dropping gives it back. (So does a panic, before its message is written.)
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> std::io::Result<Screen> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Screen(terminal)),
            Err(error) => {
                // Half of it may have been done.
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// What keys have chosen.
struct Chosen {
    sort: Sort,
    paused: bool,
}

/// What a key means.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Quit,
    Pause,
    Sort,
    Nothing,
}

fn meaning(key: &KeyEvent) -> Meaning {
    match key.code {
        _ if key.kind == KeyEventKind::Release => Meaning::Nothing,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Meaning::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Meaning::Quit,
        KeyCode::Char('p' | ' ') => Meaning::Pause,
        KeyCode::Char('s') => Meaning::Sort,
        _ => Meaning::Nothing,
    }
}

/// Samples, one an interval, until nobody takes them or there are none.
fn samples(connection: Connection, interval: Duration) -> Receiver<Result<Taken, ConnectionError>> {
    let (give, taken) = sync_channel(1);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(interval);
            let sample = Taken::now(&connection);
            let last = sample.is_err();
            if give.send(sample).is_err() || last {
                return;
            }
        }
    });
    taken
}

/// Shows what happens until somebody has seen enough.
pub fn run(connection: Connection, interval: Duration, first: Taken) -> Outcome {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let samples = samples(connection, interval);
    let mut screen = Screen::take()?;
    let mut chosen = Chosen {
        sort: Sort::Packets,
        paused: false,
    };
    let mut rates = first.since(&first);
    let mut latest = first;
    let mut fresh = true;
    while !ended.load(Ordering::Relaxed) {
        if let Ok(sample) = samples.try_recv() {
            let sample = sample?;
            if !chosen.paused {
                rates = sample.since(&latest);
                fresh = true;
            }
            latest = sample;
        }
        if std::mem::take(&mut fresh) {
            draw(&mut screen, &mut rates, &chosen)?;
        }
        if !event::poll(GLANCE)? {
            continue;
        }
        // A resized terminal is drawn anew, whatever came.
        fresh = true;
        if let Event::Key(key) = event::read()? {
            match meaning(&key) {
                Meaning::Quit => break,
                Meaning::Pause => chosen.paused = !chosen.paused,
                Meaning::Sort => chosen.sort = chosen.sort.next(),
                Meaning::Nothing => {}
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn draw(screen: &mut Screen, rates: &mut Rates, chosen: &Chosen) -> std::io::Result<()> {
    rates.sort(chosen.sort);
    let view = View {
        rates,
        sort: chosen.sort,
        paused: chosen.paused,
        keys: true,
    };
    screen
        .0
        .draw(|frame| view.draw(frame.area(), frame.buffer_mut()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_quit() {
        let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for key in [plain(KeyCode::Char('q')), plain(KeyCode::Esc), control_c] {
            assert_eq!(meaning(&key), Meaning::Quit);
        }
        assert_eq!(meaning(&plain(KeyCode::Char('c'))), Meaning::Nothing);
        assert_eq!(meaning(&plain(KeyCode::Char('p'))), Meaning::Pause);
        assert_eq!(meaning(&plain(KeyCode::Char('s'))), Meaning::Sort);
    }
}
