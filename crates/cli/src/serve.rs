//! `atoll serve`.

use std::io::Write;
use std::process::ExitCode;

use atoll_daemon::options::{Auth, Data};
use atoll_daemon::{Options, open, places};

use crate::{Outcome, arguments};

/// What a daemon says while it runs goes to standard error.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ATOLL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

pub fn run(arguments: arguments::Serve) -> Outcome {
    log();
    if arguments.detached {
        // Ctrl-C and hang-ups of the terminal are not meant for it.
        rustix::process::setsid()?;
    }
    let data = match (arguments.ephemeral, arguments.data_dir) {
        (true, _) => Data::Ephemeral,
        (false, Some(directory)) => Data::Directory(directory),
        (false, None) => Data::Directory(places::default_data_directory()),
    };
    let options = Options {
        listen: arguments.listen,
        allowed_hosts: arguments.allowed_hosts,
        data,
        auth: arguments.auth,
        data_plane: arguments.data_plane,
        regions: arguments.regions,
        underlay: arguments.underlay,
        host_name: arguments.host_name,
        join: None,
        run_base: places::default_run_base(),
    };
    let auth = options.auth;
    open(options)?.run(|daemon| {
        let regions: Vec<String> = daemon
            .handles()
            .iter()
            .map(|region| region.name().to_string())
            .collect();
        let mut said = format!(
            "atoll serves {} at {}\n",
            regions.join(", "),
            daemon.endpoint_url()
        );
        said += &format!("{}\n", daemon.data_plane_line());
        if let Some(line) = daemon.underlay_line() {
            said += &format!("{line}\n");
        }
        if auth == Auth::SigV4 {
            said += &format!(
                "to call it: eval \"$(atoll env --endpoint {})\"\n",
                daemon.endpoint_url()
            );
        }
        said += &format!("{}\n", daemon.limits().sentence());
        // Nobody has to listen.
        let _ = std::io::stdout().write_all(said.as_bytes());
    })?;
    Ok(ExitCode::SUCCESS)
}
