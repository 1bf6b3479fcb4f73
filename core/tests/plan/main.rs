//! Plans: what their parts mean, how they print, and what their shape leaves out.

mod meaning;
mod shape;
mod status;
