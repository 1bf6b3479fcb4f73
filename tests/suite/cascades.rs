//! Ends that travel through flows: large graphs against a brute-force evaluator, every interleaving
//! of two hops, and processes killed between the commits of a cascade.

mod dag;
mod graph;
mod interleave;
mod kill;
