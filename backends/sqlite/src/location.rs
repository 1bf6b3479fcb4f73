//! Where a database is: a file, or this process's memory.
//!
//! Accepted are a bare path, `sqlite:PATH`, `sqlite://PATH`, SQLite's own `file:` URIs, and
//! `:memory:`. A memory database belongs to one backend alone, unless a `file:` URI names it and
//! says `cache=shared`: then all backends of this process with that name share it.

use std::path::PathBuf;

use uuid::Uuid;

use crate::error::OpenError;

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// In this file.
    File(PathBuf),
    /// In memory, under this URI.
    Memory(String),
}

impl Location {
    /// Reads a location; parameters that this backend would have to ignore are refused.
    pub(crate) fn parse(text: &str) -> Result<Self, OpenError> {
        Self::understand(text)
            .map_err(|reason| OpenError::Location { location: text.to_owned(), reason })
    }

    fn understand(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("it contains a NUL".into());
        }
        let of_scheme = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:"));
        let rest = of_scheme.unwrap_or(text);
        if rest == ":memory:" {
            return Ok(Self::private());
        }
        if let Some(uri) = rest.strip_prefix("file:") {
            return Self::uri(uri);
        }
        match of_scheme {
            Some(uri) => Self::uri(uri),
            None if rest.is_empty() => Err("it is empty".into()),
            None => Ok(Self::File(rest.into())),
        }
    }

    fn private() -> Self {
        Self::Memory(format!("file:ff-{}?mode=memory&cache=shared", Uuid::new_v4().simple()))
    }

    fn uri(uri: &str) -> Result<Self, String> {
        let uri = uri.split_once('#').map_or(uri, |(before, _)| before);
        let (name, parameters) = uri.split_once('?').unwrap_or((uri, ""));
        let mut memory = name == ":memory:";
        let mut shared = false;
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter {
                "mode=memory" => memory = true,
                "cache=shared" => shared = true,
                "mode=rw" | "mode=rwc" | "cache=private" => {}
                other => return Err(format!("the parameter {other} is not supported")),
            }
        }
        match (memory, shared) {
            (true, true) if name.is_empty() => Err("a shared database needs a name".into()),
            (true, true) => Ok(Self::Memory(format!("file:{name}?mode=memory&cache=shared"))),
            (true, false) => Ok(Self::private()),
            (false, _) => {
                let path = decoded(local_part(name)?)?;
                if path.is_empty() {
                    Err("it is empty".into())
                } else {
                    Ok(Self::File(path.into()))
                }
            }
        }
    }
}

/// What follows the authority, which must be this machine.
fn local_part(name: &str) -> Result<&str, String> {
    let Some(after) = name.strip_prefix("//") else { return Ok(name) };
    let path = after.strip_prefix("localhost").unwrap_or(after);
    if path.starts_with('/') { Ok(path) } else { Err("it is on another machine".into()) }
}

fn decoded(path: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.next().zip(rest.next());
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let decoded = digits.and_then(|(high, low)| Some(digit(high)? * 16 + digit(low)?));
        match decoded {
            Some(0) | None => return Err("a percent sign is not followed by a character".into()),
            Some(byte) => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> String {
        match Location::parse(text).unwrap() {
            Location::File(path) => path.to_str().unwrap().to_owned(),
            Location::Memory(uri) => panic!("{text} is in memory as {uri}"),
        }
    }

    fn memory(text: &str) -> String {
        match Location::parse(text).unwrap() {
            Location::Memory(uri) => uri,
            Location::File(path) => panic!("{text} is the file {}", path.display()),
        }
    }

    #[test]
    fn files() {
        assert_eq!(file("flow.db"), "flow.db");
        assert_eq!(file("/var/odd?name%20.db"), "/var/odd?name%20.db");
        assert_eq!(file("sqlite:flow.db"), "flow.db");
        assert_eq!(file("sqlite://flow.db?mode=rwc"), "flow.db");
        assert_eq!(file("sqlite:///var/a%20b.db"), "/var/a b.db");
        assert_eq!(file("file:flow.db"), "flow.db");
        assert_eq!(file("file:///var/flow.db#fragment"), "/var/flow.db");
        assert_eq!(file("file://localhost/var/flow.db"), "/var/flow.db");
    }

    #[test]
    fn memory_is_private_unless_it_is_named_and_shared() {
        for private in [":memory:", "sqlite::memory:", "sqlite://:memory:", "file:x?mode=memory"] {
            assert_ne!(memory(private), memory(private), "{private}");
        }
        assert_eq!(
            memory("file:name?cache=shared&mode=memory"),
            "file:name?mode=memory&cache=shared"
        );
        assert_eq!(memory("file::memory:?cache=shared"), "file::memory:?mode=memory&cache=shared");
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for bad in ["", "sqlite:", "file:a?mode=ro", "file://elsewhere/a", "file:a%zz", "a\0b"] {
            assert!(Location::parse(bad).is_err(), "{bad:?}");
        }
        let error = Location::parse("file:a?immutable=1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"file:a?immutable=1\" names no database: the parameter immutable=1 is not supported"
        );
    }
}
