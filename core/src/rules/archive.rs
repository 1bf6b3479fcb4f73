//! Archives: what a line holds, how it is written and read, and what an import adds.
//!
//! A line holds the rows of one ended execution, or those of a flow but for its members, by table
//! and column. The list of tables is that of retention
//! ([`crate::rules::retention::dependants`]), and the columns are those of the schema, so a new
//! table or column is archived without a change here. Rows that may be many come in parts, as lines
//! before the last of their execution or flow ([`record`]). The same rows give the same text on
//! every database ([`mod@value`]).
//!
//! ```
//! use ff_core::rules::archive::line::{header, read_header};
//!
//! assert!(read_header(&header()).is_ok());
//! let later = r#"{"flowfabric_archive":99,"schema":1}"#;
//! assert_eq!(read_header(later).unwrap_err().field, "flowfabric_archive");
//! ```

pub mod check;
pub mod import;
pub mod line;
pub mod read;
pub mod record;
pub mod value;
