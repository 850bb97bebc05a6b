//! The few commands given to the Docker Engine.

use std::process::Stdio;
use std::str::FromStr;

use quorate_tests::HarnessError;
use tokio::process::{Child, Command};

/// A node's container.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    /// The node's id.
    pub(crate) node: u64,
    /// The container's id or name.
    pub(crate) name: String,
    /// Where the node's client port is published on this host.
    pub(crate) published: std::net::SocketAddrV4,
}

impl FromStr for Container {
    type Err = String;

    /// `NODE=CONTAINER@IP:PORT`.
    fn from_str(text: &str) -> Result<Container, String> {
        let parts = || {
            let (node, rest) = text.split_once('=')?;
            let (name, published) = rest.split_once('@')?;
            Some(Container {
                node: node.parse().ok()?,
                name: name.to_owned(),
                published: published.parse().ok()?,
            })
        };
        parts().ok_or_else(|| "must be NODE=CONTAINER@IP:PORT".to_owned())
    }
}

/// Runs `docker` with `arguments`.
///
/// # Errors
/// It cannot be started, or fails: with what it said.
pub(crate) async fn docker(arguments: &[&str]) -> Result<(), HarnessError> {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| HarnessError::Unreadable(format!("cannot run docker: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(HarnessError::Unreadable(format!("docker {}: {}", arguments.join(" "), said.trim())))
}

/// Starts a program in a container, with pipes to its standard input and output.
///
/// # Errors
/// `docker` cannot be started.
pub(crate) fn exec(container: &Container, program: &[&str]) -> Result<Child, HarnessError> {
    Command::new("docker")
        .args(["exec", "--interactive", &container.name])
        .args(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| HarnessError::Unreadable(format!("cannot run docker: {error}")))
}
