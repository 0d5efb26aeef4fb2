//! `cfn-signal` inside an instance, with the arguments of the real one; it tells the shim, which keeps the signal for the daemon.
use crate::frame::Connection;
use crate::protocol::{GuestMessage, GuestReply};
use crate::{GuestSignal, run_dir};
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

/// The shim's socket, as seen inside.
const SOCKET: &str = "/run/atoll/guest.sock";
const USAGE: &str = "usage: cfn-signal [-s true|false | -e CODE] --stack STACK --resource ID [--region R] [-r REASON] [-i UNIQUE_ID] [-d DATA]
       cfn-signal [-s true|false | -e CODE] [-r REASON] [-i UNIQUE_ID] [-d DATA] WAIT_CONDITION_URL";

/// Runs `cfn-signal`; 0 when the signal was kept, 1 when it was not, 2 for wrong arguments.
pub fn main(args: &[OsString]) -> i32 {
    let words: Vec<String> = args
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if words.iter().any(|word| word == "-h" || word == "--help") {
        println!("{USAGE}");
        return 0;
    }
    let signal = match parse(&words) {
        Ok(signal) => signal,
        Err(reason) => {
            eprintln!("cfn-signal: {reason}\n{USAGE}");
            return 2;
        }
    };
    match send(signal) {
        Ok(()) => 0,
        Err(reason) => {
            eprintln!("cfn-signal: {reason}");
            1
        }
    }
}

fn send(signal: GuestSignal) -> std::result::Result<(), String> {
    let stream =
        run_dir::connect(Path::new(SOCKET)).map_err(|error| format!("connect to {SOCKET}: {error}"))?;
    let mut connection = Connection::new(stream).map_err(|error| error.to_string())?;
    connection.queue(&GuestMessage::Signal(signal));
    match connection.wait(Some(Instant::now() + Duration::from_secs(30))) {
        Ok(Some(GuestReply::Kept)) => Ok(()),
        Ok(Some(GuestReply::Refused(reason))) => Err(reason),
        Ok(None) => Err("the connection was closed before an answer came".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Options that the real program has and that mean nothing here: credentials and how to reach AWS.
const IGNORED: [&str; 8] = [
    "--access-key",
    "--secret-key",
    "--credential-file",
    "--role",
    "--url",
    "--http-proxy",
    "--https-proxy",
    "-f",
];

fn parse(words: &[String]) -> std::result::Result<GuestSignal, String> {
    let mut signal = GuestSignal {
        sequence: 0,
        success: true,
        stack: None,
        resource: None,
        region: None,
        reason: None,
        data: None,
        unique_id: None,
        url: None,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        // `--name=value`, `-eVALUE` and `-e VALUE` are all in use.
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => match word.char_indices().nth(2) {
                Some((at, _)) if word.starts_with('-') && !word.starts_with("--") => word
                    .split_at_checked(at)
                    .map_or((word.as_str(), None), |(name, value)| (name, Some(value))),
                _ => (word.as_str(), None),
            },
        };
        if !name.starts_with('-') {
            if signal.url.replace(word.clone()).is_some() {
                return Err(format!("unexpected argument {word:?}: there is one URL at most"));
            }
            continue;
        }
        let mut value = || {
            attached
                .map(str::to_owned)
                .or_else(|| words.next().cloned())
                .ok_or_else(|| format!("{name} needs a value"))
        };
        match name {
            "-s" | "--success" => {
                signal.success = match value()?.to_ascii_lowercase().as_str() {
                    "true" => true,
                    "false" => false,
                    other => return Err(format!("--success {other:?}: true or false")),
                }
            }
            "-e" | "--exit-code" => {
                let code = value()?;
                signal.success = code
                    .parse::<i32>()
                    .map_err(|_| format!("--exit-code {code:?}: a number"))?
                    == 0;
            }
            "--stack" => signal.stack = Some(value()?),
            "--resource" => signal.resource = Some(value()?),
            "--region" => signal.region = Some(value()?),
            "-r" | "--reason" => signal.reason = Some(value()?),
            "-d" | "--data" => signal.data = Some(value()?),
            "-i" | "--id" => signal.unique_id = Some(value()?),
            ignored if IGNORED.contains(&ignored) => drop(value()?),
            other => return Err(format!("unknown option {other}")),
        }
    }
    if signal.url.is_none() && (signal.stack.is_none() || signal.resource.is_none()) {
        return Err("either --stack and --resource, or the URL of a wait condition handle".into());
    }
    Ok(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> std::result::Result<GuestSignal, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_those_of_the_real_one() {
        let signal = parsed("-e 0 --stack web --resource Group --region eu-west-1").unwrap();
        assert!(signal.success);
        assert_eq!(
            (signal.stack.as_deref(), signal.resource.as_deref()),
            (Some("web"), Some("Group"))
        );
        assert!(
            !parsed("--exit-code=3 --stack=web --resource=Group")
                .unwrap()
                .success
        );
        assert!(!parsed("-e1 --stack web --resource G").unwrap().success);
        let signal = parsed("-s false -r why -i one -d two http://handle").unwrap();
        assert!(!signal.success);
        assert_eq!(signal.url.as_deref(), Some("http://handle"));
        assert_eq!(
            (
                signal.reason.as_deref(),
                signal.unique_id.as_deref(),
                signal.data.as_deref()
            ),
            (Some("why"), Some("one"), Some("two"))
        );
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for line in [
            "",
            "--stack web",
            "-e x --stack a --resource b",
            "--stack",
            "--no-such 1 http://h",
            "http://a http://b",
            "-s maybe http://h",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
