//! Process 1 of a sandbox: reaps, runs the user data once, and stops everything when asked.
use crate::exec_session::MAX_PROCESSES;
use crate::frame::Connection;
use crate::protocol::GuestMessage;
use crate::{Result, UserDataStatus, error::Trying, sandbox, sys};
use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where the user data is inside.
const USER_DATA: &str = "/run/atoll/user-data";
const SIGNALS: [i32; 4] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGPWR];

/// `init [--user-data]`, started by bubblewrap with its socket to the shim.
pub fn main(args: &[OsString]) -> i32 {
    match run(args.iter().any(|arg| arg == "--user-data")) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("[atoll] init: {error}");
            1
        }
    }
}

fn run(user_data: bool) -> Result<()> {
    if std::process::id() != 1 {
        return Err("it is process 1 of a sandbox, and nothing else").trying("start");
    }
    let mut link = Connection::new(UnixStream::from(sys::inherited(sandbox::INIT_LINK)?))?;
    sys::block(&SIGNALS);
    sys::limit_processes(MAX_PROCESSES);
    link.queue(&GuestMessage::Begun);
    let mut script = None;
    if user_data {
        match start_user_data() {
            Ok(pid) => script = Some(pid),
            Err(error) => {
                eprintln!("[atoll] {error}");
                link.queue(&GuestMessage::UserData(UserDataStatus::Exited(127)));
            }
        }
    }
    loop {
        let signal = sys::wait_signal(&SIGNALS, None);
        while let Some((pid, code)) = sys::reap(None) {
            if Some(pid.as_raw_pid() as u32) == script {
                script = None;
                link.queue(&GuestMessage::UserData(UserDataStatus::Exited(code)));
            }
        }
        if signal.is_some_and(|signal| signal != libc::SIGCHLD) {
            return stop();
        }
    }
}

/// SIGTERM to everything, then waits; the shim kills what takes too long.
fn stop() -> Result<()> {
    sys::kill_all_others(libc::SIGTERM);
    // A stopped process would never see it.
    sys::kill_all_others(libc::SIGCONT);
    while sys::kill_all_others(0) {
        // Commands of `exec` are not our children: their end sends us nothing, so this also looks again by itself.
        sys::wait_signal(&[libc::SIGCHLD], Some(Duration::from_millis(20)));
        while sys::reap(None).is_some() {}
    }
    Ok(())
}

fn start_user_data() -> Result<u32> {
    let bytes = std::fs::read(USER_DATA).trying("read the user data")?;
    let (interpreter, argument) = shebang(&bytes)
        .ok_or("its first line is not `#!` and the path of a program")
        .trying("run the user data")?;
    let mut command = Command::new(&interpreter);
    command
        .args(argument)
        .arg(USER_DATA)
        .stdin(Stdio::null())
        .current_dir("/");
    let child = sys::with_empty_mask(&mut command)
        .spawn()
        .trying(format!("run the user data with {interpreter}"))?;
    Ok(child.id())
}

/// The interpreter and its one argument, as the kernel splits them: the script itself may stand where nothing can be executed.
fn shebang(script: &[u8]) -> Option<(String, Option<String>)> {
    let line = script.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line.get(..line.len().min(255))?).ok()?.trim();
    let (interpreter, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let argument = argument.trim();
    interpreter.starts_with('/').then(|| {
        (
            interpreter.to_owned(),
            (!argument.is_empty()).then(|| argument.to_owned()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_split_as_the_kernel_does() {
        let split = |text: &str| {
            shebang(text.as_bytes()).map(|(program, argument)| (program, argument.unwrap_or_default()))
        };
        let pair = |program: &str, argument: &str| Some((program.to_owned(), argument.to_owned()));
        assert_eq!(split("#!/bin/bash -xe \necho"), pair("/bin/bash", "-xe"));
        assert_eq!(
            split("#! /usr/bin/env python3\r\nx"),
            pair("/usr/bin/env", "python3")
        );
        assert_eq!(split("#!/bin/sh"), pair("/bin/sh", ""));
        assert_eq!(split("#cloud-config\n"), None);
        assert_eq!(split("#!\n"), None);
        assert_eq!(split(""), None);
    }
}
