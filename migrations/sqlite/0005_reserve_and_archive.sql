-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
ALTER TABLE "ff_worker_registry" ADD COLUMN "swept_at_ms" INTEGER;

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (5, '0005_reserve_and_archive', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
