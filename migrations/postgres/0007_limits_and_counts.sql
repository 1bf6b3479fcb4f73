-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a migration
-- stays as it was written.

-- statement
CREATE TABLE IF NOT EXISTS "ff_exec_count" (
    "count_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    "lane_id" text COLLATE "C" NOT NULL,
    "execution_kind" text COLLATE "C" NOT NULL,
    "public_state" text COLLATE "C" NOT NULL,
    "failure_class" text COLLATE "C" NOT NULL,
    "ended_minute" bigint NOT NULL,
    "n" bigint NOT NULL,
    PRIMARY KEY ("count_id")
);

-- statement
ALTER TABLE "ff_exec_count" SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0.02);

-- statement
DO $do$ BEGIN EXECUTE format($create$
CREATE OR REPLACE FUNCTION %1$I."ff_exec_count_keep"() RETURNS trigger LANGUAGE plpgsql AS $keep$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO %1$I."ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n")
        SELECT "lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", sum("n") FROM (
            SELECT "lane_id" AS "lane_id", COALESCE("raw_fields" ->> 'execution_kind', '') AS "execution_kind", "public_state" AS "public_state", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("raw_fields" ->> 'last_failure_class', '') ELSE '' END) AS "failure_class", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("terminal_at_ms", 0) / (60000) ELSE 0 END) AS "ended_minute", -1 AS "n" FROM was
            UNION ALL SELECT "lane_id" AS "lane_id", COALESCE("raw_fields" ->> 'execution_kind', '') AS "execution_kind", "public_state" AS "public_state", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("raw_fields" ->> 'last_failure_class', '') ELSE '' END) AS "failure_class", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("terminal_at_ms", 0) / (60000) ELSE 0 END) AS "ended_minute", 1 AS "n" FROM becomes
        ) AS changed GROUP BY "lane_id", "execution_kind", "public_state", "failure_class", "ended_minute" HAVING sum("n") <> 0;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO %1$I."ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n")
        SELECT "lane_id" AS "lane_id", COALESCE("raw_fields" ->> 'execution_kind', '') AS "execution_kind", "public_state" AS "public_state", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("raw_fields" ->> 'last_failure_class', '') ELSE '' END) AS "failure_class", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("terminal_at_ms", 0) / (60000) ELSE 0 END) AS "ended_minute", count(*) FROM becomes GROUP BY 1, 2, 3, 4, 5;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO %1$I."ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n")
        SELECT "lane_id" AS "lane_id", COALESCE("raw_fields" ->> 'execution_kind', '') AS "execution_kind", "public_state" AS "public_state", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("raw_fields" ->> 'last_failure_class', '') ELSE '' END) AS "failure_class", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("terminal_at_ms", 0) / (60000) ELSE 0 END) AS "ended_minute", -count(*) FROM was GROUP BY 1, 2, 3, 4, 5;
    ELSE
        DELETE FROM %1$I."ff_exec_count";
    END IF;
    RETURN NULL;
END
$keep$ $create$, current_schema()); END $do$;

-- statement
CREATE OR REPLACE TRIGGER "ff_exec_count_insert" AFTER INSERT ON "ff_exec_core" REFERENCING NEW TABLE AS becomes
    FOR EACH STATEMENT EXECUTE FUNCTION "ff_exec_count_keep"();
CREATE OR REPLACE TRIGGER "ff_exec_count_update" AFTER UPDATE ON "ff_exec_core" REFERENCING OLD TABLE AS was NEW TABLE AS becomes
    FOR EACH STATEMENT EXECUTE FUNCTION "ff_exec_count_keep"();
CREATE OR REPLACE TRIGGER "ff_exec_count_delete" AFTER DELETE ON "ff_exec_core" REFERENCING OLD TABLE AS was
    FOR EACH STATEMENT EXECUTE FUNCTION "ff_exec_count_keep"();
CREATE OR REPLACE TRIGGER "ff_exec_count_truncate" AFTER TRUNCATE ON "ff_exec_core"
    FOR EACH STATEMENT EXECUTE FUNCTION "ff_exec_count_keep"();
DELETE FROM "ff_exec_count";
INSERT INTO "ff_exec_count" ("lane_id", "execution_kind", "public_state", "failure_class", "ended_minute", "n")
    SELECT "lane_id" AS "lane_id", COALESCE("raw_fields" ->> 'execution_kind', '') AS "execution_kind", "public_state" AS "public_state", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("raw_fields" ->> 'last_failure_class', '') ELSE '' END) AS "failure_class", (CASE WHEN ("public_state" = 'failed') THEN COALESCE("terminal_at_ms", 0) / (60000) ELSE 0 END) AS "ended_minute", count(*) FROM "ff_exec_core" GROUP BY 1, 2, 3, 4, 5;

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit" (
    "partition_key" smallint NOT NULL,
    "limit_key" text COLLATE "C" NOT NULL,
    "max_running" bigint,
    "rate_count" bigint,
    "rate_per_ms" bigint,
    "rate_burst" bigint,
    "set_by" text COLLATE "C" NOT NULL,
    "set_at_ms" bigint NOT NULL,
    PRIMARY KEY ("limit_key", "partition_key")
);

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit_cell" (
    "partition_key" smallint NOT NULL,
    "limit_key" text COLLATE "C" NOT NULL,
    "rate" text COLLATE "C" NOT NULL,
    "cell" bigint NOT NULL,
    "execution_id" uuid NOT NULL,
    "expires_at_ms" bigint NOT NULL,
    PRIMARY KEY ("limit_key", "rate", "cell", "partition_key")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_limit_cell_expires_idx" ON "ff_limit_cell" ("expires_at_ms", "limit_key", "rate", "cell");

-- statement
CREATE TABLE IF NOT EXISTS "ff_limit_permit" (
    "partition_key" smallint NOT NULL,
    "limit_key" text COLLATE "C" NOT NULL,
    "permit" bigint NOT NULL,
    "execution_partition" smallint NOT NULL,
    "execution_id" uuid NOT NULL,
    "taken_at_ms" bigint NOT NULL,
    PRIMARY KEY ("limit_key", "permit", "partition_key")
);

-- statement
CREATE INDEX IF NOT EXISTS "ff_limit_permit_execution_idx" ON "ff_limit_permit" ("execution_partition", "execution_id");

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (7, '0007_limits_and_counts', (extract(epoch from clock_timestamp()) * 1000)::bigint, TRUE) ON CONFLICT  DO NOTHING;
