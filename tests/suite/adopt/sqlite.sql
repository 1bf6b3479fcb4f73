-- The tables of FlowFabric 0.15 on SQLite, as its databases have them after all of its migrations.

CREATE TABLE ff_waitpoint_hmac (
    kid TEXT NOT NULL,
    secret BLOB NOT NULL,
    rotated_at_ms INTEGER NOT NULL,
    active INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (kid)
);

CREATE TABLE ff_lane_registry (
    lane_id TEXT NOT NULL,
    registered_at_ms INTEGER NOT NULL,
    registered_by TEXT NOT NULL,
    PRIMARY KEY (lane_id)
);

CREATE TABLE ff_partition_config (
    singleton_lock INTEGER NOT NULL DEFAULT 1,
    num_flow_partitions INTEGER NOT NULL,
    num_budget_partitions INTEGER NOT NULL,
    num_quota_partitions INTEGER NOT NULL,
    ff_version TEXT NOT NULL,
    PRIMARY KEY (singleton_lock),
    CHECK (singleton_lock = 1)
);

CREATE TABLE ff_migration_annotation (
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    applied_at_ms INTEGER NOT NULL,
    backward_compatible INTEGER NOT NULL,
    PRIMARY KEY (version)
);

CREATE TABLE ff_exec_core (
    partition_key INTEGER NOT NULL,
    execution_id BLOB NOT NULL,
    flow_id BLOB,
    lane_id TEXT NOT NULL,
    attempt_index INTEGER NOT NULL DEFAULT 0,
    lifecycle_phase TEXT NOT NULL,
    ownership_state TEXT NOT NULL,
    eligibility_state TEXT NOT NULL,
    public_state TEXT NOT NULL,
    attempt_state TEXT NOT NULL,
    blocking_reason TEXT,
    cancellation_reason TEXT,
    cancelled_by TEXT,
    priority INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL,
    terminal_at_ms INTEGER,
    deadline_at_ms INTEGER,
    payload BLOB,
    result BLOB,
    policy TEXT,
    raw_fields TEXT NOT NULL DEFAULT '{}',
    started_at_ms INTEGER,
    lease_reclaim_count INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (partition_key, execution_id)
);
CREATE INDEX ff_exec_core_deadline_idx ON ff_exec_core (partition_key, deadline_at_ms) WHERE deadline_at_ms IS NOT NULL;
CREATE INDEX ff_exec_core_flow_idx ON ff_exec_core (partition_key, flow_id) WHERE flow_id IS NOT NULL;
CREATE INDEX ff_exec_core_lane_phase_idx ON ff_exec_core (partition_key, lane_id, lifecycle_phase);

CREATE TABLE ff_execution_capabilities (
    execution_id BLOB NOT NULL,
    capability TEXT NOT NULL,
    PRIMARY KEY (execution_id, capability)
) WITHOUT ROWID;
CREATE INDEX ff_execution_capabilities_capability_idx ON ff_execution_capabilities (capability, execution_id);

CREATE TABLE ff_flow_core (
    partition_key INTEGER NOT NULL,
    flow_id BLOB NOT NULL,
    graph_revision INTEGER NOT NULL DEFAULT 0,
    public_flow_state TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    terminal_at_ms INTEGER,
    raw_fields TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (partition_key, flow_id)
);

CREATE TABLE ff_attempt (
    partition_key INTEGER NOT NULL,
    execution_id BLOB NOT NULL,
    attempt_index INTEGER NOT NULL,
    worker_id TEXT,
    worker_instance_id TEXT,
    lease_epoch INTEGER NOT NULL DEFAULT 0,
    lease_expires_at_ms INTEGER,
    started_at_ms INTEGER,
    terminal_at_ms INTEGER,
    outcome TEXT,
    usage TEXT,
    policy TEXT,
    raw_fields TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (partition_key, execution_id, attempt_index)
);
CREATE INDEX ff_attempt_lease_expiry_idx ON ff_attempt (partition_key, lease_expires_at_ms) WHERE lease_expires_at_ms IS NOT NULL;
CREATE INDEX ff_attempt_worker_idx ON ff_attempt (partition_key, worker_id) WHERE worker_id IS NOT NULL;

CREATE TABLE ff_edge (
    partition_key INTEGER NOT NULL,
    flow_id BLOB NOT NULL,
    edge_id BLOB NOT NULL,
    upstream_eid BLOB NOT NULL,
    downstream_eid BLOB NOT NULL,
    policy TEXT NOT NULL,
    policy_version INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (partition_key, flow_id, edge_id)
);
CREATE INDEX ff_edge_downstream_idx ON ff_edge (partition_key, flow_id, downstream_eid);
CREATE INDEX ff_edge_upstream_idx ON ff_edge (partition_key, flow_id, upstream_eid);

