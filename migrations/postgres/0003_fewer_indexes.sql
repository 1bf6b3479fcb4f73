-- Written by ff-codegen from a change of the tables in core/src/schema, but for the order of the
-- columns, which it says nothing about. Do not edit: a migration stays as it was written.

-- statement
-- Postgres logs what lies between the first and the last changed byte of a row. So in a table that
-- has no rows yet, the columns that a claim or an end changes move behind those that never change.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM "ff_attempt") THEN
        ALTER TABLE "ff_attempt"
            DROP COLUMN "worker_instance_id",
            DROP COLUMN "lease_expires_at_ms",
            DROP COLUMN "terminal_at_ms",
            DROP COLUMN "outcome",
            DROP COLUMN "timeout_at_ms",
            DROP COLUMN "failure_message",
            DROP COLUMN "failure_class",
            ADD COLUMN "worker_instance_id" text COLLATE "C",
            ADD COLUMN "lease_expires_at_ms" bigint,
            ADD COLUMN "terminal_at_ms" bigint,
            ADD COLUMN "outcome" text COLLATE "C",
            ADD COLUMN "timeout_at_ms" bigint,
            ADD COLUMN "failure_message" text COLLATE "C",
            ADD COLUMN "failure_class" text COLLATE "C";
    END IF;
END $$;

-- statement
CREATE INDEX IF NOT EXISTS "ff_attempt_lease_expiry_idx" ON "ff_attempt" ("lease_expires_at_ms")
    WHERE "ff_attempt"."lease_expires_at_ms" IS NOT NULL;

-- statement
CREATE INDEX IF NOT EXISTS "ff_attempt_timeout_idx" ON "ff_attempt" ("timeout_at_ms")
    WHERE "ff_attempt"."timeout_at_ms" IS NOT NULL;

-- statement
ALTER TABLE "ff_attempt" SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0.02);

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
DO $$ BEGIN
    -- Without flags yet: this statement may be repeated after a kill.
    IF NOT EXISTS (SELECT FROM "ff_exec_core") AND NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'ff_exec_core'::regclass AND attname = 'is_claimable'
    ) THEN
        ALTER TABLE "ff_exec_core"
            DROP COLUMN "lifecycle_phase",
            DROP COLUMN "ownership_state",
            DROP COLUMN "eligibility_state",
            DROP COLUMN "public_state",
            DROP COLUMN "attempt_state",
            DROP COLUMN "blocking_reason",
            DROP COLUMN "version",
            DROP COLUMN "last_changed_at_ms",
            DROP COLUMN "started_at_ms",
            DROP COLUMN "total_attempt_count",
            DROP COLUMN "terminal_at_ms",
            DROP COLUMN "result",
            DROP COLUMN "raw_fields",
            ADD COLUMN "lifecycle_phase" text COLLATE "C" NOT NULL,
            ADD COLUMN "ownership_state" text COLLATE "C" NOT NULL,
            ADD COLUMN "eligibility_state" text COLLATE "C" NOT NULL,
            ADD COLUMN "public_state" text COLLATE "C" NOT NULL,
            ADD COLUMN "attempt_state" text COLLATE "C" NOT NULL,
            ADD COLUMN "blocking_reason" text COLLATE "C",
            ADD COLUMN "version" bigint NOT NULL DEFAULT 0,
            ADD COLUMN "last_changed_at_ms" bigint NOT NULL DEFAULT 0,
            ADD COLUMN "started_at_ms" bigint,
            ADD COLUMN "total_attempt_count" integer NOT NULL DEFAULT 0,
            ADD COLUMN "terminal_at_ms" bigint,
            ADD COLUMN "result" bytea,
            ADD COLUMN "raw_fields" jsonb NOT NULL DEFAULT '{}';
    END IF;
END $$;

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
ALTER TABLE "ff_exec_core" SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0.02);

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
