//! The point to begin reading at: the first event, now, or after an event.

use std::str::FromStr;

use clap::ValueEnum;
use ff_core::stream_subscribe::{StreamCursor, encode_postgres_event_cursor};

use super::kind::Kind;

/// A point in the streams of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StartPoint {
    /// Before the first event of every kind.
    Start,
    /// After all events so far, of every kind.
    Now,
    /// After an event; of this kind, if it is given.
    After(Option<Kind>, StreamCursor),
}

impl FromStr for StartPoint {
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

/// The kinds that the start points choose: those of the cursors, unless a start point is for every
/// kind.
pub(super) fn kinds(points: &[StartPoint]) -> Vec<Kind> {
    let kind = |point: &StartPoint| match point {
        StartPoint::After(kind, _) => *kind,
        StartPoint::Start | StartPoint::Now => None,
    };
    points.iter().map(kind).collect::<Option<Vec<Kind>>>().unwrap_or_default()
}

/// The cursor of each of the kinds; a kind without a start point begins at the start.
pub(super) fn cursors(
    kinds: &[Kind],
    points: &[StartPoint],
) -> Result<Vec<(Kind, StreamCursor)>, String> {
    let mut cursors: Vec<(Kind, StreamCursor)> = Vec::new();
    for kind in kinds {
        if !cursors.iter().any(|(known, _)| known == kind) {
            cursors.push((*kind, encode_postgres_event_cursor(0)));
        }
    }

    for point in points {
        let (wanted, cursor) = match point {
            StartPoint::Start => continue,
            StartPoint::Now => {
                cursors.iter_mut().for_each(|(_, cursor)| *cursor = StreamCursor::empty());
                continue;
            }
            StartPoint::After(Some(kind), cursor) => (*kind, cursor),
            StartPoint::After(None, cursor) => match cursors.as_slice() {
                [(only, _)] => (*only, cursor),
                _ => return Err("say of which kind the cursor is: KIND:HEX".to_owned()),
            },
        };

        let Some((_, start)) = cursors.iter_mut().find(|(kind, _)| *kind == wanted) else {
            return Err(format!("a cursor of events of another kind: {}", wanted.as_str()));
        };
        *start = cursor.clone();
    }
    Ok(cursors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(event_id: i64) -> StreamCursor {
        encode_postgres_event_cursor(event_id)
    }

    fn point(text: &str) -> StartPoint {
        text.parse().unwrap()
    }

    #[test]
    fn start_points_are_words_or_cursors_as_printed() {
        assert_eq!((point("start"), point("now")), (StartPoint::Start, StartPoint::Now));
        assert_eq!(point("020000000000000007"), StartPoint::After(None, at(7)));
        assert_eq!(point("lease:020000000000000007"), StartPoint::After(Some(Kind::Lease), at(7)));
        for bad in ["", "lease:", "lease:start", "nobody:02", "2", "0g"] {
            assert!(bad.parse::<StartPoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cursors_choose_the_kinds() {
        let (lease, signal) = (point("lease:0200"), point("signal:0200"));
        assert_eq!(kinds(&[lease.clone(), signal]), [Kind::Lease, Kind::Signal]);
        for all in [vec![lease, StartPoint::Now], vec![StartPoint::Start], vec![point("0200")]] {
            assert_eq!(kinds(&all), []);
        }
    }

    #[test]
    fn each_kind_begins_where_its_cursor_says() {
        use Kind::{Completion, Lease, Signal};
        let (start, now) = (at(0), StreamCursor::empty());
        let (seven, bare) = (point("lease:020000000000000007"), point("020000000000000007"));
        for (kinds, points, expected) in [
            (
                vec![Completion, Lease, Lease],
                vec![StartPoint::Start],
                vec![start.clone(), start.clone()],
            ),
            (vec![Completion, Lease], vec![seven.clone()], vec![start.clone(), at(7)]),
            (vec![Lease, Completion], vec![StartPoint::Now, seven.clone()], vec![at(7), now]),
            (vec![Signal], vec![bare.clone()], vec![at(7)]),
        ] {
            let found = cursors(&kinds, &points).unwrap();
            assert!(found.iter().map(|(_, cursor)| cursor).eq(&expected), "{found:?}");
        }

        for (kinds, point) in [(vec![Signal, Lease], bare), (vec![Signal], seven)] {
            assert!(cursors(&kinds, &[point]).is_err());
        }
    }
}
