//! `atoll serve`.

use std::process::ExitCode;

use atoll_daemon::options::{Auth, Data};
use atoll_daemon::{Options, open, places};

use crate::{Outcome, arguments};

pub fn run(arguments: arguments::Serve) -> Outcome {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ATOLL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let data = match (arguments.ephemeral, arguments.data_dir) {
        (true, _) => Data::Ephemeral,
        (false, Some(directory)) => Data::Directory(directory),
        (false, None) => Data::Directory(places::default_data_directory()),
    };
    let options = Options {
        listen: arguments.listen,
        data,
        auth: arguments.auth,
        data_plane: arguments.data_plane,
        regions: arguments.regions,
        run_base: places::default_run_base(),
    };
    let auth = options.auth;
    open(options)?.run(|daemon| {
        let regions: Vec<String> = daemon
            .handles()
            .iter()
            .map(|region| region.name().to_string())
            .collect();
        println!("atoll serves {} at {}", regions.join(", "), daemon.endpoint_url());
        if auth == Auth::SigV4 {
            println!(
                "to call it: eval \"$(atoll env --endpoint {})\"",
                daemon.endpoint_url()
            );
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
