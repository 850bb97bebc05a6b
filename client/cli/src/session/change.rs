//! Change: what `set` and `patch` have in common.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use quorate_client::{SessionId, Write};

use super::receipt::Changed;
use super::target::{Secret, read_id};
use crate::arguments::positive_duration;
use crate::attribute::AttributeArgument;
use crate::context::Context;
use crate::failure::Failure;

/// The session to change and attributes, in one list: with --id-file the list has no id.
#[derive(Debug, Args)]
pub(crate) struct TargetAndAttributes {
    /// The session's id, or - to read it from standard input; visible in ps, so prefer --id-file (then no ID)
    #[arg(value_name = "ID", allow_hyphen_values = true, required_unless_present = "id_file")]
    first: Option<Secret>,

    /// Attributes to set
    #[arg(value_name = "NAME=VALUE")]
    attributes: Vec<AttributeArgument>,

    /// Read the session's id from a file
    #[arg(long, value_name = "FILE")]
    id_file: Option<PathBuf>,
}

impl TargetAndAttributes {
    /// Reads the id and sorts out which arguments are attributes.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] or [`Failure::Read`].
    pub(crate) fn read(self, context: &mut Context) -> Result<(SessionId, Vec<AttributeArgument>), Failure> {
        let mut attributes = self.attributes;
        if let (Some(_), Some(Secret(first))) = (&self.id_file, &self.first) {
            let first = first.parse().map_err(|error| {
                Failure::Usage(format!("with --id-file every argument is an attribute: {error}"))
            })?;
            attributes.insert(0, first);
        }
        let id = read_id(self.first.as_ref(), self.id_file.as_deref(), &mut context.input)?;
        Ok((id, attributes))
    }
}

/// What a change may bring besides attributes.
#[derive(Debug, Args)]
pub(crate) struct ChangeOptions {
    /// Change nothing unless the session's version is this one (else exit code 4)
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,

    /// Set the signed-in user
    #[arg(long, value_name = "NAME", conflicts_with = "sign_out")]
    principal: Option<String>,

    /// Remove the signed-in user
    #[arg(long)]
    sign_out: bool,

    /// Set the idle timeout: 30s, 20m, 2h
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    idle: Option<Duration>,

    /// Set the absolute timeout, counted from the session's creation: 12h, 7days
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    absolute: Option<Duration>,

    /// Change under the lock that is held with this token, as printed by `session lock`
    #[arg(long, value_name = "FENCE")]
    fence: Option<u64>,

    /// Give the lock back in the same step
    #[arg(long, requires = "fence")]
    release: bool,
}

impl ChangeOptions {
    /// Whether there is anything to change.
    pub(crate) fn is_empty(&self) -> bool {
        self.principal.is_none()
            && !self.sign_out
            && self.idle.is_none()
            && self.absolute.is_none()
            && !self.release
    }

    /// `write` with these options.
    pub(crate) fn apply(self, mut write: Write) -> Write {
        if let Some(version) = self.if_version {
            write = write.if_version(version);
        }
        if self.sign_out {
            write = write.principal("");
        } else if let Some(principal) = self.principal {
            write = write.principal(principal);
        }
        if let Some(idle) = self.idle {
            write = write.idle_timeout(idle);
        }
        if let Some(absolute) = self.absolute {
            write = write.absolute_timeout(absolute);
        }
        if let Some(fence) = self.fence {
            write = write.fence(fence);
        }
        if self.release {
            write = write.release();
        }
        write
    }
}

/// Sends the change and shows the receipt.
///
/// # Errors
///
/// [`Failure::Client`] or [`Failure::Write`].
pub(crate) async fn send(context: &Context, id: &SessionId, write: Write) -> Result<(), Failure> {
    let written = context.client.write(id, write).await?;
    context.print(&Changed { version: written.version, position: written.position.to_string() })
}
