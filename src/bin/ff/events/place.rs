//! The place to begin reading: an end of the past, or after an event.

use std::str::FromStr;

use clap::ValueEnum;
use ff_core::stream_subscribe::{StreamCursor, encode_postgres_event_cursor};

use super::kind::Kind;

/// A place in the streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Before the first event of every kind.
    Start,
    /// After all events so far, of every kind.
    Now,
    /// After an event; of this kind, if it is given.
    After(Option<Kind>, StreamCursor),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, cursor) = match text.split_once(':') {
            None if text == "start" => return Ok(Self::Start),
            None if text == "now" => return Ok(Self::Now),
            None => (None, text),
            Some((kind, cursor)) => (Some(Kind::from_str(kind, false)?), cursor),
        };

        match hex::decode(cursor) {
            Ok(bytes) if !bytes.is_empty() => Ok(Self::After(kind, StreamCursor::new(bytes))),
            Ok(_) | Err(_) => Err("expected start, now, or KIND:HEX".to_owned()),
        }
    }
}

/// The kinds that the places choose: those of the cursors, unless a place is for every kind.
pub(super) fn kinds(places: &[Place]) -> Vec<Kind> {
    let kind = |place: &Place| match place {
        Place::After(kind, _) => *kind,
        Place::Start | Place::Now => None,
    };
    places.iter().map(kind).collect::<Option<Vec<Kind>>>().unwrap_or_default()
}

/// The cursor of each of the kinds; a kind that no place is for begins at the start.
pub(super) fn cursors(
    kinds: &[Kind],
    places: &[Place],
) -> Result<Vec<(Kind, StreamCursor)>, String> {
    let mut cursors: Vec<(Kind, StreamCursor)> = Vec::new();
    for kind in kinds {
        if !cursors.iter().any(|(known, _)| known == kind) {
            cursors.push((*kind, encode_postgres_event_cursor(0)));
        }
    }

    for place in places {
        let (wanted, cursor) = match place {
            Place::Start => continue,
            Place::Now => {
                cursors.iter_mut().for_each(|(_, cursor)| *cursor = StreamCursor::empty());
                continue;
            }
            Place::After(Some(kind), cursor) => (*kind, cursor),
            Place::After(None, cursor) => match cursors.as_slice() {
                [(only, _)] => (*only, cursor),
                _ => return Err("say of which kind the cursor is: KIND:HEX".to_owned()),
            },
        };

        let Some((_, place)) = cursors.iter_mut().find(|(kind, _)| *kind == wanted) else {
            return Err(format!("a cursor of events of another kind: {}", wanted.as_str()));
        };
        *place = cursor.clone();
    }
    Ok(cursors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(event_id: i64) -> StreamCursor {
        encode_postgres_event_cursor(event_id)
    }

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_words_or_cursors_as_printed() {
        assert_eq!((place("start"), place("now")), (Place::Start, Place::Now));
        assert_eq!(place("020000000000000007"), Place::After(None, at(7)));
        assert_eq!(place("lease:020000000000000007"), Place::After(Some(Kind::Lease), at(7)));
        for bad in ["", "lease:", "lease:start", "nobody:02", "2", "0g"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cursors_choose_the_kinds() {
        let (lease, signal) = (place("lease:0200"), place("signal:0200"));
        assert_eq!(kinds(&[lease.clone(), signal]), [Kind::Lease, Kind::Signal]);
        for all in [vec![lease, Place::Now], vec![Place::Start], vec![place("0200")]] {
            assert_eq!(kinds(&all), []);
        }
    }

    #[test]
    fn each_kind_begins_where_its_cursor_says() {
        use Kind::{Completion, Lease, Signal};
        let (start, now) = (at(0), StreamCursor::empty());
        let (seven, bare) = (place("lease:020000000000000007"), place("020000000000000007"));
        for (kinds, places, expected) in [
            (
                vec![Completion, Lease, Lease],
                vec![Place::Start],
                vec![start.clone(), start.clone()],
            ),
            (vec![Completion, Lease], vec![seven.clone()], vec![start.clone(), at(7)]),
            (vec![Lease, Completion], vec![Place::Now, seven.clone()], vec![at(7), now]),
            (vec![Signal], vec![bare.clone()], vec![at(7)]),
        ] {
            let found = cursors(&kinds, &places).unwrap();
            assert!(found.iter().map(|(_, cursor)| cursor).eq(&expected), "{found:?}");
        }

        for (kinds, place) in [(vec![Signal, Lease], bare), (vec![Signal], seven)] {
            assert!(cursors(&kinds, &[place]).is_err());
        }
    }
}
