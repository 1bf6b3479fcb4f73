//! A cache by shape: each shape is rendered once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::RandomState;

/// Values by shape, each made on first use. Shapes are a closed set, so the cache is bounded, and a
/// fast hash will do: no caller chooses a shape.
#[derive(Debug)]
pub struct ByShape<K, V>(RwLock<HashMap<K, Arc<V>, RandomState>>);

impl<K, V> Default for ByShape<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Eq + Hash, V> ByShape<K, V> {
    /// The value of the shape.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn find<E>(&self, shape: K, make: impl FnOnce(&K) -> Result<V, E>) -> Result<Arc<V>, E> {
        // Entries are inserted whole, so a panic elsewhere leaves a valid map.
        if let Some(found) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&shape) {
            return Ok(Arc::clone(found));
        }

        // Made outside the lock: two callers may make one value, and the first is kept.
        let made = Arc::new(make(&shape)?);
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(map.entry(shape).or_insert(made)))
    }
}
