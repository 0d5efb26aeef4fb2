//! The crate's internal subcommands alone, for its tests: holder, shim, init, cfn-signal, and `exec SOCKET -- CMD…`.
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
        _ => {
            eprintln!("usage: atoll-instance-testbed exec SOCKET -- CMD…");
            std::process::exit(2);
        }
    }
}
