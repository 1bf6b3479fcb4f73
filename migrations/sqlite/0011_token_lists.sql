-- On Postgres, requirements that begin with a token get other keys in two indexes. Here the texts of
-- such requirements stand together as they are.

-- statement
INSERT INTO "ff_migration_annotation" ("version", "name", "applied_at_ms", "backward_compatible") VALUES (11, '0011_token_lists', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER), TRUE) ON CONFLICT  DO NOTHING;
