//! `atoll join`.

use std::io::Write;
use std::process::ExitCode;

use atoll_daemon::options::{Data, JoinOptions};
use atoll_daemon::{Options, open, places};

use crate::serve::log;
use crate::{Outcome, arguments};

pub fn run(arguments: arguments::Join) -> Outcome {
    log();
    let data = arguments.data_dir.unwrap_or_else(places::default_data_directory);
    let options = Options {
        listen: arguments.listen,
        data: Data::Directory(data),
        data_plane: arguments.data_plane,
        regions: Vec::new(),
        underlay: Some(arguments.underlay),
        join: Some(JoinOptions {
            name: arguments.name,
            zones: arguments.zones,
            command: arguments.command,
        }),
        ..Options::default()
    };
    open(options)?.run(|daemon| {
        let mut said = daemon.member_line().unwrap_or_default();
        said += &format!("\n{}\n{}\n", daemon.data_plane_line(), daemon.limits().sentence());
        // Nobody has to listen.
        let _ = std::io::stdout().write_all(said.as_bytes());
    })?;
    Ok(ExitCode::SUCCESS)
}
