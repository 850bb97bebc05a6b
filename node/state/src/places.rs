//! Places in a list.

use serde::{Deserialize, Serialize};

/// Some places in a list, from 0: a bit for each, up to the last one of them. The list is not long: those that name sessions
/// have at most [`crate::Limits::TOUCHES_MAX`], so this takes 125 bytes, where it is remembered for each request id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places(Box<[u8]>);

impl Places {
    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let bits = self.0.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        (0..).zip(bits).filter(|(_, is_one)| *is_one).map(|(place, _)| place)
    }
}

impl FromIterator<u32> for Places {
    fn from_iter<I: IntoIterator<Item = u32>>(places: I) -> Self {
        let mut bytes = Vec::new();
        for place in places {
            let at = usize::try_from(place / 8).unwrap_or(usize::MAX);
            if at >= bytes.len() {
                bytes.resize(at.saturating_add(1), 0);
            }
            if let Some(byte) = bytes.get_mut(at) {
                *byte |= 1_u8 << (place % 8);
            }
        }
        Places(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_ascending_and_a_thousand_take_125_bytes() {
        for places in [vec![], vec![0], vec![7], vec![8], vec![0, 1, 9, 999], (0..1_000).collect()] {
            let kept: Places = places.iter().rev().copied().collect();
            assert_eq!(kept.iter().collect::<Vec<_>>(), places);
            assert!(kept.0.len() <= 125 && kept.0.last() != Some(&0));
        }
    }
}
