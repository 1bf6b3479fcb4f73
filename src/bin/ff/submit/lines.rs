//! Lines of a file by their numbers: `1-3,7,10-` is 1 to 3, 7, and all from 10 on.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Some lines, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lines(Vec<RangeInclusive<u64>>);

impl Lines {
    /// These lines, and all from `from` on if it is given.
    pub(super) fn of(numbers: impl IntoIterator<Item = u64>, from: Option<u64>) -> Self {
        let mut lines = Self(Vec::new());
        for number in numbers {
            lines.add(number..=number);
        }
        if let Some(from) = from {
            lines.add(from..=u64::MAX);
        }
        lines
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.0.iter().any(|range| range.contains(&number))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lines that both have.
    pub(super) fn and(&self, others: &Self) -> Self {
        let mut both = Self(Vec::new());
        for one in &self.0 {
            for other in &others.0 {
                let range = *one.start().max(other.start())..=*one.end().min(other.end());
                if !range.is_empty() {
                    both.add(range);
                }
            }
        }
        both
    }

    fn add(&mut self, range: RangeInclusive<u64>) {
        match self.0.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            Some(_) | None => self.0.push(range),
        }
    }
}

impl FromStr for Lines {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} names no lines, such as 1-3,7,10-");
        let number = |text: &str| match text.parse() {
            Ok(number) if number != 0 => Ok(number),
            Ok(_) | Err(_) => Err(wrong()),
        };
        let range = |part: &str| {
            let range = match part.split_once('-') {
                None => number(part)?..=number(part)?,
                Some((from, "")) => number(from)?..=u64::MAX,
                Some((from, to)) => number(from)?..=number(to)?,
            };
            if range.is_empty() { Err(wrong()) } else { Ok(range) }
        };

        let mut ranges = text.split(',').map(range).collect::<Result<Vec<_>, _>>()?;
        ranges.sort_by_key(|range| *range.start());
        let mut lines = Self(Vec::new());
        ranges.into_iter().for_each(|range| lines.add(range));
        Ok(lines)
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (from, to) if from == to => write!(f, "{comma}{from}")?,
                (from, &u64::MAX) => write!(f, "{comma}{from}-")?,
                (from, to) => write!(f, "{comma}{from}-{to}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back_and_are_joined() {
        for (text, written) in
            [("7", "7"), ("1-3,7,10-", "1-3,7,10-"), ("7,1-3,4", "1-4,7"), ("2-,5", "2-")]
        {
            let lines: Lines = text.parse().unwrap();
            assert_eq!(lines.to_string(), written);
            assert_eq!(written.parse::<Lines>().unwrap(), lines);
        }

        let lines = Lines::of([3, 4, 5, 9], Some(10));
        assert_eq!(lines.to_string(), "3-5,9-");
        assert!(lines.contains(3) && lines.contains(1_000) && !lines.contains(6));
        let both = lines.and(&"4-20,30-".parse().unwrap());
        assert_eq!(both.to_string(), "4-5,9-20,30-");
        assert!(Lines::of([], None).is_empty());
        for bad in ["", "0", "x", "3-1", "-3", "1,,2", "1-2-3"] {
            assert!(bad.parse::<Lines>().is_err(), "{bad}");
        }
    }
}
