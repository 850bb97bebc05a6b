//! The demo against containers: the leader's container is killed, then a leader is cut off its network.
//!
//! # Layout
//!
//! ```text
//! main       the command line; which of the two parts this process plays
//! engine     the few commands given to the Docker Engine
//! run        the demo, on the host
//! cut_off    inside a node's container: writes and reads sent straight to that node
//! sighting   a line of what cut_off saw, and what follows from all of them
//! ```

mod cut_off;
mod engine;
mod run;
mod sighting;

use std::net::SocketAddrV4;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quorate_tests::{HarnessError, interrupted};

/// Containers instead of processes: a killed leader, then a leader cut off its network
#[derive(Debug, Parser)]
#[command(name = "quorate-docker-demo")]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Carries the demo out on containers that run; scripts/docker-demo.sh starts them
    Run(run::RunArguments),
    /// Sends writes and linearizable reads to one node until standard input ends; its first line is a session's id
    CutOff {
        /// The node's client listener
        #[arg(long)]
        address: SocketAddrV4,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().part {
        Part::Run(arguments) => tokio::select! {
            done = run::run(&arguments) => done,
            () = interrupted() => {
                println!("interrupted: scripts/docker-demo.sh removes the containers");
                return ExitCode::from(130);
            }
        },
        Part::CutOff { address } => cut_off::run(address).await.map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let error: HarnessError = error;
            eprintln!("the demo could not be carried out: {error}");
            ExitCode::FAILURE
        }
    }
}
