-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
ALTER TABLE "ff_attempt" SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0.02);

-- statement
DROP INDEX IF EXISTS "ff_completion_event_event_id_idx";

-- statement
ALTER TABLE "ff_completion_event"
    DROP CONSTRAINT IF EXISTS "ff_completion_event_pkey",
    ADD CONSTRAINT "ff_completion_event_pkey" PRIMARY KEY ("event_id", "partition_key");

-- statement
DROP INDEX IF EXISTS "ff_exec_core_claim_idx";

-- statement
DROP INDEX IF EXISTS "ff_exec_core_deadline_idx";

-- statement
DROP INDEX IF EXISTS "ff_exec_core_delayed_idx";

-- statement
DROP INDEX IF EXISTS "ff_exec_core_due_idx";

-- statement
DROP INDEX IF EXISTS "ff_exec_core_flow_badly_ended_idx";

-- statement
DROP INDEX IF EXISTS "ff_exec_core_flow_unfinished_idx";

-- statement
ALTER TABLE "ff_exec_core"
    ADD COLUMN IF NOT EXISTS "is_claimable" boolean GENERATED ALWAYS AS ((CASE WHEN ("lifecycle_phase" IN ('submitted', 'runnable', 'pending', 'eligible', 'blocked') AND "eligibility_state" IN ('eligible_now', 'pending_claim')) THEN TRUE END)) STORED,
    ADD COLUMN IF NOT EXISTS "is_delayed" boolean GENERATED ALWAYS AS ((CASE WHEN ("lifecycle_phase" IN ('runnable', 'pending', 'eligible', 'blocked') AND "eligibility_state" = 'not_eligible_until_time') THEN TRUE END)) STORED,
    ADD COLUMN IF NOT EXISTS "has_live_deadline" boolean GENERATED ALWAYS AS ((CASE WHEN ("deadline_at_ms" IS NOT NULL AND "terminal_at_ms" IS NULL) THEN TRUE END)) STORED,
    ADD COLUMN IF NOT EXISTS "is_unfinished_member" boolean GENERATED ALWAYS AS ((CASE WHEN ("flow_id" IS NOT NULL AND "lifecycle_phase" NOT IN ('terminal', 'cancelled')) THEN TRUE END)) STORED,
    ADD COLUMN IF NOT EXISTS "is_badly_ended_member" boolean GENERATED ALWAYS AS ((CASE WHEN ("flow_id" IS NOT NULL AND "public_state" IN ('failed', 'cancelled', 'expired')) THEN TRUE END)) STORED;

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_claim_idx" ON "ff_exec_core" ("lane_id", ((CASE WHEN (cardinality("required_capabilities") = (0)) THEN CAST('' AS bytea) ELSE sha256(CAST(replace(CAST(jsonb_object(array_replace("required_capabilities", NULL, ''), "required_capabilities") AS text), chr(92), repeat(chr(92), 2)) AS bytea)) END)), "priority" DESC, "claimable_since_ms", "created_at_ms", "execution_id")
    WHERE "ff_exec_core"."is_claimable" IS NOT NULL;

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_deadline_idx" ON "ff_exec_core" ("deadline_at_ms")
    WHERE "ff_exec_core"."has_live_deadline" IS NOT NULL;

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_delayed_idx" ON "ff_exec_core" ("eligible_at_ms")
    WHERE "ff_exec_core"."is_delayed" IS NOT NULL;

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_due_idx" ON "ff_exec_core" ("lane_id", ((CASE WHEN (cardinality("required_capabilities") = (0)) THEN CAST('' AS bytea) ELSE sha256(CAST(replace(CAST(jsonb_object(array_replace("required_capabilities", NULL, ''), "required_capabilities") AS text), chr(92), repeat(chr(92), 2)) AS bytea)) END)), "eligible_at_ms", "execution_id")
    WHERE "ff_exec_core"."is_delayed" IS NOT NULL;

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_flow_badly_ended_idx" ON "ff_exec_core" ("partition_key", "flow_id", "execution_id")
    WHERE "ff_exec_core"."is_badly_ended_member" IS NOT NULL;

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_core_flow_unfinished_idx" ON "ff_exec_core" ("partition_key", "flow_id", "execution_id")
    WHERE "ff_exec_core"."is_unfinished_member" IS NOT NULL;

-- statement
ALTER TABLE "ff_exec_core" SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0.02);

-- statement
DROP INDEX IF EXISTS "ff_instance_tag_event_event_id_idx";

-- statement
ALTER TABLE "ff_instance_tag_event"
    DROP CONSTRAINT IF EXISTS "ff_instance_tag_event_pkey",
    ADD CONSTRAINT "ff_instance_tag_event_pkey" PRIMARY KEY ("event_id", "partition_key");

-- statement
DROP INDEX IF EXISTS "ff_lease_event_event_id_idx";

-- statement
ALTER TABLE "ff_lease_event"
    DROP CONSTRAINT IF EXISTS "ff_lease_event_pkey",
    ADD CONSTRAINT "ff_lease_event_pkey" PRIMARY KEY ("event_id", "partition_key");

-- statement
DROP INDEX IF EXISTS "ff_operator_event_event_id_idx";

-- statement
ALTER TABLE "ff_operator_event"
    DROP CONSTRAINT IF EXISTS "ff_operator_event_pkey",
    ADD CONSTRAINT "ff_operator_event_pkey" PRIMARY KEY ("event_id", "partition_key");

-- statement
DROP INDEX IF EXISTS "ff_signal_event_event_id_idx";

-- statement
ALTER TABLE "ff_signal_event"
    DROP CONSTRAINT IF EXISTS "ff_signal_event_pkey",
    ADD CONSTRAINT "ff_signal_event_pkey" PRIMARY KEY ("event_id", "partition_key");

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (3, '0003_fewer_indexes', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
