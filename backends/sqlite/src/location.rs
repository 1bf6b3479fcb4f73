//! The location of a database: a file, or this process's memory.
//!
//! Accepted are a bare path, `sqlite:PATH`, `sqlite://PATH`, SQLite's own `file:` URIs, and
//! `:memory:`. A memory database belongs to one backend alone, unless a `file:` URI names it and
//! has `cache=shared`: then all backends of this process with that name share it.
//!
//! A bare path is taken literally. In a URI `?` and `#` end the path, and `%` and two hex digits
//! are one byte of it: `sqlite:a%23b.db` is the file `a#b.db`. A part without effect is refused.

use std::path::PathBuf;

use uuid::Uuid;

use crate::error::OpenError;

/// The location of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// In this file.
    File {
        /// The file.
        path: PathBuf,
        /// True if the location forbids creating it.
        must_exist: bool,
    },
    /// In memory, under this URI.
    Memory(String),
}

impl Location {
    /// Parses a location; parameters without an effect here are refused.
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
            None => Ok(Self::File { path: rest.into(), must_exist: false }),
        }
    }

    fn private() -> Self {
        Self::Memory(format!("file:ff-{}?mode=memory&cache=shared", Uuid::new_v4().simple()))
    }

    fn uri(uri: &str) -> Result<Self, String> {
        if let Some((_, fragment)) = uri.split_once('#') {
            let hint = "in a file's name write %23 for #";
            return Err(format!("the fragment #{fragment} is not supported; {hint}"));
        }

        let (name, query) = uri.split_once('?').unwrap_or((uri, ""));
        let parameters = Parameters::parse(query)?;
        let memory = parameters.memory || name == ":memory:";

        match (memory, parameters.shared) {
            (true, true) if name.is_empty() => Err("a shared database needs a name".into()),
            (true, true) => Ok(Self::Memory(format!("file:{name}?mode=memory&cache=shared"))),
            // The name would have no effect, since such a database belongs to one backend.
            (true, false) if !["", ":memory:"].contains(&name) => {
                Err(format!("a database in memory called {name} needs cache=shared"))
            }
            (true, false) => Ok(Self::private()),
            (false, true) => Err("cache=shared is only for a database in memory".into()),
            (false, false) => {
                let path = decoded(local_part(name)?)?;
                if path.is_empty() {
                    return Err("it is empty".into());
                }
                Ok(Self::File { path: path.into(), must_exist: parameters.must_exist })
            }
        }
    }
}

/// The parameters of a URI.
#[derive(Default)]
struct Parameters {
    memory: bool,
    shared: bool,
    must_exist: bool,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut seen = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter {
                "mode=memory" => parsed.memory = true,
                "cache=shared" => parsed.shared = true,
                "mode=rw" => parsed.must_exist = true,
                // Defaults, so they have no effect.
                "mode=rwc" | "cache=private" => {}
                other => return Err(format!("the parameter {other} is not supported")),
            }

            let name = parameter.split('=').next();
            if seen.contains(&name) {
                return Err(format!("the parameter {} is given twice", name.unwrap_or_default()));
            }
            seen.push(name);
        }

        Ok(parsed)
    }
}

/// The path after the authority, which must be this machine.
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
            Location::File { path, .. } => path.to_str().unwrap().to_owned(),
            Location::Memory(uri) => panic!("{text} is in memory as {uri}"),
        }
    }

    fn memory(text: &str) -> String {
        match Location::parse(text).unwrap() {
            Location::Memory(uri) => uri,
            Location::File { path, .. } => panic!("{text} is the file {}", path.display()),
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
        assert_eq!(file("file://localhost/var/flow.db"), "/var/flow.db");
    }

    #[test]
    fn odd_names_are_written_with_percent_signs() {
        assert_eq!(file("sqlite:a%23b.db"), "a#b.db");
        assert_eq!(file("sqlite:///var/what%3F%20100%25.db"), "/var/what? 100%.db");
        assert_eq!(file("file:%C3%A4.db"), "ä.db");
        // A bare path needs none.
        assert_eq!(file("/var/a#b.db"), "/var/a#b.db");
    }

    #[test]
    fn a_location_can_forbid_to_create_the_file() {
        for (text, expected) in [("sqlite:a", false), ("a", false), ("sqlite:a?mode=rw", true)] {
            let found = Location::parse(text).unwrap();
            let path = "a".into();
            assert_eq!(found, Location::File { path, must_exist: expected }, "{text}");
        }
    }

    #[test]
    fn memory_is_private_unless_it_is_named_and_shared() {
        for private in [":memory:", "sqlite::memory:", "sqlite://:memory:", "file:?mode=memory"] {
            assert_ne!(memory(private), memory(private), "{private}");
        }
        assert_eq!(
            memory("file:name?cache=shared&mode=memory"),
            "file:name?mode=memory&cache=shared"
        );
        assert_eq!(memory("file::memory:?cache=shared"), "file::memory:?mode=memory&cache=shared");
    }

    #[test]
    fn a_part_that_is_not_understood_is_refused_and_named() {
        for (bad, named) in [
            ("", "it is empty"),
            ("sqlite:", "it is empty"),
            ("a\0b", "NUL"),
            ("sqlite:a#b.db", "#b.db"),
            ("file:///var/flow.db#part", "#part"),
            ("file:a?mode=ro", "mode=ro"),
            ("file:a?immutable=1", "immutable=1"),
            ("sqlite:a?mode=rw&mode=rwc", "mode is given twice"),
            ("sqlite:a?cache=shared", "cache=shared"),
            ("file:x?mode=memory", "cache=shared"),
            ("file://elsewhere/a", "another machine"),
            ("file:a%zz", "percent sign"),
        ] {
            let error = Location::parse(bad).unwrap_err().to_string();
            assert!(error.contains(named), "{bad:?}: {error}");
        }
    }
}