CREATE TABLE ff_edge_group (
    partition_key INTEGER NOT NULL,
    flow_id BLOB NOT NULL,
    downstream_eid BLOB NOT NULL,
    policy TEXT NOT NULL,
    k_target INTEGER NOT NULL DEFAULT 0,
    success_count INTEGER NOT NULL DEFAULT 0,
    fail_count INTEGER NOT NULL DEFAULT 0,
    skip_count INTEGER NOT NULL DEFAULT 0,
    running_count INTEGER NOT NULL DEFAULT 0,
    cancel_siblings_pending_flag INTEGER NOT NULL DEFAULT 0,
    cancel_siblings_pending_members TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (partition_key, flow_id, downstream_eid)
);

CREATE TABLE ff_pending_cancel_groups (
    partition_key INTEGER NOT NULL,
    flow_id BLOB NOT NULL,
    downstream_eid BLOB NOT NULL,
    enqueued_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition_key, flow_id, downstream_eid)
);
CREATE INDEX ff_pending_cancel_groups_enqueued_idx ON ff_pending_cancel_groups (partition_key, enqueued_at_ms);

CREATE TABLE ff_cancel_dispatch_outbox (
    partition_key INTEGER NOT NULL,
    flow_id BLOB NOT NULL,
    downstream_eid BLOB NOT NULL,
    target_exec_id BLOB NOT NULL,
    reason TEXT NOT NULL,
    enqueued_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition_key, flow_id, downstream_eid, target_exec_id)
);
CREATE INDEX ff_cancel_dispatch_outbox_enqueued_idx ON ff_cancel_dispatch_outbox (partition_key, enqueued_at_ms);

CREATE TABLE ff_suspension_current (
    partition_key INTEGER NOT NULL,
    execution_id BLOB NOT NULL,
    suspension_id BLOB NOT NULL,
    suspended_at_ms INTEGER NOT NULL,
    timeout_at_ms INTEGER,
    reason_code TEXT,
    condition TEXT NOT NULL,
    satisfied_set TEXT NOT NULL DEFAULT '[]',
    member_map TEXT NOT NULL DEFAULT '{}',
    timeout_behavior TEXT,
    PRIMARY KEY (partition_key, execution_id)
);
CREATE INDEX ff_suspension_current_suspended_at_idx ON ff_suspension_current (partition_key, suspended_at_ms);
CREATE INDEX ff_suspension_current_timeout_idx ON ff_suspension_current (partition_key, timeout_at_ms) WHERE timeout_at_ms IS NOT NULL;

CREATE TABLE ff_waitpoint_pending (
    partition_key INTEGER NOT NULL,
    waitpoint_id BLOB NOT NULL,
    execution_id BLOB NOT NULL,
    token_kid TEXT NOT NULL,
    token TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    condition TEXT,
    waitpoint_key TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL DEFAULT 'pending',
    required_signal_names TEXT NOT NULL DEFAULT '[]',
    activated_at_ms INTEGER,
    PRIMARY KEY (partition_key, waitpoint_id)
);
CREATE INDEX ff_waitpoint_pending_exec_idx ON ff_waitpoint_pending (partition_key, execution_id);
CREATE INDEX ff_waitpoint_pending_expires_idx ON ff_waitpoint_pending (partition_key, expires_at_ms) WHERE expires_at_ms IS NOT NULL;

CREATE TABLE ff_stream_frame (
    partition_key INTEGER NOT NULL,
    execution_id BLOB NOT NULL,
    attempt_index INTEGER NOT NULL,
    ts_ms INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    fields TEXT NOT NULL,
    mode TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition_key, execution_id, attempt_index, ts_ms, seq)
);

CREATE TABLE ff_stream_summary (
    partition_key INTEGER NOT NULL,
    execution_id BLOB NOT NULL,
    attempt_index INTEGER NOT NULL,
    document_json TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    patch_kind TEXT,
    last_updated_ms INTEGER NOT NULL,
    first_applied_ms INTEGER NOT NULL,
    PRIMARY KEY (partition_key, execution_id, attempt_index)
);

CREATE TABLE ff_stream_meta (
    partition_key INTEGER NOT NULL,
    execution_id BLOB NOT NULL,
    attempt_index INTEGER NOT NULL,
    ema_rate_hz REAL NOT NULL DEFAULT 0,
    last_append_ts_ms INTEGER NOT NULL DEFAULT 0,
    maxlen_applied_last INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (partition_key, execution_id, attempt_index)
);

