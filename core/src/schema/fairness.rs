//! Fairness between the keys of a lane: their weights and their turns.

table! {
    /// One row per lane in which claims were shared between fairness keys.
    fair_lane = "ff_fair_lane" key [lane_id] {
        /// Lane name.
        lane_id: String,
        /// The keys that take part: how far each is ahead, and its weight.
        turns: serde_json::Value,
        /// Grows with every change of the row.
        version: i64,
    }
    indexes []
}

table! {
    /// One row per weight that an operator gave a fairness key in a lane.
    fair_weight = "ff_fair_weight" key [lane_id, fairness_key] {
        /// Lane name.
        lane_id: String,
        /// The key; empty for executions without one.
        fairness_key: String,
        /// The weight of the key, against 1 of a key that has no row.
        weight: i32,
        /// The operator that set it.
        set_by: String,
        /// The time when it was set, Unix ms.
        set_at_ms: i64,
    }
    indexes []
}
