//! The encoding of `Pipeline` messages: protobuf, with the operations of a message counted before any is decoded. An
//! operation takes a hundred times the memory of the two bytes that it may have on the wire. What a message withdraws
//! counts too: each tag takes eight bytes, and may have one on the wire.

use bytes::Buf;
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use quorate_proto::v1;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::services::failure::Failure;

/// Operations, and tags to cancel, in one message. The client library sends at most 512.
pub(super) const MESSAGE_OPERATIONS_MAX: usize = 4_096;

/// The field number of `PipelineRequest.operations`.
const OPERATIONS: u32 = 1;
/// And of `PipelineRequest.cancel`.
const CANCEL: u32 = 2;

/// Encodes and decodes the messages of a `Pipeline` stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PipelineCodec;

impl Codec for PipelineCodec {
    type Encode = v1::PipelineResponse;
    type Decode = v1::PipelineRequest;
    type Encoder = PipelineCodec;
    type Decoder = PipelineCodec;

    fn encoder(&mut self) -> PipelineCodec {
        PipelineCodec
    }

    fn decoder(&mut self) -> PipelineCodec {
        PipelineCodec
    }
}

impl Encoder for PipelineCodec {
    type Item = v1::PipelineResponse;
    type Error = Status;

    fn encode(&mut self, item: v1::PipelineResponse, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for PipelineCodec {
    type Item = v1::PipelineRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<v1::PipelineRequest>, Status> {
        // A message comes in one piece, so the first chunk is all of it.
        check_operations(buffer.chunk())?;
        v1::PipelineRequest::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// Refuses a message of too many operations. What does not decode is left to the decoder to name.
fn check_operations(mut message: &[u8]) -> Result<(), Status> {
    let mut operations = 0;
    while message.has_remaining() {
        let Ok((field, wire)) = decode_key(&mut message) else { return Ok(()) };
        operations += match (field, wire) {
            (OPERATIONS, WireType::LengthDelimited) | (CANCEL, WireType::Varint) => 1,
            (CANCEL, WireType::LengthDelimited) => packed(message),
            _ => 0,
        };
        if operations > MESSAGE_OPERATIONS_MAX {
            return Err(too_many_operations());
        }
        if skip_field(wire, field, &mut message, DecodeContext::default()).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// How many numbers a packed field has, which `message` begins with: each ends with a byte without its highest bit.
fn packed(mut message: &[u8]) -> usize {
    let Ok(bytes) = decode_varint(&mut message) else { return 0 };
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    message.iter().take(bytes).filter(|byte| **byte < 0x80).count()
}

fn too_many_operations() -> Status {
    let message = format!(
        "a message has more than {MESSAGE_OPERATIONS_MAX} operations or tags to cancel; send them in several messages. Nothing of it was applied"
    );
    let failure = Failure::invalid("TOO_MANY_OPERATIONS", "operations", message);
    failure.fact("max_count", MESSAGE_OPERATIONS_MAX).into_status()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_whatever_else_a_message_holds() {
        let operations = vec![v1::Operation::default(); MESSAGE_OPERATIONS_MAX];
        let mut message = v1::PipelineRequest { operations, ..Default::default() }.encode_to_vec();
        assert_eq!(message.len(), 2 * MESSAGE_OPERATIONS_MAX, "an empty operation has two bytes");
        // Field 9, a varint: of a later version.
        message.extend([9 << 3, 1]);
        assert!(check_operations(&message).is_ok());
        message.extend([1 << 3 | 2, 0]);
        let status = check_operations(&message).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        let mut message =
            v1::PipelineRequest { cancel: vec![300; MESSAGE_OPERATIONS_MAX], ..Default::default() };
        assert!(check_operations(&message.encode_to_vec()).is_ok());
        message.cancel.push(1);
        assert!(check_operations(&message.encode_to_vec()).is_err(), "tags count too");
        // Field 2, a varint, again and again.
        let unpacked: Vec<u8> = [2 << 3, 1].repeat(MESSAGE_OPERATIONS_MAX + 1);
        assert!(check_operations(&unpacked).is_err(), "also one by one");
        for garbage in [&[0xff; 20][..], &[1 << 3 | 2, 200], &[0]] {
            assert!(check_operations(garbage).is_ok(), "left to the decoder");
        }
    }
}
