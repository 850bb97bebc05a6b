//! A bug on purpose, in test builds only, to prove that the check of recorded histories can fail.

use super::request::Freshness;

/// With `QUORATE_PLANTED_BUG=local-read`, in a build with the feature `planted-bugs`, any node answers linearizable reads
/// that touch nothing from its own memory; else all is as it was asked for.
pub(crate) fn freshness(asked: Freshness) -> Freshness {
    #[cfg(feature = "planted-bugs")]
    if asked == Freshness::Linearizable
        && std::env::var("QUORATE_PLANTED_BUG").is_ok_and(|bug| bug == "local-read")
    {
        return Freshness::AtLeast(0);
    }
    asked
}
