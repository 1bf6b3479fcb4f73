//! Fairness: the keys of a lane that wait take turns, by their weights.
//!
//! A claim of a lane with fairness keys lists the best executions of each key, and takes what the
//! turns of the lane say ([`turns`]): of n claims in a row, a key of weight w that always waits
//! gets at least the part w / Σw of n, rounded down, less one. The turns are one row per lane
//! ([`lane`]). Each claim changes it, guarded by its version, before it takes what it chose.
//!
//! ```
//! use ff_core::rules::fairness::turns::{Round, Turns, Waiting};
//!
//! let waiting = |weight| Waiting { listed: 8, has_more: false, weight };
//! let waiting = [("big".to_owned(), waiting(3)), ("small".to_owned(), waiting(1))];
//! let starts: Vec<_> = Round::new(&Turns::default(), &waiting.into()).take(8).collect();
//! assert_eq!(starts.iter().filter(|key| *key == "big").count(), 6);
//! ```

pub mod lane;
pub mod turns;
pub mod weight;
