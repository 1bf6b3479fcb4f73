//! Tags.

use ff_core::rules::execution::tags::SetTag;
use insta::assert_snapshot;

use crate::stored::{Stored, core_row};
use crate::{check, decide, id};

#[test]
fn a_tag_is_written_under_tags() {
    let set = SetTag::new(&id(), "acme.team", "blue").unwrap();
    assert_snapshot!(decide(&set, &Stored::of(&core_row())), @r#"
    plan set_execution_tag
      guard core = ff_exec_core[partition_key 7, execution_id 00000000-0000-0000-0000-000000000001]
      update ff_exec_core[partition_key core.partition_key, execution_id core.execution_id]
        raw_fields merges {"acme.team":"blue"} under tags
        version += 1
        last_changed_at_ms := 1000000
    answer ()
    "#);
}

#[test]
fn a_tag_needs_its_execution() {
    let set = SetTag::new(&id(), "acme.team", "blue").unwrap();
    check(&set, &Stored::nothing(), "refused not found: execution");
}

#[test]
fn tags_that_cannot_be_written_are_refused() {
    assert_snapshot!(SetTag::new(&id(), "team", "blue").unwrap_err(), @r#"validation: InvalidInput: invalid tag key: "team" is not of the form <namespace>.<name>"#);
    assert_snapshot!(SetTag::new(&id(), "acme.team", "b\0").unwrap_err(), @r"validation: InvalidInput: value: must not contain NUL (at byte 1)");
}
