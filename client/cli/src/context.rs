//! Context: what every command that talks to a cluster holds.

use quorate_client::Client;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::input::Input;
use crate::output::{self, Format, Report};

/// A client as the global options describe it, and where input comes from and output goes.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) input: Input,
    pub(crate) format: Format,
}

impl Context {
    /// A context whose client has not dialled anybody yet.
    ///
    /// # Errors
    ///
    /// [`Failure::Client`] for an endpoint or a namespace that cannot be.
    pub(crate) fn new(global: &Global) -> Result<Context, Failure> {
        Ok(Context { client: client(global)?, input: Input::stdin(), format: global.output })
    }

    /// Shows the command's result.
    ///
    /// # Errors
    ///
    /// As [`output::print()`].
    pub(crate) fn print<R: Report>(&self, report: &R) -> Result<(), Failure> {
        output::print(self.format, report)
    }
}

/// A client of its own, with connections of its own.
///
/// # Errors
///
/// As [`Context::new`].
pub(crate) fn client(global: &Global) -> Result<Client, Failure> {
    let endpoints =
        global.endpoints.iter().map(|endpoint| endpoint.trim()).filter(|endpoint| !endpoint.is_empty());
    let builder =
        Client::builder().endpoints(endpoints).namespace(&global.namespace).deadline(global.deadline);
    Ok(builder.build()?)
}
