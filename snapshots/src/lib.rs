//! The package of the snapshots. It exists so that `cargo insta review` and `--unreferenced=reject`
//! find them; the tests are in `tests/`.
