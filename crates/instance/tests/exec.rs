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
            rustix::termios::tcsetwinsize(
                &outer,
                rustix::termios::Winsize {
                    ws_row: 33,
                    ws_col: 77,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                },
            )
            .unwrap();
            let mut child = bed.on_terminal(
                "i-a",
                "stty size; tty; echo begin; read word; echo \"<$word>\"; exit 5",
                &inner,
            );
            drop(inner);
            let (mut reader, mut writer) = (
                std::fs::File::from(outer.try_clone().unwrap()),
                std::fs::File::from(outer),
            );
            let mut text = String::new();
            let mut sent = false;
            let mut bytes = [0; 1024];
            // The end of a terminal is an error.
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                text += &String::from_utf8_lossy(&bytes[..length]);
                if text.contains("begin") && !sent {
                    writer.write_all(b"hello\n").unwrap();
                    sent = true;
                }
            }
            assert_eq!(child.wait().unwrap().code(), Some(5), "{text}");
            for part in ["33 77", "/dev/pts/0", "<hello>"] {
                assert!(text.contains(part), "{part} in {text}");
            }
        },
    );
}
