//! What every backend must do, written once and run on each of them: in memory, on SQLite in memory
//! and in a file, on Postgres and on MariaDB. Besides: how the databases plan the statements, what
//! they cost in round trips, the real binary, and the house rules that a program can check.
//!
//! `scripts/test` brings the servers that these tests need.

mod absence;
mod adopt;
mod backends;
mod bench;
mod cascades;
mod ceiling;
mod cli;
mod clocks;
mod conformance;
mod differential;
mod examples;
mod flow;
mod granted;
mod http;
mod leaks;
mod limited;
mod locks;
mod mariadb;
mod metrics;
mod money;
mod occ;
mod plain;
mod plans;
mod process;
mod race;
mod renewals;
mod reserved;
mod round_trips;
mod services;
mod sessions;
mod shapes;
mod stopping;
mod subscriptions;
mod suspended;
mod ticking;
mod tidy;
mod transactions;
mod unless;
mod victims;
mod wire;
mod workers;
