//! `quorate session revoke`.

use std::path::PathBuf;

use clap::Args;
use futures_util::StreamExt as _;
use quorate_client::ListOptions;

use super::receipt::Revoked;
use crate::confirm::confirm;
use crate::context::Context;
use crate::failure::{Failure, escaped};

/// More are not counted before they are asked about.
const COUNTED_MAX: usize = 10_000;

const HELP: &str = "\
Examples:
  quorate session revoke alice
  quorate session revoke alice --except-id-file alice.id
  quorate session revoke alice --yes --output json

All of them end in one step, however many; watchers are told of each. --except-id-file keeps the
session that asks: \"log out everywhere else\". It must be one of this user's.

JSON: {\"sessions\", \"position\"}: how many were ended.";

/// End all sessions of a user
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct RevokeArguments {
    /// The signed-in user
    #[arg(value_name = "PRINCIPAL")]
    principal: String,

    /// Keep the session whose id is in this file
    #[arg(long, value_name = "FILE")]
    except_id_file: Option<PathBuf>,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Ends the sessions, after having asked.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused, [`Failure::Declined`]; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: RevokeArguments) -> Result<(), Failure> {
    let RevokeArguments { principal, except_id_file, yes } = arguments;
    let except = except_id_file.map(|file| context.input.session_id(None, Some(&file))).transpose()?;
    if !yes {
        let found = told(count(context, &principal).await?);
        let but = if except.is_some() { " but one" } else { "" };
        confirm(false, &format!("End all {found} sessions of {}{but}?", escaped(&principal)))?;
    }
    let revoked = match &except {
        Some(id) => context.client.revoke_except(principal, id).await?,
        None => context.client.revoke(principal).await?,
    };
    context.print(&Revoked { sessions: revoked.sessions, position: revoked.position.to_string() })
}

/// How many sessions the user has; counts to one more than [`COUNTED_MAX`].
async fn count(context: &Context, principal: &str) -> Result<usize, Failure> {
    let listed = context.client.list_all(ListOptions::new().principal(principal).page_size(1_000));
    let mut listed = listed.take(COUNTED_MAX + 1);
    let mut found = 0;
    while let Some(session) = listed.next().await {
        session?;
        found += 1;
    }
    Ok(found)
}

fn told(found: usize) -> String {
    if found > COUNTED_MAX { format!("more than {COUNTED_MAX}") } else { found.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_not_counted_is_not_told() {
        assert_eq!(told(0), "0");
        assert_eq!(told(COUNTED_MAX), "10000");
        assert_eq!(told(COUNTED_MAX + 1), "more than 10000");
    }
}
