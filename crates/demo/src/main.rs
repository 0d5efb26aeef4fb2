//! `make demo`: brings up the two-tier example and tries everything that its rules promise.

use std::process::ExitCode;
use std::time::Instant;

use atoll_demo::checks::leftovers::{self, Snapshot};
use atoll_demo::checks::{CHECKS, STACK};
use atoll_demo::world::World;
use atoll_demo::{Failure, report};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("demo: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Failure> {
    let mut world = World::of_this_build(None)?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words[..] {
        [] => {}
        [option, plane] if option == "--data-plane" => world.data_plane = Some(plane.clone()),
        _ => return Err("use: atoll-demo [--data-plane ebpf|userspace]".into()),
    }
    let before = Snapshot::take(world.directory())?;
    let started = Instant::now();
    println!(
        "Starting a daemon of the demo's own in {}",
        world.directory().display()
    );
    world.serve()?;
    println!("Deploying examples/two-tier.yaml");
    let up = world
        .atoll([
            "up",
            &world.example("two-tier.yaml").to_string_lossy(),
            "--stack",
            STACK,
        ])
        .status()?;
    if !up.success() {
        return Err(format!("atoll up ended with {up}\n{}", world.log()).into());
    }
    world.learn(STACK)?;
    let mut whole = true;
    for check in CHECKS {
        println!("· {}", check.title);
        if let Err(failure) = (check.run)(&mut world) {
            println!("  could not be tried to the end: {failure}");
            whole = false;
        }
    }
    println!("· Nothing left");
    leftovers::run(&mut world, &before)?;
    println!("{}", report::table(&world.observations));
    println!(
        "{}, in {:.0} s",
        report::summary(&world.observations),
        started.elapsed().as_secs_f32()
    );
    Ok(whole && world.observations.iter().all(|o| o.holds))
}
