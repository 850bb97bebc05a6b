//! `quorate session patch`.

use clap::Args;
use quorate_client::{Patch, Write};

use super::change::{ChangeOptions, TargetAndAttributes, send};
use super::target::ID_HELP;
use crate::attribute::{SYNTAX_HELP, resolve};
use crate::context::Context;
use crate::failure::Failure;

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate session patch --id-file alice.id cart=@cart.json
  quorate session patch --id-file alice.id --remove cart --remove coupon
  quorate session patch --id-file alice.id --principal alice --idle 2h
  quorate session patch --id-file alice.id --if-version 3 seen=yes

Attributes that are not named stay as they are: patches of different attributes both win.

{SYNTAX_HELP}

{ID_HELP}

JSON: {{\"version\", \"position\"}}."
    )
}

/// Change some attributes of a session and leave the others alone
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct PatchArguments {
    #[command(flatten)]
    target: TargetAndAttributes,

    /// Remove this attribute; may be repeated
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,

    #[command(flatten)]
    options: ChangeOptions,
}

/// Sends the patch.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: PatchArguments) -> Result<(), Failure> {
    let (id, attributes) = arguments.target.read(context)?;
    if attributes.is_empty() && arguments.remove.is_empty() && arguments.options.is_empty() {
        return Err(Failure::Usage(
            "nothing to change: give NAME=VALUE, --remove, --principal, --sign-out, --idle or --absolute"
                .to_owned(),
        ));
    }
    if attributes.is_empty() && arguments.remove.is_empty() {
        return send(context, &id, arguments.options.apply(Write::keep())).await;
    }
    let mut patch = Patch::new();
    for (name, value) in resolve(&attributes, &mut context.input)? {
        patch = patch.set(name, value);
    }
    for name in arguments.remove {
        patch = patch.remove(name);
    }
    send(context, &id, arguments.options.apply(Write::patch(patch))).await
}
