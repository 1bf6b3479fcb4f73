//! DDL
