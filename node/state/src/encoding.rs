//! How headers, records, clients and events are written down: one format byte, then postcard.
//!
//! A format, once released, stays readable: a change is a new format byte.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::command::ClientId;
use crate::digest::canonical;
use crate::events::{EventBlock, EventBlockId};
use crate::key::SessionKey;
use crate::legacy;
use crate::record::Record;

/// The format of records written by this version: `(SessionKey, Record)`. Format 1 had no locks (see `legacy`).
const RECORD_FORMAT: u8 = 2;
/// The format of clients written by this version: `(ClientId, Client)`.
const CLIENT_FORMAT: u8 = 1;
/// The format of blocks of events written by this version: `(EventBlockId, EventBlock)`.
const EVENTS_FORMAT: u8 = 1;

/// Something written down does not read. Never to be taken for absence.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    /// Nothing there at all.
    #[error("the {what} is empty")]
    Empty {
        /// A header, a record, a client or a block of events.
        what: &'static str,
    },
    /// Written by a newer version, or corrupt.
    #[error(
        "the {what} has format {found}; this version reads up to {known}: corrupt, or written by a newer version"
    )]
    Format {
        /// A header, a record, a client or a block of events.
        what: &'static str,
        /// What its first byte says.
        found: u8,
        /// The newest format known here.
        known: u8,
    },
    /// Corrupt.
    #[error("the {what} does not decode: {source}")]
    Malformed {
        /// A header, a record, a client or a block of events.
        what: &'static str,
        /// What the decoder met.
        source: postcard::Error,
    },
    /// Corrupt: there is more than what was written.
    #[error("the {what} has {bytes} bytes too many")]
    Trailing {
        /// A header, a record, a client or a block of events.
        what: &'static str,
        /// How many are left over.
        bytes: usize,
    },
}

/// A record as it is kept on disk and in snapshots.
#[must_use]
pub fn encode_record(key: SessionKey, record: &Record) -> Vec<u8> {
    canonical(RECORD_FORMAT, &(key, record))
}

/// Reads what [`encode_record`] wrote.
///
/// # Errors
/// [`EncodingError`]: the bytes are corrupt or newer than this version.
pub fn decode_record(bytes: &[u8]) -> Result<(SessionKey, Record), EncodingError> {
    match bytes.first() {
        Some(1) => {
            let (key, record) = decode::<(SessionKey, legacy::Record)>("record", 1, bytes)?;
            Ok((key, record.into()))
        }
        _ => decode("record", RECORD_FORMAT, bytes),
    }
}

/// A client as it is kept on disk and in snapshots.
#[must_use]
pub fn encode_client(id: ClientId, client: &Client) -> Vec<u8> {
    canonical(CLIENT_FORMAT, &(id, client))
}

/// Reads what [`encode_client`] wrote.
///
/// # Errors
/// [`EncodingError`]: the bytes are corrupt or newer than this version.
pub fn decode_client(bytes: &[u8]) -> Result<(ClientId, Client), EncodingError> {
    decode("client", CLIENT_FORMAT, bytes)
}

/// A block of events as it is kept on disk and in snapshots.
#[must_use]
pub fn encode_events(id: EventBlockId, block: &EventBlock) -> Vec<u8> {
    canonical(EVENTS_FORMAT, &(id, block))
}

/// Reads what [`encode_events`] wrote.
///
/// # Errors
/// [`EncodingError`]: the bytes are corrupt or newer than this version.
pub fn decode_events(bytes: &[u8]) -> Result<(EventBlockId, EventBlock), EncodingError> {
    decode("block of events", EVENTS_FORMAT, bytes)
}

pub(crate) fn encode<T: Serialize>(format: u8, value: &T) -> Vec<u8> {
    canonical(format, value)
}

pub(crate) fn decode<T: DeserializeOwned>(
    what: &'static str,
    known: u8,
    bytes: &[u8],
) -> Result<T, EncodingError> {
    let (&found, rest) = bytes.split_first().ok_or(EncodingError::Empty { what })?;
    if found != known {
        return Err(EncodingError::Format { what, found, known });
    }
    let (value, rest) =
        postcard::take_from_bytes(rest).map_err(|source| EncodingError::Malformed { what, source })?;
    if rest.is_empty() { Ok(value) } else { Err(EncodingError::Trailing { what, bytes: rest.len() }) }
}
