//! The command that reaches the region's host: a child whose standard input and output are the connection.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::oneshot;

/// The longest line of what it says on standard error that is kept, in bytes.
const LONGEST: usize = 500;
/// How long its end is waited for once it has closed its output.
const ENDING: Duration = Duration::from_secs(2);

/// What to run, and where.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    words: Arc<[OsString]>,
    /// The network namespace that this process was started in, if it has left it: the way to other hosts begins there.
    home: Option<Arc<OwnedFd>>,
}

/// It runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) input: ChildStdin,
    pub(crate) output: BufReader<ChildStdout>,
    child: Child,
    last_words: Arc<Mutex<String>>,
    spoken: tokio::task::JoinHandle<()>,
}

impl Command {
    /// `words` are the program and its arguments; `home` a network namespace to run it in, if that is not this thread's.
    pub(crate) fn new(words: &[OsString], home: Option<OwnedFd>) -> Command {
        Command {
            words: words.into(),
            home: home.map(Arc::new),
        }
    }

    /// As a person would write it.
    pub(crate) fn text(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ").chars().take(200).collect()
    }

    /// Starts it. It is killed when what this gives is dropped.
    ///
    /// # Errors
    /// The system's: that there is no such program, or that it may not be run.
    pub(crate) async fn start(&self) -> io::Result<Running> {
        let (sender, receiver) = oneshot::channel();
        let (command, runtime) = (self.clone(), tokio::runtime::Handle::current());
        // A thread of its own: a child is born into the namespace of the thread that makes it.
        std::thread::Builder::new()
            .name("command".into())
            .spawn(move || {
                let _inside = runtime.enter();
                let _ = sender.send(command.spawn());
            })?;
        let mut child = receiver
            .await
            .unwrap_or_else(|_| Err(io::Error::other("its thread ended")))?;
        let piped = || io::Error::other("it has no pipes");
        let input = child.stdin.take().ok_or_else(piped)?;
        let output = child.stdout.take().ok_or_else(piped)?;
        let errors = child.stderr.take().ok_or_else(piped)?;
        let last_words = Arc::<Mutex<String>>::default();
        let spoken = tokio::spawn(listen(errors, last_words.clone()));
        Ok(Running {
            input,
            output: BufReader::with_capacity(64 * 1024, output),
            child,
            last_words,
            spoken,
        })
    }

    fn spawn(&self) -> io::Result<Child> {
        if let Some(home) = &self.home {
            move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        let (program, arguments) = self
            .words
            .split_first()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

impl Running {
    /// How it ended, once it has closed its output: its status and the last it said on standard error. It is ended if it
    /// has not.
    pub(crate) async fn end(mut self) -> String {
        drop((self.input, self.output));
        let status = tokio::time::timeout(ENDING, self.child.wait()).await;
        // What it said last may be under way.
        let _ = tokio::time::timeout(ENDING, &mut self.spoken).await;
        self.spoken.abort();
        let words = self
            .last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let ended = match status {
            Ok(Ok(status)) => told(status),
            Ok(Err(error)) => format!("ended ({error})"),
            Err(_) => "closed its output".into(),
        };
        match words.is_empty() {
            true => ended,
            false => format!("{ended}; its last words: {words}"),
        }
    }
}

fn told(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with status {code}"),
        None => format!("ended ({status})"),
    }
}

/// Passes on what it says on standard error, line by line, and remembers the last.
async fn listen(mut errors: impl AsyncRead + Unpin, last: Arc<Mutex<String>>) {
    let (mut line, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let come = errors.read(&mut bytes).await.unwrap_or(0);
        for byte in bytes.iter().take(come) {
            match byte {
                b'\n' | b'\r' => say(&mut line, &last),
                byte if line.len() < LONGEST => line.push(*byte),
                _ => {}
            }
        }
        if come == 0 {
            say(&mut line, &last);
            return;
        }
    }
}

fn say(line: &mut Vec<u8>, last: &Mutex<String>) {
    let text = String::from_utf8_lossy(line);
    // It is another host's word: a terminal is to find nothing in it that it obeys.
    let text: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    line.clear();
    if !text.is_empty() {
        tracing::info!("the command says: {text}");
        *last.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn command(words: &[&str]) -> Command {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        Command::new(&words, None)
    }

    #[tokio::test]
    async fn a_commands_input_and_output_are_the_connection() {
        let mut running = command(&["cat"]).start().await.unwrap();
        running.input.write_all(b"hello\n").await.unwrap();
        let line = crate::lines::next(&mut running.output, 100, Duration::from_secs(60)).await;
        assert_eq!(line.unwrap().unwrap(), b"hello\n");
        assert_eq!(running.end().await, "ended with status 0");
    }

    #[tokio::test]
    async fn its_last_words_are_part_of_its_end() {
        let noisy = "printf 'first\\n\\033[2Jno route to host\\n' >&2; exit 255";
        let running = command(&["sh", "-c", noisy]).start().await.unwrap();
        let end = running.end().await;
        assert_eq!(end, "ended with status 255; its last words: [2Jno route to host");
    }

    #[tokio::test]
    async fn what_is_no_program_does_not_start() {
        let error = command(&["/nonexistent/ssh"]).start().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
