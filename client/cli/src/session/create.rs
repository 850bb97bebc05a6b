//! `quorate session create`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use quorate_client::{NewSession, SessionId};

use super::delivery::Delivery;
use super::target::{Secret, read_id};
use crate::arguments::positive_duration;
use crate::attribute::{AttributeArgument, SYNTAX_HELP, resolve};
use crate::context::Context;
use crate::failure::Failure;

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate session create user=alice
  quorate session create cart=@cart.json --principal alice --idle 30m --absolute 12h
  quorate session create user=alice --save-id alice.id
  ID=$(quorate session create --quiet user=alice)

{SYNTAX_HELP}

The id is made here, from the operating system's randomness, unless --id gives one. It is a
secret: whoever knows it is the user. --save-id keeps it off the screen, in a file that only you
can read. With exit code 6 the session may exist: its id is printed or saved all the same.

JSON: {{\"id\", \"handle\", \"version\", \"position\"}}, without \"id\" after --save-id;
  with exit code 6 {{\"id\"}}, or nothing after --save-id."
    )
}

/// Create a session and print its id
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct CreateArguments {
    /// Attributes of the new session
    #[arg(value_name = "NAME=VALUE")]
    attributes: Vec<AttributeArgument>,

    /// Take this id instead of a new one, or - to read it from standard input; visible in ps
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    id: Option<Secret>,

    /// Take the id in this file instead of a new one
    #[arg(long, value_name = "FILE", conflicts_with = "id")]
    id_file: Option<PathBuf>,

    /// The signed-in user
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,

    /// Idle timeout: 30s, 20m, 2h. Without it, the namespace's default
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    idle: Option<Duration>,

    /// Absolute timeout: 12h, 7days. Without it, the namespace's default
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    absolute: Option<Duration>,

    /// Write the id to this file (mode 0600; - is refused) instead of printing it
    #[arg(long, value_name = "FILE")]
    save_id: Option<PathBuf>,

    /// Print nothing but the id
    #[arg(long, short, conflicts_with = "save_id")]
    quiet: bool,
}

/// Creates the session and shows its id.
///
/// # Errors
///
/// [`Failure::Client`] when it was not created, [`Failure::Unconfirmed`] when nobody knows; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: CreateArguments) -> Result<(), Failure> {
    let id = match arguments.id.is_some() || arguments.id_file.is_some() {
        true => read_id(arguments.id.as_ref(), arguments.id_file.as_deref(), &mut context.input)?,
        false => SessionId::random(),
    };
    let mut new = NewSession::new().id(id.clone());
    new = new.attributes(resolve(&arguments.attributes, &mut context.input)?);
    if let Some(principal) = arguments.principal {
        new = new.principal(principal);
    }
    if let Some(idle) = arguments.idle {
        new = new.idle_timeout(idle);
    }
    if let Some(absolute) = arguments.absolute {
        new = new.absolute_timeout(absolute);
    }
    let delivery = Delivery::open(arguments.save_id.as_deref(), arguments.quiet)?;
    match context.client.create(new).await {
        Ok(created) => delivery.deliver(context, &created),
        Err(error) if error.may_have_taken_effect() => {
            Err(delivery.deliver_unconfirmed(context, error, &id, None))
        }
        Err(error) => Err(error.into()),
    }
}
