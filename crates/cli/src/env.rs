//! `atoll env`: what `eval` makes of a shell one that calls this daemon.

use std::process::ExitCode;

use crate::connection::Connection;
use crate::{Outcome, arguments, output};

pub fn run(endpoint: Option<String>, arguments: arguments::Env) -> Outcome {
    let env = Connection::new(endpoint)?.env()?;
    let variables = [
        ("AWS_ENDPOINT_URL", env.endpoint),
        ("AWS_REGION", env.region.clone()),
        ("AWS_DEFAULT_REGION", env.region),
        ("AWS_ACCESS_KEY_ID", env.access_key),
        ("AWS_SECRET_ACCESS_KEY", env.secret_key),
    ];
    if arguments.json {
        let object: serde_json::Map<_, _> = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        output::line(serde_json::to_string_pretty(&object)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (name, value) in variables {
        output::line(format!("export {name}={}", quoted(&value)))?;
    }
    // One left over from elsewhere would be sent along and refused, and a profile would win.
    output::line("unset AWS_SESSION_TOKEN AWS_PROFILE")?;
    Ok(ExitCode::SUCCESS)
}

/// For a POSIX shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_means_anything_to_the_shell() {
        assert_eq!(quoted("a/b+c"), "'a/b+c'");
        assert_eq!(quoted("a'; rm x"), r"'a'\''; rm x'");
    }
}
