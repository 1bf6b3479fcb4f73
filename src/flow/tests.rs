use ff_core::contracts::OnSatisfied;
use ff_core::types::TimestampMs;

use super::*;

fn names(nodes: &[NodeSpec]) -> Vec<&str> {
    nodes.iter().map(|node| node.name.as_str()).collect()
}

/// Reads a flow of nodes that have only a `name`, and the extra fields given.
fn read(nodes: &[(&str, &str)]) -> Result<FlowSpec, FlowSpecError> {
    let nodes: Vec<String> = nodes
        .iter()
        .map(|(name, more)| format!(r#"{{"name":{name:?},"kind":"k","payload":null{more}}}"#))
        .collect();
    FlowSpec::parse(&format!(r#"{{"kind":"f","nodes":[{}]}}"#, nodes.join(",")))
}

fn refused(nodes: &[(&str, &str)]) -> String {
    read(nodes).unwrap_err().to_string()
}

#[test]
fn little_is_needed() {
    let spec = read(&[("a", "")]).unwrap();
    assert_eq!((spec.kind(), spec.namespace().as_str(), spec.flow_id()), ("f", "default", None));

    let lane = LaneId::new("default");
    let expected = NodeSpec::new(NodeName::new("a").unwrap(), "k", b"null".to_vec(), lane);
    assert_eq!(spec.nodes(), [expected]);
}

#[test]
fn every_member_is_read() {
    let spec = FlowSpec::parse(
        r#"{
            "kind": "release", "namespace": "n", "lane": "l",
            "flow_id": "550e8400-e29b-41d4-a716-446655440000",
            "nodes": [
                { "name": "a", "kind": "k", "payload": "text", "delay_until": 978307200005,
                  "priority": -3 },
                { "name": "b", "kind": "k", "payload": { "x" : 1.50 }, "lane": "own",
                  "delay_until": "+5s", "tags": { "app.a": "b" }, "policy": { "priority": 9 } },
                { "name": "c", "kind": "k", "payload": 1, "after": ["a", "b"], "needs": "any",
                  "on_satisfied": "cancel_remaining" },
                { "name": "d", "kind": "k", "payload": 1, "after": ["a", "b"],
                  "needs": { "quorum": 2 }, "on_satisfied": "let_run" },
                { "name": "e", "kind": "k", "payload": 1, "after": ["d"], "needs": "all" }
            ]
        }"#,
    )
    .unwrap();

    assert_eq!(spec.flow_id().unwrap().to_string(), "550e8400-e29b-41d4-a716-446655440000");
    assert_eq!((spec.namespace().as_str(), spec.edge_count()), ("n", 5));

    let [a, b, c, d, e] = spec.nodes() else { panic!("{:?}", spec.nodes()) };
    assert_eq!((a.lane.as_str(), a.priority, a.payload.as_slice()), ("l", -3, b"text".as_slice()));
    assert_eq!(a.delay_until, Some(NotBefore::At(TimestampMs(978_307_200_005))));

    assert_eq!((b.lane.as_str(), b.priority), ("own", 9));
    assert_eq!(
        (b.payload.as_slice(), b.tags["app.a"].as_str()),
        (br#"{"x":1.50}"#.as_slice(), "b")
    );
    assert_eq!(b.delay_until, Some(NotBefore::In(5_000)));

    assert_eq!(c.needs, EdgeDependencyPolicy::any_of(OnSatisfied::CancelRemaining));
    assert_eq!(d.needs, EdgeDependencyPolicy::quorum(2, OnSatisfied::LetRun));
    assert_eq!(e.needs, EdgeDependencyPolicy::all_of());
}

#[test]
fn nodes_follow_what_they_wait_for() {
    let after = |other: &str| format!(r#","after":[{other:?}]"#);
    let spec = read(&[("c", &after("b")), ("b", &after("a")), ("a", ""), ("z", "")]).unwrap();
    assert_eq!(names(spec.nodes()), ["a", "b", "c", "z"]);

    let spec = read(&[("z", ""), ("a", ""), ("b", &after("a")), ("c", "")]).unwrap();
    assert_eq!(names(spec.nodes()), ["z", "a", "b", "c"]);
}

#[test]
fn a_graph_that_cannot_be_run_is_refused_with_the_node_that_is_wrong() {
    assert_eq!(refused(&[]), "a flow needs at least one node");
    assert_eq!(refused(&[("a", ""), ("b", ""), ("a", "")]), "node a: there are two of that name");

    assert_eq!(
        refused(&[("a", ""), ("b", r#","after":["x"]"#)]),
        "node b: it waits for x, and there is no such node"
    );
    assert_eq!(refused(&[("a", r#","after":["a"]"#)]), "node a: it waits for itself");

    assert_eq!(
        refused(&[("a", ""), ("b", r#","after":["a","a"]"#)]),
        "node b: it waits for a twice"
    );

    assert_eq!(
        refused(&[
            ("start", ""),
            ("a", r#","after":["start","c"]"#),
            ("b", r#","after":["a"]"#),
            ("c", r#","after":["b"]"#),
            ("end", r#","after":["c"]"#),
        ]),
        "the nodes wait for each other in a cycle: b → c → a → b"
    );

    assert!(read(&[("a", ""), ("b", r#","after":["a"]"#)]).is_ok());
}

#[test]
fn a_quorum_is_between_one_and_all() {
    let quorum = |k: u32| {
        read(&[
            ("a", ""),
            ("b", ""),
            ("c", &format!(r#","after":["a","b"],"needs":{{"quorum":{k}}}"#)),
        ])
    };

    for (k, fits) in [(0, false), (1, true), (2, true), (3, false), (u32::MAX, false)] {
        match quorum(k) {
            Ok(_) => assert!(fits, "{k}"),
            Err(error) => {
                assert!(!fits, "{k}");
                let expected = format!("node c: a quorum of {k} out of 2 cannot be");
                assert_eq!(error.to_string(), expected);
            }
        }
    }

    assert_eq!(
        refused(&[("a", r#","needs":"any""#)]),
        "node a: it needs any of those it waits for, and waits for none"
    );
    assert_eq!(
        refused(&[("a", r#","needs":{"quorum":1}"#)]),
        "node a: a quorum of 1 out of 0 cannot be"
    );

    assert!(read(&[("a", r#","needs":"all""#)]).is_ok());
}

#[test]
fn names_are_short_and_plain() {
    let longest = "n".repeat(NODE_NAME_MAX);
    for name in [
        "a",
        "build-linux",
        "v1.2/test_3:x@y+z",
        "prüfen",
        "部署",
        "निर्माण",
        "ทดสอบ",
        "e\u{301}",
        &longest,
    ] {
        assert_eq!(NodeName::new(name).unwrap().as_str(), name);
    }

    for (name, error) in [
        (String::new(), NodeNameError::Empty),
        ("n".repeat(NODE_NAME_MAX + 1), NodeNameError::TooLong(65)),
        ("a b".to_owned(), NodeNameError::Character(' ')),
        ("a\nb".to_owned(), NodeNameError::Character('\n')),
        ("\u{1b}[31m".to_owned(), NodeNameError::Character('\u{1b}')),
        ("\u{202e}a".to_owned(), NodeNameError::Character('\u{202e}')),
        ("\"".to_owned(), NodeNameError::Character('"')),
    ] {
        assert_eq!(NodeName::new(name), Err(error));
    }

    assert!(refused(&[("a", ""), ("b c", "")]).starts_with(r#"node 2 ("b c"): the name has"#));
    assert!(
        refused(&[("a", r#","after":[""]"#)]).starts_with(r#"node a: after "": the name is empty"#)
    );
}

#[test]
fn what_is_wrong_with_a_field_is_named_with_its_node() {
    for (more, reason) in [
        (r#","lane":"""#, "node a: lane: lane id is empty"),
        (r#","policy":{"retry":1}"#, "node a: policy: unknown field `retry`"),
        (
            r#","policy":{"dedup_window_ms":5}"#,
            "node a: policy.dedup_window_ms: has no effect without idempotency_key",
        ),
        (r#","tags":{"ff.node":"b"}"#, "node a: the tag ff.node holds the node's name"),
        (r#","on_satisfied":"let_run""#, "node a: on_satisfied: where all are needed"),
        (r#","on_satisfied":"stop""#, "unknown variant `stop`"),
        (r#","needs":"most""#, "unknown variant `most`"),
        (r#","needs":{"quorum":-1}"#, "expected u32"),
        (r#","delay_until":"5s""#, "delay_until: \"5s\" is neither a time such as"),
        (r#","more":1"#, "unknown field `more`"),
        (r#","after":"b""#, "expected a sequence, line 1 column"),
    ] {
        let error = refused(&[("a", more)]);
        assert!(error.contains(reason), "{more}: {error}");
    }

    for (text, reason) in [
        ("", "not JSON: EOF while parsing a value, line 1 column 0"),
        ("[]", "invalid"),
        (r#"{"kind":"k"}"#, "missing field `nodes`"),
        (r#"{"nodes":[]}"#, "missing field `kind`"),
        (r#"{"kind":"k","nodes":[],"x":1}"#, "unknown field `x`"),
        (r#"{"kind":"k","nodes":[],"flow_id":"7"}"#, "flow_id: "),
        (r#"{"kind":"k","nodes":[],"lane":""}"#, "lane: lane id is empty"),
        (r#"{"kind":"k","nodes":[{"name":"a"}]}"#, "missing field `kind`"),
        (
            r#"{"kind":"k\u0000","nodes":[{"name":"a","kind":"k","payload":""}]}"#,
            "flow_kind: must not contain NUL (at byte 1)",
        ),
        (
            r#"{"kind":"k","nodes":[{"name":"a","kind":"k\u0000","payload":""}]}"#,
            "node a: execution_kind: must not contain NUL (at byte 1)",
        ),
        (
            r#"{"kind":"k","nodes":[{"name":"a","kind":"k","payload":"","tags":{"t":"\u0000"}}]}"#,
            "node a: tags: must not contain NUL (at byte 0)",
        ),
    ] {
        let error = FlowSpec::parse(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn ids_follow_from_the_flow_and_the_names() {
    let flow = FlowId::parse("550e8400-e29b-41d4-a716-446655440000").unwrap();
    let other = FlowId::parse("650e8400-e29b-41d4-a716-446655440000").unwrap();
    let name = |text: &str| NodeName::new(text).unwrap();
    let (a, b) = (name("a"), name("b"));

    assert_eq!(
        execution_id(&flow, &a).as_str(),
        "{fp:24}:2a2eac86-edf2-5d91-89ae-6e3bbd5f75a2",
        "stored flows rely on it"
    );
    assert_eq!(
        edge_id(&flow, &a, &b).to_string(),
        "dbfe16ca-5c0d-51ad-8a1f-3c1355844a94",
        "stored flows rely on it"
    );

    assert_ne!(execution_id(&flow, &a).uuid(), execution_id(&flow, &b).uuid());
    assert_ne!(execution_id(&flow, &a).uuid(), execution_id(&other, &a).uuid());
    assert_ne!(edge_id(&flow, &a, &b), edge_id(&flow, &b, &a));
}
