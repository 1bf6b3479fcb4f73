//! Servers with a refused certificate: the error is permanent, comes at once and names the remedy.
//!
//! The server of these tests speaks the protocol as far as the TLS handshake, so that they need no
//! Postgres with TLS. The program `openssl` makes the certificates.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::*;

/// A certificate that signs itself, and its key.
struct Certificate {
    directory: PathBuf,
    name: &'static str,
}

impl Certificate {
    /// For a host, and marked as an authority or not.
    fn new(directory: &Path, name: &'static str, host: &str, authority: bool) -> Self {
        let own = Self { directory: directory.to_owned(), name };
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=flowfabric test"])
            .args(["-addext", &format!("subjectAltName=DNS:{host}")])
            .args(if authority { &[][..] } else { &["-addext", "basicConstraints=CA:FALSE"] })
            .arg("-keyout")
            .arg(own.file("key"))
            .arg("-out")
            .arg(own.file("pem"))
            .output()
            .expect("the program openssl makes certificates for this test");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        own
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.directory.join(self.name).with_extension(extension)
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_file(self.file("pem")).unwrap()]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(self.file("key")).unwrap()
    }
}

/// Starts a server that shakes hands with one client after the other and hangs up. Returns its
/// port.
fn serve(certificate: &Certificate, wants_clients: bool) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = if wants_clients {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.chain().remove(0)).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_client_cert_verifier(verifier.unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(certificate.chain(), certificate.key()).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            // The client reports its own errors.
            let _ = client.and_then(|client| shake_hands(client, &config));
        }
    });
    port
}

fn shake_hands(mut client: TcpStream, config: &Arc<ServerConfig>) -> std::io::Result<()> {
    let mut asks_for_tls = [0; 8];
    client.read_exact(&mut asks_for_tls)?;
    client.write_all(b"S")?;
    let mut connection = ServerConnection::new(Arc::clone(config)).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut client)?;
    }
    // The first message of a client that has accepted the certificate.
    connection.complete_io(&mut client).map(drop)
}

/// The error of a client that checks certificate and host name.
async fn refusal(port: u16, root: Option<&Certificate>) -> (StoreClass, String) {
    let mut url = format!("postgres://me@localhost:{port}/db?sslmode=verify-full");
    if let Some(root) = root {
        url += &format!("&sslrootcert={}", root.file("pem").display());
    }
    let options = PostgresOptions::new(url).acquire_timeout(Duration::from_secs(10));
    let error = PostgresBackend::open(options).await.unwrap_err();
    let class = error.store_class().expect("classified");
    (class, error.to_string())
}

#[tokio::test]
async fn a_refused_certificate_is_permanent_and_the_error_names_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let of = |name, host, authority| Certificate::new(directory.path(), name, host, authority);
    let good = of("good", "localhost", false);
    let authority = of("authority", "localhost", true);
    let elsewhere = of("elsewhere", "db.example", false);

    for (certificate, wants_clients, root, helps) in [
        (&good, false, None, "sslrootcert"),
        (&authority, false, None, "CA:FALSE"),
        (&good, false, Some(&elsewhere), "sslrootcert"),
        (&authority, false, Some(&authority), "CA:FALSE"),
        (&elsewhere, false, Some(&elsewhere), "other names"),
        (&good, true, Some(&good), "sslcert and sslkey"),
    ] {
        let (class, text) = refusal(serve(certificate, wants_clients), root).await;
        let how = format!("{} by {:?}: {text}", certificate.name, root.map(|root| root.name));
        assert_eq!(class, StoreClass::Permanent, "{how}");
        assert!(text.contains(helps), "{how}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_its_own_root_is_accepted_where_it_is_no_authority() {
    let directory = tempfile::tempdir().unwrap();
    let good = Certificate::new(directory.path(), "good", "localhost", false);
    // The server hangs up after the handshake.
    let (class, text) = refusal(serve(&good, false), Some(&good)).await;
    assert_eq!(class, StoreClass::Retryable, "{text}");
    assert!(!text.to_lowercase().contains("certificate"), "{text}");
}
