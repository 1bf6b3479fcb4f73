//! Content that Debug shows by its size alone: payloads, results, frames. Logs and error texts are
//! made of Debug, so they cannot hold any.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// Content by its size.
#[derive(Clone, Copy)]
pub struct Hidden<'a, T: ?Sized>(pub &'a T);

impl Display for Hidden<'_, Vec<u8>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl Display for Hidden<'_, Option<Vec<u8>>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(content) => Hidden(content).fmt(f),
            None => f.write_str("None"),
        }
    }
}

impl Display for Hidden<'_, BTreeMap<String, String>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.0.iter().map(|(name, value)| (name, value.len()));
        f.debug_map().entries(sizes).finish()
    }
}
