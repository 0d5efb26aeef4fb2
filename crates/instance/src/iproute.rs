//! Asking iproute2, in the calling thread's network namespace.
use crate::{Error, Result, error::Trying, preflight};
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs `ip -batch`; lines may fail only if `lenient`.
pub(crate) fn batch(family: &str, lines: &str, lenient: bool) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut child = Command::new(preflight::iproute()?)
        .args([family, "-force", "-batch", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .trying("run ip")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes()).trying("write to ip")?;
    }
    let output = child.wait_with_output().trying("wait for ip")?;
    if output.status.success() || lenient {
        return Ok(());
    }
    Err(Error::io(
        "ip -batch",
        String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
    ))
}

/// What `ip -json` prints of links or addresses: one value each.
pub(crate) fn json(words: &[&str]) -> Result<Vec<serde_json::Value>> {
    let output = Command::new(preflight::iproute()?)
        .args(["-details", "-json"])
        .args(words)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .trying("run ip")?;
    let what = || format!("ip {}", words.join(" "));
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::io(what(), said.trim().replace('\n', "; ")));
    }
    // Without anything to print, it prints nothing or an empty list, as versions have it.
    match output.stdout.trim_ascii() {
        b"" => Ok(Vec::new()),
        text => serde_json::from_slice(text).trying(what()),
    }
}