CREATE TABLE ff_completion_event (
    partition_key INTEGER NOT NULL,
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id BLOB NOT NULL,
    flow_id BLOB,
    outcome TEXT NOT NULL,
    namespace TEXT,
    instance_tag TEXT,
    occurred_at_ms INTEGER NOT NULL,
    committed_at_ms INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    dispatched_at_ms INTEGER
);
CREATE INDEX ff_completion_event_lookup_idx ON ff_completion_event (partition_key, execution_id, occurred_at_ms);
CREATE UNIQUE INDEX ff_completion_event_partition_event_idx ON ff_completion_event (partition_key, event_id);
CREATE INDEX ff_completion_event_pending_dispatch_idx ON ff_completion_event (partition_key, committed_at_ms) WHERE dispatched_at_ms IS NULL;

CREATE TABLE ff_lease_event (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL,
    lease_id TEXT,
    event_type TEXT NOT NULL,
    occurred_at_ms INTEGER NOT NULL,
    partition_key INTEGER NOT NULL,
    namespace TEXT,
    instance_tag TEXT
);
CREATE INDEX ff_lease_event_instance_tag_idx ON ff_lease_event (partition_key, instance_tag) WHERE instance_tag IS NOT NULL;
CREATE INDEX ff_lease_event_namespace_idx ON ff_lease_event (partition_key, namespace) WHERE namespace IS NOT NULL;
CREATE INDEX ff_lease_event_partition_key_idx ON ff_lease_event (partition_key, event_id);

CREATE TABLE ff_signal_event (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL,
    signal_id TEXT NOT NULL,
    waitpoint_id TEXT,
    source_identity TEXT,
    delivered_at_ms INTEGER NOT NULL,
    partition_key INTEGER NOT NULL,
    namespace TEXT,
    instance_tag TEXT
);
CREATE INDEX ff_signal_event_instance_tag_idx ON ff_signal_event (partition_key, instance_tag) WHERE instance_tag IS NOT NULL;
CREATE INDEX ff_signal_event_namespace_idx ON ff_signal_event (partition_key, namespace) WHERE namespace IS NOT NULL;
CREATE INDEX ff_signal_event_partition_key_idx ON ff_signal_event (partition_key, event_id);

CREATE TABLE ff_operator_event (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    details TEXT,
    occurred_at_ms INTEGER NOT NULL,
    partition_key INTEGER NOT NULL,
    namespace TEXT,
    instance_tag TEXT,
    CHECK (event_type IN ('priority_changed', 'replayed', 'flow_cancel_requested'))
);
CREATE INDEX ff_operator_event_instance_tag_idx ON ff_operator_event (partition_key, instance_tag) WHERE instance_tag IS NOT NULL;
CREATE INDEX ff_operator_event_namespace_idx ON ff_operator_event (partition_key, namespace) WHERE namespace IS NOT NULL;
CREATE INDEX ff_operator_event_partition_key_idx ON ff_operator_event (partition_key, event_id);

CREATE TABLE ff_suspend_dedup (
    partition_key INTEGER NOT NULL,
    idempotency_key TEXT NOT NULL,
    outcome_json TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition_key, idempotency_key)
);

CREATE TABLE ff_budget_policy (
    partition_key INTEGER NOT NULL,
    budget_id TEXT NOT NULL,
    policy_json TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    scope_type TEXT NOT NULL DEFAULT '',
    scope_id TEXT NOT NULL DEFAULT '',
    enforcement_mode TEXT NOT NULL DEFAULT '',
    breach_count INTEGER NOT NULL DEFAULT 0,
    soft_breach_count INTEGER NOT NULL DEFAULT 0,
    last_breach_at_ms INTEGER,
    last_breach_dim TEXT,
    next_reset_at_ms INTEGER,
    PRIMARY KEY (partition_key, budget_id)
);
CREATE INDEX ff_budget_policy_reset_due_idx ON ff_budget_policy (partition_key, next_reset_at_ms) WHERE next_reset_at_ms IS NOT NULL;

CREATE TABLE ff_budget_usage (
    partition_key INTEGER NOT NULL,
    budget_id TEXT NOT NULL,
    dimensions_key TEXT NOT NULL,
    current_value INTEGER NOT NULL DEFAULT 0,
    last_reset_at_ms INTEGER,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition_key, budget_id, dimensions_key)
);

CREATE TABLE ff_budget_usage_dedup (
    partition_key INTEGER NOT NULL,
    dedup_key TEXT NOT NULL,
    outcome_json TEXT NOT NULL,
    applied_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition_key, dedup_key)
);
CREATE INDEX ff_budget_usage_dedup_expires_idx ON ff_budget_usage_dedup (partition_key, expires_at_ms);

