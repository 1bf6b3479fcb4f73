//! Rows that the reference stores in another form, as updates in each dialect.
//!
//! Every statement finds only rows that it has not changed yet.

/// The expressions that differ between databases.
struct Words {
    /// The capabilities of the current execution, as a list.
    capabilities: &'static str,
    /// An empty list of capabilities.
    none: &'static str,
    /// The time until which the current execution is delayed by a retry or an operator.
    delay_until: &'static str,
    /// The attempt timeout of the current execution, by its policy.
    attempt_timeout: &'static str,
    /// True if the current row of `ff_edge` is applied.
    is_applied: &'static str,
    /// True if the row named `edge` is applied.
    is_applied_edge: &'static str,
}

const POSTGRES: Words = Words {
    capabilities: "SELECT array_agg(capability ORDER BY capability)",
    none: "'{}'",
    delay_until: "CASE WHEN raw_fields->>'delay_until' ~ '^[0-9]{1,18}$' \
                  THEN (raw_fields->>'delay_until')::bigint END",
    attempt_timeout: "CASE WHEN policy #>> '{timeout_policy,attempt_timeout_ms}' ~ '^[0-9]{1,18}$' \
                      THEN (policy #>> '{timeout_policy,attempt_timeout_ms}')::bigint END",
    is_applied: "policy->>'edge_state' = 'applied'",
    is_applied_edge: "edge.policy->>'edge_state' = 'applied'",
};

const SQLITE: Words = Words {
    capabilities: "SELECT json_group_array(capability)",
    none: "'[]'",
    delay_until: "CASE WHEN json_valid(raw_fields) \
                  THEN CAST(json_extract(raw_fields, '$.delay_until') AS INTEGER) END",
    attempt_timeout: "CASE WHEN json_valid(policy) \
                      THEN json_extract(policy, '$.timeout_policy.attempt_timeout_ms') END",
    is_applied: "json_extract(policy, '$.edge_state') = 'applied'",
    is_applied_edge: "json_extract(edge.policy, '$.edge_state') = 'applied'",
};

pub(super) fn postgres() -> Vec<String> {
    statements(&POSTGRES)
}

pub(super) fn sqlite() -> Vec<String> {
    statements(&SQLITE)
}

/// Executions that have not ended.
const LIVE: &str = "terminal_at_ms IS NULL AND lifecycle_phase NOT IN ('terminal', 'cancelled')";

fn statements(words: &Words) -> Vec<String> {
    let mut statements = execution_statements(words);
    statements.extend(flow_statements(words));
    statements
}

