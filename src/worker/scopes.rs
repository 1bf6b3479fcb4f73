//! The scopes that the claims of a worker go round.
//!
//! Each claim is of one scope, and the next is of the scope behind it. A poll that finds too little
//! asks every scope once, so none of them waits for another poll.

use ff_core::contracts::{ClaimScope, PartitionSet};

/// The scopes of a worker's claims, in turn; all partitions at once by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimScopes(
    // Invariant: not empty.
    Vec<ClaimScope>,
);

impl Default for ClaimScopes {
    fn default() -> Self {
        Self(vec![ClaimScope::Everywhere])
    }
}

impl ClaimScopes {
    /// Claims from all of these partitions at once.
    #[must_use]
    pub fn at_once(partitions: PartitionSet) -> Self {
        Self(vec![ClaimScope::Of(partitions)])
    }

    /// Claims from one of these partitions after the other.
    #[must_use]
    pub fn one_by_one(partitions: &PartitionSet) -> Self {
        Self(partitions.one_by_one().map(ClaimScope::Of).collect())
    }

    /// Claims from one of these sets after the other; from all partitions where there is no set.
    #[must_use]
    pub fn in_turn(sets: impl IntoIterator<Item = PartitionSet>) -> Self {
        let scopes: Vec<ClaimScope> = sets.into_iter().map(ClaimScope::Of).collect();
        if scopes.is_empty() { Self::default() } else { Self(scopes) }
    }

    /// True if claims are of all partitions.
    pub(super) fn is_everywhere(&self) -> bool {
        self.0.contains(&ClaimScope::Everywhere)
    }

    /// The number of scopes.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The scope of the next claim.
    pub(super) fn next(&mut self) -> ClaimScope {
        self.0.rotate_left(1);
        self.0.last().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> PartitionSet {
        text.parse().unwrap()
    }

    fn rounds(mut scopes: ClaimScopes, claims: usize) -> Vec<ClaimScope> {
        (0..claims).map(|_| scopes.next()).collect()
    }

    #[test]
    fn claims_go_round_the_scopes() {
        let scope = |text: &str| ClaimScope::Of(set(text));
        assert_eq!(rounds(ClaimScopes::default(), 2), vec![ClaimScope::Everywhere; 2]);
        assert_eq!(rounds(ClaimScopes::in_turn([]), 1), [ClaimScope::Everywhere]);
        assert_eq!(rounds(ClaimScopes::at_once(set("0-3")), 2), [scope("0-3"), scope("0-3")]);
        let expected = [scope("1"), scope("4"), scope("1")];
        assert_eq!(rounds(ClaimScopes::one_by_one(&set("1,4")), 3), expected);
        let expected = [scope("0-3"), scope("7"), scope("0-3")];
        assert_eq!(rounds(ClaimScopes::in_turn([set("0-3"), set("7")]), 3), expected);
    }
}
