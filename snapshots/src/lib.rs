//! Nothing but a home for the snapshots: a package of its own, so that `cargo insta review` and
//! `--unreferenced=reject` see them. The tests are in `tests/`.
