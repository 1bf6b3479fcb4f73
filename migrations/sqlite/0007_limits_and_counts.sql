-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_exec_count" (
    "count_id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "lane_id" TEXT NOT NULL,
    "execution_kind" TEXT NOT NULL,
    "public_state" TEXT NOT NULL,
    "failure_class" TEXT NOT NULL,
    "ended_minute" INTEGER NOT NULL,
    "n" INTEGER NOT NULL
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_exec_count_group_idx" ON "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute");

-- statement
DROP TRIGGER IF EXISTS "ff_exec_count_insert";

-- statement
CREATE TRIGGER "ff_exec_count_insert" AFTER INSERT ON "ff_exec_core"
BEGIN
    UPDATE "ff_exec_count" SET "n" = "n" + 1 WHERE "count_id" = (
        SELECT min("count_id") FROM "ff_exec_count" WHERE "lane_id" = "NEW"."lane_id" AND "execution_kind" = COALESCE(CAST(json_extract((CASE WHEN (json_valid("NEW"."raw_fields")) THEN "NEW"."raw_fields" END), '$."execution_kind"') AS TEXT), '') AND "public_state" = "NEW"."public_state" AND "failure_class" = (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE(CAST(json_extract((CASE WHEN (json_valid("NEW"."raw_fields")) THEN "NEW"."raw_fields" END), '$."last_failure_class"') AS TEXT), '') ELSE '' END) AND "ended_minute" = (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE("NEW"."terminal_at_ms", 0) / (60000) ELSE 0 END));
    INSERT INTO "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n")
        SELECT "NEW"."lane_id", COALESCE(CAST(json_extract((CASE WHEN (json_valid("NEW"."raw_fields")) THEN "NEW"."raw_fields" END), '$."execution_kind"') AS TEXT), ''), "NEW"."public_state", (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE(CAST(json_extract((CASE WHEN (json_valid("NEW"."raw_fields")) THEN "NEW"."raw_fields" END), '$."last_failure_class"') AS TEXT), '') ELSE '' END), (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE("NEW"."terminal_at_ms", 0) / (60000) ELSE 0 END), 0 + 1 WHERE changes() = 0;
END;

-- statement
DROP TRIGGER IF EXISTS "ff_exec_count_update";

-- statement
CREATE TRIGGER "ff_exec_count_update" AFTER UPDATE ON "ff_exec_core" WHEN "OLD"."lane_id" IS NOT "NEW"."lane_id" OR "OLD"."public_state" IS NOT "NEW"."public_state" OR (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE("OLD"."terminal_at_ms", 0) / (60000) ELSE 0 END) IS NOT (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE("NEW"."terminal_at_ms", 0) / (60000) ELSE 0 END) OR COALESCE(CAST(json_extract((CASE WHEN (json_valid("OLD"."raw_fields")) THEN "OLD"."raw_fields" END), '$."execution_kind"') AS TEXT), '') IS NOT COALESCE(CAST(json_extract((CASE WHEN (json_valid("NEW"."raw_fields")) THEN "NEW"."raw_fields" END), '$."execution_kind"') AS TEXT), '') OR (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE(CAST(json_extract((CASE WHEN (json_valid("OLD"."raw_fields")) THEN "OLD"."raw_fields" END), '$."last_failure_class"') AS TEXT), '') ELSE '' END) IS NOT (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE(CAST(json_extract((CASE WHEN (json_valid("NEW"."raw_fields")) THEN "NEW"."raw_fields" END), '$."last_failure_class"') AS TEXT), '') ELSE '' END)
BEGIN
    UPDATE "ff_exec_count" SET "n" = "n" - 1 WHERE "count_id" = (
        SELECT min("count_id") FROM "ff_exec_count" WHERE "lane_id" = "OLD"."lane_id" AND "execution_kind" = COALESCE(CAST(json_extract((CASE WHEN (json_valid("OLD"."raw_fields")) THEN "OLD"."raw_fields" END), '$."execution_kind"') AS TEXT), '') AND "public_state" = "OLD"."public_state" AND "failure_class" = (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE(CAST(json_extract((CASE WHEN (json_valid("OLD"."raw_fields")) THEN "OLD"."raw_fields" END), '$."last_failure_class"') AS TEXT), '') ELSE '' END) AND "ended_minute" = (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE("OLD"."terminal_at_ms", 0) / (60000) ELSE 0 END));
    INSERT INTO "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n")
        SELECT "OLD"."lane_id", COALESCE(CAST(json_extract((CASE WHEN (json_valid("OLD"."raw_fields")) THEN "OLD"."raw_fields" END), '$."execution_kind"') AS TEXT), ''), "OLD"."public_state", (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE(CAST(json_extract((CASE WHEN (json_valid("OLD"."raw_fields")) THEN "OLD"."raw_fields" END), '$."last_failure_class"') AS TEXT), '') ELSE '' END), (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE("OLD"."terminal_at_ms", 0) / (60000) ELSE 0 END), 0 - 1 WHERE changes() = 0;
    UPDATE "ff_exec_count" SET "n" = "n" + 1 WHERE "count_id" = (
        SELECT min("count_id") FROM "ff_exec_count" WHERE "lane_id" = "NEW"."lane_id" AND "execution_kind" = COALESCE(CAST(json_extract((CASE WHEN (json_valid("NEW"."raw_fields")) THEN "NEW"."raw_fields" END), '$."execution_kind"') AS TEXT), '') AND "public_state" = "NEW"."public_state" AND "failure_class" = (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE(CAST(json_extract((CASE WHEN (json_valid("NEW"."raw_fields")) THEN "NEW"."raw_fields" END), '$."last_failure_class"') AS TEXT), '') ELSE '' END) AND "ended_minute" = (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE("NEW"."terminal_at_ms", 0) / (60000) ELSE 0 END));
    INSERT INTO "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n")
        SELECT "NEW"."lane_id", COALESCE(CAST(json_extract((CASE WHEN (json_valid("NEW"."raw_fields")) THEN "NEW"."raw_fields" END), '$."execution_kind"') AS TEXT), ''), "NEW"."public_state", (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE(CAST(json_extract((CASE WHEN (json_valid("NEW"."raw_fields")) THEN "NEW"."raw_fields" END), '$."last_failure_class"') AS TEXT), '') ELSE '' END), (CASE WHEN ("NEW"."public_state" = 'failed') THEN COALESCE("NEW"."terminal_at_ms", 0) / (60000) ELSE 0 END), 0 + 1 WHERE changes() = 0;
