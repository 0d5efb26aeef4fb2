//! Commands run inside as if they ran here.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]
mod bed;
use bed::{Bed, as_root_and_as_ordinary_user, instance};
use std::io::{BufRead, BufReader, Read, Write};

#[test]
fn exit_status_and_streams_pass_through() {
    as_root_and_as_ordinary_user("exit_status_and_streams_pass_through", |bed: &mut Bed| {
        bed.launch(&instance("i-a"), &[]);
        assert_eq!(bed.exec("i-a", "exit 7").status.code(), Some(7));
        assert_eq!(bed.exec("i-a", "kill -9 $$").status.code(), Some(137));
        let output = bed.exec_with("i-a", "cat; echo errors >&2", b"what went in");
        assert_eq!(
            (output.stdout.as_slice(), output.stderr.as_slice()),
            (&b"what went in"[..], &b"errors\n"[..])
        );
        assert_eq!(bed.exec("i-a", "exec /no/such/program").status.code(), Some(127));
        assert_eq!(bed.say("i-a", "id -u; pwd; echo $HOME"), "0\n/root\n/root");
        // The same rights as what runs inside, no more.
        let capabilities = |of: &str| {
            bed.say(
                "i-a",
                &format!("grep -E 'CapEff|CapPrm|NoNewPrivs' /proc/{of}/status"),
            )
        };
        assert_eq!(capabilities("self"), capabilities("1"));
        // Every namespace is that of process 1.
        for kind in ["user", "net", "mnt", "pid", "ipc", "uts"] {
            assert_eq!(
                bed.say("i-a", &format!("readlink /proc/self/ns/{kind}")),
                bed.say("i-a", &format!("readlink /proc/1/ns/{kind}"))
            );
        }
    });
}

#[test]
fn signals_are_passed_on() {
    as_root_and_as_ordinary_user("signals_are_passed_on", |bed: &mut Bed| {
        bed.launch(&instance("i-a"), &[]);
        let mut child = bed.spawn(
            "i-a",
            "trap 'echo got; exit 42' TERM; echo ready; while :; do read line; done",
        );
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(child.id() as i32).unwrap(),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("got\n", Some(42)));
    });
}

#[test]
fn a_terminal_is_one_of_the_sandbox_and_has_its_size() {
    as_root_and_as_ordinary_user(
        "a_terminal_is_one_of_the_sandbox_and_has_its_size",
        |bed: &mut Bed| {
            bed.launch(&instance("i-a"), &[]);
            let outer =
                rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)
                    .unwrap();
            rustix::pty::unlockpt(&outer).unwrap();
            let inner = rustix::pty::ioctl_tiocgptpeer(
                &outer,
                rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY,
            )
            .unwrap();
            set_size(&outer, 33, 77);
            let mut child = bed.on_terminal(
                "i-a",
                "stty size; tty; echo begin; until [ \"$(stty size)\" = '40 100' ]; do :; done; echo resized; read word; echo \"<$word>\"; exit 5",
                &inner,
            );
            drop(inner);
            let (mut reader, mut writer) = (
                std::fs::File::from(outer.try_clone().unwrap()),
                std::fs::File::from(outer),
            );
            let mut text = String::new();
            let (mut resized, mut sent) = (false, false);
            let mut bytes = [0; 1024];
            // The end of a terminal is an error.
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                text += &String::from_utf8_lossy(&bytes[..length]);
                if text.contains("begin") && !resized {
                    set_size(&writer, 40, 100);
                    // The kernel tells the foreground of a session; this terminal is nobody's.
                    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
                    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
                    resized = true;
                }
                if text.contains("resized") && !sent {
                    writer.write_all(b"hello\n").unwrap();
                    sent = true;
                }
            }
            assert_eq!(child.wait().unwrap().code(), Some(5), "{text}");
            for part in ["33 77", "/dev/pts/0", "resized", "<hello>"] {
                assert!(text.contains(part), "{part} in {text}");
            }
        },
    );
}

fn set_size(terminal: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = rustix::termios::Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size).unwrap();
}
