//! Spans that the real binary sends to a collector of OpenTelemetry.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use super::{ONE, Place, binary, finished};

const TRACE_ID: [u8; 16] = *b"\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36";

/// Answers every request of a connection, and returns their bodies.
fn bodies(stream: TcpStream) -> Vec<u8> {
    let (mut answers, mut requests) = (stream.try_clone().unwrap(), BufReader::new(stream));
    let mut bodies = Vec::new();
    loop {
        let mut length = 0;
        for line in
            (&mut requests).lines().map_while(Result::ok).take_while(|line| !line.is_empty())
        {
            let line = line.to_lowercase();
            let header = line.strip_prefix("content-length: ").and_then(|text| text.parse().ok());
            length = header.unwrap_or(length);
        }
        if length == 0 {
            return bodies;
        }
        (&mut requests).take(length).read_to_end(&mut bodies).unwrap();
        answers.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    }
}

#[test]
fn a_collector_gets_the_spans_of_a_run_in_the_trace_of_its_submission() {
    let place = Place::new();
    let tags = json!({ "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" });
    let line = json!({ "kind": "k", "payload": "kept-silent-7f3a", "id": ONE, "tags": tags });
    place.write("in.jsonl", &[&line.to_string()]);
    place.out(&["submit", "in.jsonl"]);

    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = collector.local_addr().unwrap();
    let got = std::thread::spawn(move || {
        let streams = collector.incoming().map_while(Result::ok);
        streams.map(bodies).take_while(|bodies| !bodies.is_empty()).collect::<Vec<_>>().concat()
    });
    let mut command = binary(place.0.path());
    command.args(["work", "--until-empty", "--", "cat"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"));
    assert_eq!(finished(command.output().unwrap()).code, 0);

    // A connection without a request is the last one.
    drop(TcpStream::connect(address).unwrap());
    let got = got.join().unwrap();
    let has = |part: &[u8]| got.windows(part.len()).any(|window| window == part);
    assert!(has(b"complete") && has(b"service.name") && has(&TRACE_ID));
    assert!(!has(b"kept-silent"));
}
