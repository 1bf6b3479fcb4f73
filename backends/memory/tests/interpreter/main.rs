//! The tests of the backend, in one program: they share the code of every operation.

mod explain;
mod flows;
mod histories;
mod interpret;
