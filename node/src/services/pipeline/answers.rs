//! Answers on their way out: as few messages as are ready, none too long for a client to take.

use prost::Message as _;
use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;

/// A message is closed once it has this many bytes. One answer is at most a session, 1 MiB by the default policy, so
/// messages stay below the 4 MiB that gRPC clients take unasked.
const MESSAGE_BYTES: usize = 1 << 20;

/// Answers that are ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Answers {
    full: Vec<v1::PipelineResponse>,
    last: Vec<v1::Answer>,
    last_bytes: usize,
}

impl Answers {
    pub(super) fn push(&mut self, tag: u64, answer: Answer) {
        let answer = v1::Answer { tag, answer: Some(answer) };
        let bytes = answer.encoded_len();
        if self.last_bytes + bytes > MESSAGE_BYTES && !self.last.is_empty() {
            self.close();
        }
        self.last_bytes += bytes;
        self.last.push(answer);
    }

    fn close(&mut self) {
        self.last_bytes = 0;
        self.full.push(v1::PipelineResponse { answers: std::mem::take(&mut self.last) });
    }

    /// Takes all messages, in order.
    pub(super) fn take(&mut self) -> Vec<v1::PipelineResponse> {
        if !self.last.is_empty() {
            self.close();
        }
        std::mem::take(&mut self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Answer {
        Answer::Error(v1::Error { message: "x".repeat(bytes), ..Default::default() })
    }

    #[test]
    fn small_answers_share_a_message() {
        let mut answers = Answers::default();
        for tag in 0..100 {
            answers.push(tag, answer(10));
        }
        let messages = answers.take();
        assert_eq!(messages.len(), 1);
        assert_eq!(
            messages[0].answers.iter().map(|answer| answer.tag).collect::<Vec<_>>(),
            (0..100).collect::<Vec<_>>()
        );
        assert!(answers.take().is_empty());
    }

    #[test]
    fn large_answers_are_spread_over_messages() {
        let mut answers = Answers::default();
        for tag in 0..10 {
            answers.push(tag, answer(700_000));
        }
        let messages = answers.take();
        assert_eq!(messages.len(), 10);
        assert!(messages.iter().all(|message| message.encoded_len() <= 2 * MESSAGE_BYTES));
    }
}
