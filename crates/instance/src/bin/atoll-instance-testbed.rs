//! The crate's internal subcommands alone, for its tests: holder, shim, init, cfn-signal, `exec`, `machine`, `enter` and `open`.
use std::os::unix::process::CommandExt;
use std::path::Path;

fn main() {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let Some(code) = atoll_instance::dispatch(&args) {
        std::process::exit(code);
    }
    let words: Vec<String> = args
        .into_iter()
        .skip(1)
        .filter_map(|word| word.into_string().ok())
        .collect();
    match words.first().map(String::as_str) {
        Some("exec") if words.len() > 3 => {
            match atoll_instance::exec::run(
                Path::new(&words[1]),
                &words[3..],
                &atoll_instance::exec::Options::default(),
            ) {
                Ok(code) => std::process::exit(code),
                Err(error) => {
                    eprintln!("{error}");
                    std::process::exit(255);
                }
            }
        }
        Some("machine") if words.len() > 3 => {
            let mut tell = |sentence: &str| eprintln!("{sentence}");
            match atoll_instance::machine::run(Path::new(&words[1]), &words[3..], &mut tell) {
                Ok(code) => std::process::exit(code),
                Err(error) => {
                    eprintln!("{error}");
                    std::process::exit(255);
                }
            }
        }
        // As a daemon does: moves into the holder's namespaces, then runs CMD there.
        Some("enter") if words.len() > 3 => {
            let host = atoll_instance::Host::existing(Path::new(&words[1]), Path::new(&words[2]));
            let error = match host.and_then(|host| host.enter()) {
                Ok(()) => std::process::Command::new(&words[3])
                    .args(&words[4..])
                    .exec()
                    .to_string(),
                Err(error) => error.to_string(),
            };
            eprintln!("{error}");
            std::process::exit(255);
        }
        Some("open") if words.len() == 3 => {
            match atoll_instance::Host::open(Path::new(&words[1]), Path::new(&words[2])) {
                Ok(host) => {
                    let ended = host.shutdown(true);
                    std::process::exit(i32::from(ended.is_err()));
                }
                Err(error) => {
                    eprintln!("{error}");
                    std::process::exit(1);
                }
            }
        }
        _ => {
            eprintln!(
                "usage: atoll-instance-testbed exec SOCKET -- CMD… | machine SOCKET -- CMD… | enter RUN_DIR STATE_DIR CMD… | open RUN_DIR STATE_DIR"
            );
            std::process::exit(2);
        }
    }
}