fn execution_statements(words: &Words) -> Vec<String> {
    let Words { capabilities, none, delay_until, attempt_timeout, .. } = words;
    vec![
        // A claim compares required capabilities in the execution's own row.
        format!(
            "UPDATE ff_exec_core SET required_capabilities = ({capabilities} \
                 FROM ff_execution_capabilities AS kept \
                 WHERE kept.execution_id = ff_exec_core.execution_id) \
             WHERE required_capabilities = {none} AND EXISTS (SELECT 1 \
                 FROM ff_execution_capabilities AS kept \
                 WHERE kept.execution_id = ff_exec_core.execution_id);"
        ),
        "DELETE FROM ff_execution_capabilities WHERE EXISTS (SELECT 1 FROM ff_exec_core AS core \
             WHERE core.execution_id = ff_execution_capabilities.execution_id);"
            .to_owned(),
        // This schema records the current attempt, the reference the next one.
        "UPDATE ff_exec_core SET attempt_index = attempt_index - 1 \
         WHERE 0 < attempt_index AND lifecycle_phase NOT IN ('submitted', 'runnable') \
         AND NOT EXISTS (SELECT 1 FROM ff_attempt AS at \
             WHERE at.partition_key = ff_exec_core.partition_key \
             AND at.execution_id = ff_exec_core.execution_id \
             AND at.attempt_index = ff_exec_core.attempt_index) \
         AND EXISTS (SELECT 1 FROM ff_attempt AS at \
             WHERE at.partition_key = ff_exec_core.partition_key \
             AND at.execution_id = ff_exec_core.execution_id \
             AND at.attempt_index = ff_exec_core.attempt_index - 1);"
            .to_owned(),
        "UPDATE ff_exec_core SET total_attempt_count = (SELECT count(*) FROM ff_attempt AS at \
             WHERE at.partition_key = ff_exec_core.partition_key \
             AND at.execution_id = ff_exec_core.execution_id) \
         WHERE total_attempt_count = 0 AND EXISTS (SELECT 1 FROM ff_attempt AS at \
             WHERE at.partition_key = ff_exec_core.partition_key \
             AND at.execution_id = ff_exec_core.execution_id);"
            .to_owned(),
        // The reference's worker delay overwrote the deadline; its retry wrote the time into
        // `raw_fields`. The first statement takes the latter, so the second finds only rows with a
        // time in the deadline.
        format!(
            "UPDATE ff_exec_core SET eligible_at_ms = {delay_until} \
             WHERE {LIVE} AND eligibility_state = 'not_eligible_until_time' \
             AND eligible_at_ms IS NULL AND {delay_until} IS NOT NULL;"
        ),
        format!(
            "UPDATE ff_exec_core SET eligible_at_ms = deadline_at_ms, deadline_at_ms = NULL \
             WHERE {LIVE} AND eligibility_state = 'not_eligible_until_time' \
             AND eligible_at_ms IS NULL AND deadline_at_ms IS NOT NULL;"
        ),
        format!(
            "UPDATE ff_exec_core SET attempt_timeout_ms = {attempt_timeout} \
             WHERE {LIVE} AND attempt_timeout_ms IS NULL AND policy IS NOT NULL \
             AND {attempt_timeout} IS NOT NULL;"
        ),
        // The times that the reference does not keep, from those that it does.
        "UPDATE ff_exec_core SET claimable_since_ms = \
             CASE eligibility_state WHEN 'eligible_now' THEN created_at_ms ELSE eligible_at_ms END \
         WHERE claimable_since_ms = 0 AND (eligibility_state = 'eligible_now' \
             OR (eligibility_state = 'not_eligible_until_time' AND eligible_at_ms IS NOT NULL));"
            .to_owned(),
        "UPDATE ff_exec_core SET \
             last_changed_at_ms = coalesce(terminal_at_ms, started_at_ms, created_at_ms) \
         WHERE last_changed_at_ms = 0;"
            .to_owned(),
    ]
}

fn flow_statements(words: &Words) -> Vec<String> {
    let Words { is_applied, is_applied_edge, .. } = words;
    vec![
        "UPDATE ff_flow_core SET \
             node_count = (SELECT count(*) FROM ff_exec_core AS core \
                 WHERE core.partition_key = ff_flow_core.partition_key \
                 AND core.flow_id = ff_flow_core.flow_id), \
             edge_count = (SELECT count(*) FROM ff_edge AS edge \
                 WHERE edge.partition_key = ff_flow_core.partition_key \
                 AND edge.flow_id = ff_flow_core.flow_id) \
         WHERE node_count = 0 AND edge_count = 0;"
            .to_owned(),
        format!(
            "UPDATE ff_edge_group SET dependency_count = (SELECT count(*) FROM ff_edge AS edge \
                 WHERE edge.partition_key = ff_edge_group.partition_key \
                 AND edge.flow_id = ff_edge_group.flow_id \
                 AND edge.downstream_eid = ff_edge_group.downstream_eid \
                 AND {is_applied_edge}) \
             WHERE dependency_count = 0;"
        ),
        // An edge remembers the event that its group has counted, so that a replay is counted once.
        format!(
            "UPDATE ff_edge SET upstream_event_id = (SELECT max(ended.event_id) \
                 FROM ff_completion_event AS ended \
                 WHERE ended.partition_key = ff_edge.partition_key \
                 AND ended.execution_id = ff_edge.upstream_eid AND ended.outcome <> 'resumable' \
                 AND ended.dispatched_at_ms IS NOT NULL) \
             WHERE upstream_event_id IS NULL AND {is_applied};"
        ),
        "UPDATE ff_edge SET upstream_outcome = (SELECT ended.outcome \
             FROM ff_completion_event AS ended \
             WHERE ended.partition_key = ff_edge.partition_key \
             AND ended.event_id = ff_edge.upstream_event_id) \
         WHERE upstream_outcome IS NULL AND upstream_event_id IS NOT NULL;"
            .to_owned(),
    ]
}
