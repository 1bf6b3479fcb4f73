//! A pooler in transaction mode between the program and Postgres, as small as one can be: all
//! clients share one session of the server, each for one transaction at a time.

use std::io::{Error, Result};
use std::sync::Arc;

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::Place;
use crate::backends::{self, postgres_url};
use crate::wire::{Between, connect};

/// The session of the server.
struct Session {
    server: TcpStream,
    /// The messages that ended its first client's authentication, for the clients after it.
    greeting: Vec<u8>,
}

/// One message, as it is sent, and its kind.
struct Message {
    kind: u8,
    bytes: Vec<u8>,
}

async fn message(from: &mut TcpStream) -> Result<Message> {
    let kind = from.read_u8().await?;
    Ok(Message { kind, bytes: body(from, vec![kind]).await? })
}

/// The rest of a message, behind its kind if it has one: its length and its content.
async fn body(from: &mut TcpStream, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    let length = from.read_u32().await?;
    bytes.extend(length.to_be_bytes());
    let begin = bytes.len();
    bytes.resize(begin + usize::try_from(length - 4).unwrap(), 0);
    from.read_exact(&mut bytes[begin..]).await?;
    Ok(bytes)
}

impl Session {
    /// Opens it for the first client, which authenticates itself.
    async fn open(server: &str, startup: &[u8], client: &mut TcpStream) -> Result<Self> {
        let mut session = Self { server: connect(server).await?, greeting: Vec::new() };
        session.server.write_all(startup).await?;
        loop {
            let answer = message(&mut session.server).await?;
            client.write_all(&answer.bytes).await?;
            let asks = answer.kind == b'R' && !matches!(answer.bytes[5..9], [0, 0, 0, 0 | 12]);
            if asks {
                session.server.write_all(&message(client).await?.bytes).await?;
            } else if answer.bytes[..].starts_with(b"R\0\0\0\x08\0\0\0\0") || answer.kind != b'R' {
                session.greeting.extend(&answer.bytes);
            }
            match answer.kind {
                b'Z' => return Ok(session),
                b'E' => return Err(Error::other("the server refuses the client")),
                _ => {}
            }
        }
    }

    /// Lends it to a client for one transaction, which begins with that message.
    async fn lend(&mut self, client: &mut TcpStream, first: Message) -> Result<()> {
        let mut next = first;
        loop {
            // Up to the end of a question: a Sync or a Query.
            while !matches!(next.kind, b'S' | b'Q') {
                self.server.write_all(&next.bytes).await?;
                next = message(client).await?;
            }
            self.server.write_all(&next.bytes).await?;

            let is_idle = loop {
                let answer = message(&mut self.server).await?;
                client.write_all(&answer.bytes).await?;
                if answer.kind == b'Z' {
                    break answer.bytes.last() == Some(&b'I');
                }
            };
            if is_idle {
                return Ok(());
            }
            next = message(client).await?;
        }
    }
}

async fn serve(
    mut client: TcpStream,
    server: String,
    shared: Arc<Mutex<Option<Session>>>,
) -> Result<()> {
    client.set_nodelay(true)?;
    let startup = body(&mut client, Vec::new()).await?;
    {
        let mut session = shared.lock().await;
        match &*session {
            Some(session) => client.write_all(&session.greeting).await?,
            None => *session = Some(Session::open(&server, &startup, &mut client).await?),
        }
    }

    loop {
        let first = message(&mut client).await?;
        if first.kind == b'X' {
            return Ok(());
        }
        let mut session = shared.lock().await;
        let Some(open) = &mut *session else { return Ok(()) };
        if let Err(error) = open.lend(&mut client, first).await {
            // What the client has left there is nobody's.
            *session = None;
            return Err(error);
        }
    }
}

/// Starts one. Returns the address of the suite's database through it.
async fn start() -> String {
    let Between { listener, server, url } = Between::bind().await;
    let session = Arc::new(Mutex::new(None));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, server.clone(), Arc::clone(&session)));
        }
    });
    url
}

/// The kinds of what the doctor finds there.
async fn found(url: String, schema: String) -> Vec<String> {
    let doctor = move || {
        let place = Place::new();
        let at = ["--db", &url, "--schema", &schema, "--unnamed-statements"];
        let finished = place.ff(&[&at[..], &["--json", "doctor"]].concat());
        assert_eq!(finished.err, "", "{finished:?}");
        serde_json::from_str::<Json>(&finished.out).unwrap()
    };
    let answer = tokio::task::spawn_blocking(doctor).await.unwrap();
    let findings = answer["findings"].as_array().unwrap().iter();
    findings.map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_a_pooler_that_hands_out_sessions_for_single_transactions() {
    let bench = backends::postgres().await;
    let schema = bench.schema().as_str().to_owned();
    let pooled = "transaction_pooler".to_owned();
    let direct = found(postgres_url(), schema.clone()).await;
    assert!(!direct.contains(&pooled), "{direct:?}");
    let through = found(start().await, schema).await;
    assert!(through.contains(&pooled), "{through:?}");
    bench.tear_down().await;
}
