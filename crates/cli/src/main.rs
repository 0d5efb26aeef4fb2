//! The `atoll` command: arguments, output, progress.
//!
//! `arguments.rs` has the words; each subcommand has a file of its name. `connection.rs` finds the daemon
//! that is meant; `api.rs` calls AWS's API there, signed; what is not AWS's goes over the control socket.
//! No rule of a VPC is here.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod arguments;
mod call;
mod connection;
mod down;
mod drops;
mod env;
mod events;
mod exec;
mod feed;
mod flows;
mod forget_host;
mod join;
mod machine;
mod output;
mod serve;
mod stack;
mod status;
mod table;
mod top;
mod trace;
mod up;
mod xml;

use std::process::ExitCode;

/// The tables of a large region stand on huge pages.
#[global_allocator]
static MEMORY: atoll_memory::HugePages = atoll_memory::HugePages;

use arguments::{Arguments, Command};
use clap::Parser;

/// What a subcommand comes to: the exit status, or why not, as one sentence.
type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    // What the sandboxes are made of is this same program; it comes before anything else, and before any
    // thread.
    let words: Vec<_> = std::env::args_os().collect();
    if let Some(status) = atoll_instance::dispatch(&words) {
        return ExitCode::from(u8::try_from(status).unwrap_or(1));
    }
    let Arguments { command, endpoint } = Arguments::parse();
    let outcome = match command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Join(arguments) => join::run(arguments),
        Command::Up(arguments) => up::run(endpoint, arguments),
        Command::Down(arguments) => down::run(endpoint, arguments),
        Command::Status(arguments) => status::run(endpoint, arguments),
        Command::Exec(arguments) => exec::run(endpoint, arguments),
        Command::Machine(arguments) => machine::run(endpoint, arguments),
        Command::Trace(arguments) => trace::run(endpoint, arguments),
        Command::Drops(arguments) => drops::run(endpoint, arguments),
        Command::Flows(arguments) => flows::run(endpoint, arguments),
        Command::Top(arguments) => top::run(endpoint, arguments),
        Command::Feed(arguments) => feed::run(endpoint, arguments),
        Command::ForgetHost(arguments) => forget_host::run(endpoint, arguments),
        Command::Env(arguments) => env::run(endpoint, arguments),
        Command::Api(arguments) => call::run(endpoint, arguments),
    };
    outcome.unwrap_or_else(|error| {
        if output::nobody_reads(&*error) {
            return ExitCode::SUCCESS;
        }
        output::note(format!("atoll: {error}"));
        ExitCode::FAILURE
    })
}
