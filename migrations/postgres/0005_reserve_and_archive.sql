-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
ALTER TABLE "ff_worker_registry"
    ADD COLUMN IF NOT EXISTS "swept_at_ms" bigint;

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (5, '0005_reserve_and_archive', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