CREATE TABLE ff_budget_usage_by_exec (
    partition_key INTEGER NOT NULL,
    budget_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    dimensions_key TEXT NOT NULL,
    delta_total INTEGER NOT NULL DEFAULT 0,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition_key, budget_id, execution_id, dimensions_key)
);
CREATE INDEX ff_budget_usage_by_exec_release_idx ON ff_budget_usage_by_exec (partition_key, budget_id, execution_id);

CREATE TABLE ff_quota_policy (
    partition_key INTEGER NOT NULL,
    quota_policy_id TEXT NOT NULL,
    requests_per_window_seconds INTEGER NOT NULL,
    max_requests_per_window INTEGER NOT NULL,
    active_concurrency_cap INTEGER NOT NULL,
    active_concurrency INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition_key, quota_policy_id)
);

CREATE TABLE ff_quota_window (
    partition_key INTEGER NOT NULL,
    quota_policy_id TEXT NOT NULL,
    dimension TEXT NOT NULL DEFAULT '',
    admitted_at_ms INTEGER NOT NULL,
    execution_id TEXT NOT NULL,
    PRIMARY KEY (partition_key, quota_policy_id, dimension, admitted_at_ms, execution_id)
);

CREATE TABLE ff_quota_admitted (
    partition_key INTEGER NOT NULL,
    quota_policy_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    admitted_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition_key, quota_policy_id, execution_id)
);
CREATE INDEX ff_quota_admitted_expires_idx ON ff_quota_admitted (partition_key, expires_at_ms);

CREATE TABLE ff_cancel_backlog (
    partition_key INTEGER NOT NULL,
    flow_id BLOB NOT NULL,
    requested_at_ms INTEGER NOT NULL,
    requester TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    grace_until_ms INTEGER,
    cancellation_policy TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    PRIMARY KEY (partition_key, flow_id)
);
CREATE INDEX ff_cancel_backlog_grace_idx ON ff_cancel_backlog (partition_key, grace_until_ms) WHERE grace_until_ms IS NOT NULL;

CREATE TABLE ff_cancel_backlog_member (
    partition_key INTEGER NOT NULL,
    flow_id BLOB NOT NULL,
    execution_id TEXT NOT NULL,
    PRIMARY KEY (partition_key, flow_id, execution_id)
);

CREATE TABLE ff_claim_grant (
    partition_key INTEGER NOT NULL,
    grant_id BLOB NOT NULL,
    execution_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    worker_id TEXT NOT NULL,
    worker_instance_id TEXT NOT NULL,
    lane_id TEXT,
    capability_hash TEXT,
    worker_capabilities TEXT NOT NULL DEFAULT '[]',
    route_snapshot_json TEXT,
    admission_summary TEXT,
    grant_ttl_ms INTEGER NOT NULL,
    issued_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition_key, grant_id),
    CHECK (kind IN ('claim', 'reclaim'))
);
CREATE INDEX ff_claim_grant_execution_idx ON ff_claim_grant (partition_key, execution_id);
CREATE INDEX ff_claim_grant_expiry_idx ON ff_claim_grant (expires_at_ms);

CREATE TABLE ff_worker_registry (
    namespace TEXT NOT NULL,
    worker_instance_id TEXT NOT NULL,
    worker_id TEXT NOT NULL,
    lanes TEXT NOT NULL,
    capabilities_csv TEXT NOT NULL,
    last_heartbeat_ms INTEGER NOT NULL,
    liveness_ttl_ms INTEGER NOT NULL,
    registered_at_ms INTEGER NOT NULL,
    PRIMARY KEY (namespace, worker_instance_id)
);
CREATE INDEX ff_worker_registry_ns_inst_idx ON ff_worker_registry (namespace, worker_instance_id);

CREATE TABLE ff_worker_registry_event (
    namespace TEXT NOT NULL,
    worker_instance_id TEXT NOT NULL,
    event_kind TEXT NOT NULL,
    event_at_ms INTEGER NOT NULL,
    reason TEXT,
    PRIMARY KEY (namespace, worker_instance_id, event_at_ms, event_kind)
);

CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    VALUES (1, 'genesis', TRUE, '', 1), (22, 'worker registry event key', TRUE, '', 1);
INSERT INTO ff_partition_config VALUES (1, 1, 1, 1, '0.12.0');
INSERT INTO ff_migration_annotation VALUES (1, '0001_genesis', 1700000000000, 0);
