//! Answers on their way out: as few messages as are ready, none too long for a client to take.

use std::collections::VecDeque;

use prost::Message as _;
use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;

/// A message is closed once it has this many bytes. One answer is at most a session, 1 MiB by the default policy, so
/// messages stay below the 4 MiB that gRPC clients take unasked.
const MESSAGE_BYTES: usize = 1 << 20;

/// Answers that are ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Answers {
    full: VecDeque<Message>,
    last: Message,
    bytes: usize,
}

/// A message and its answers' bytes.
#[derive(Debug, Default)]
struct Message {
    answers: Vec<v1::Answer>,
    bytes: usize,
}

impl Answers {
    pub(super) fn push(&mut self, tag: u64, answer: Answer) {
        let answer = v1::Answer { tag, answer: Some(answer) };
        let bytes = answer.encoded_len();
        if self.last.bytes + bytes > MESSAGE_BYTES && !self.last.answers.is_empty() {
            self.full.push_back(std::mem::take(&mut self.last));
        }
        self.bytes += bytes;
        self.last.bytes += bytes;
        self.last.answers.push(answer);
    }

    /// Of all answers together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.last.answers.is_empty()
    }

    /// Takes the first message, and says how many bytes of answers are in it.
    pub(super) fn pop(&mut self) -> Option<(v1::PipelineResponse, usize)> {
        let last = || (!self.last.answers.is_empty()).then(|| std::mem::take(&mut self.last));
        let Message { answers, bytes } = self.full.pop_front().or_else(last)?;
        self.bytes -= bytes;
        Some((v1::PipelineResponse { answers }, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Answer {
        Answer::Error(v1::Error { message: "x".repeat(bytes), ..Default::default() })
    }

    fn take(answers: &mut Answers) -> Vec<v1::PipelineResponse> {
        std::iter::from_fn(|| answers.pop()).map(|(message, _)| message).collect()
    }

    #[test]
    fn small_answers_share_a_message() {
        let mut answers = Answers::default();
        for tag in 0..100 {
            answers.push(tag, answer(10));
        }
        let messages = take(&mut answers);
        assert_eq!(messages.len(), 1);
        assert_eq!(
            messages[0].answers.iter().map(|answer| answer.tag).collect::<Vec<_>>(),
            (0..100).collect::<Vec<_>>()
        );
        assert!(answers.is_empty() && answers.bytes() == 0);
    }

    #[test]
    fn large_answers_are_spread_over_messages() {
        let mut answers = Answers::default();
        for tag in 0..10 {
            answers.push(tag, answer(700_000));
        }
        assert!((7_000_000..7_001_000).contains(&answers.bytes()));
        let messages = take(&mut answers);
        assert_eq!(messages.len(), 10);
        assert!(messages.iter().all(|message| message.encoded_len() <= 2 * MESSAGE_BYTES));
    }
}
