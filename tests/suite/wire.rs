//! A place on the wire between clients and the Postgres of the suite.

use tokio::net::{TcpListener, TcpStream};

use crate::backends::postgres_url;

/// What stands there: it listens on a port of its own.
pub(crate) struct Between {
    pub(crate) listener: TcpListener,
    /// The server's address.
    pub(crate) server: String,
    /// The address of the suite's database through the port, in the clear.
    pub(crate) url: String,
}

impl Between {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();

        let url = postgres_url();
        let (scheme, rest) = url.split_once("://").expect("FF_PG_TEST_URL is a URL");
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, server) = match authority.rsplit_once('@') {
            Some((user, server)) => (format!("{user}@"), server),
            None => (String::new(), authority),
        };
        let server =
            if server.contains(':') { server.to_owned() } else { format!("{server}:5432") };
        let separator = if path.contains('?') { '&' } else { '?' };
        let url = format!("{scheme}://{user}127.0.0.1:{port}/{path}{separator}sslmode=disable");
        Self { listener, server, url }
    }
}

/// A connection to the server, on which no message waits for another one.
pub(crate) async fn connect(server: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