END;

-- statement
DROP TRIGGER IF EXISTS "ff_exec_count_delete";

-- statement
CREATE TRIGGER "ff_exec_count_delete" AFTER DELETE ON "ff_exec_core"
BEGIN
    UPDATE "ff_exec_count" SET "n" = "n" - 1 WHERE "count_id" = (
        SELECT min("count_id") FROM "ff_exec_count" WHERE "lane_id" = "OLD"."lane_id" AND "execution_kind" = COALESCE(CAST(json_extract((CASE WHEN (json_valid("OLD"."raw_fields")) THEN "OLD"."raw_fields" END), '$."execution_kind"') AS TEXT), '') AND "public_state" = "OLD"."public_state" AND "failure_class" = (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE(CAST(json_extract((CASE WHEN (json_valid("OLD"."raw_fields")) THEN "OLD"."raw_fields" END), '$."last_failure_class"') AS TEXT), '') ELSE '' END) AND "ended_minute" = (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE("OLD"."terminal_at_ms", 0) / (60000) ELSE 0 END));
    INSERT INTO "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n")
        SELECT "OLD"."lane_id", COALESCE(CAST(json_extract((CASE WHEN (json_valid("OLD"."raw_fields")) THEN "OLD"."raw_fields" END), '$."execution_kind"') AS TEXT), ''), "OLD"."public_state", (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE(CAST(json_extract((CASE WHEN (json_valid("OLD"."raw_fields")) THEN "OLD"."raw_fields" END), '$."last_failure_class"') AS TEXT), '') ELSE '' END), (CASE WHEN ("OLD"."public_state" = 'failed') THEN COALESCE("OLD"."terminal_at_ms", 0) / (60000) ELSE 0 END), 0 - 1 WHERE changes() = 0;
END;

-- statement
DELETE FROM "ff_exec_count";

-- statement
INSERT INTO "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n")
    SELECT "lane_id" AS "lane_id", COALESCE(CAST(json_extract((CASE WHEN (json_valid("raw_fields")) THEN "raw_fields" END), '$."execution_kind"') AS TEXT), '') AS "execution_kind", "public_state" AS "public_state", (CASE WHEN ("public_state" = 'failed') THEN COALESCE(CAST(json_extract((CASE WHEN (json_valid("raw_fields")) THEN "raw_fields" END), '$."last_failure_class"') AS TEXT), '') ELSE '' END) AS "failure_class", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("terminal_at_ms", 0) / (60000) ELSE 0 END) AS "ended_minute", count(*) FROM "ff_exec_core" GROUP BY 1, 2, 3, 4, 5;

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit" (
    "partition_key" INTEGER NOT NULL,
    "limit_key" TEXT NOT NULL,
    "max_running" INTEGER,
    "rate_count" INTEGER,
    "rate_per_ms" INTEGER,
    "rate_burst" INTEGER,
    "set_by" TEXT NOT NULL,
    "set_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("limit_key", "partition_key")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit_cell" (
    "partition_key" INTEGER NOT NULL,
    "limit_key" TEXT NOT NULL,
    "rate" TEXT NOT NULL,
    "cell" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "expires_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("limit_key", "rate", "cell", "partition_key")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_limit_cell_expires_idx" ON "ff_limit_cell" ("expires_at_ms", "limit_key", "rate", "cell");

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit_permit" (
    "partition_key" INTEGER NOT NULL,
    "limit_key" TEXT NOT NULL,
    "permit" INTEGER NOT NULL,
    "execution_partition" INTEGER NOT NULL,
    "execution_id" BLOB NOT NULL,
    "taken_at_ms" INTEGER NOT NULL,
    PRIMARY KEY ("limit_key", "permit", "partition_key")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_limit_permit_execution_idx" ON "ff_limit_permit" ("execution_partition", "execution_id");

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (7, '0007_limits_and_counts', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
