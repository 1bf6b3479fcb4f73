-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_step" (
    "partition_key" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "position" integer NOT NULL,
    "name" text COLLATE "C" NOT NULL,
    "value" bytea NOT NULL,
    "attempt_index" integer NOT NULL,
    "lease_epoch" bigint NOT NULL,
    "recorded_at_ms" bigint NOT NULL,
    PRIMARY KEY ("partition_key", "execution_id", "position")
);

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (9, '0009_steps', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
