//! Which answer belongs to a call.

/// Takes the answer of the kind that was asked for.
macro_rules! expect {
    ($answer:expr, $kind:ident) => {
        match $answer {
            quorate_proto::v1::answer::Answer::$kind(answer) => Ok(answer),
            _ => Err(crate::call::unexpected()),
        }
    };
}
