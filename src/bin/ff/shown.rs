//! Text that is safe on a terminal. Kinds, tags, keys, reasons and frames come from strangers;
//! characters in them that a terminal would obey are escaped. It knows no command.

use std::borrow::Cow;
use std::fmt;

use console::{Style, measure_text_width, truncate_str};

/// One line without anything that a terminal obeys, except the colours that this program adds.
// Invariant: apart from styles, no character that `commands` names, and none that ends a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown(String);

impl Shown {
    /// The line.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of columns that it takes.
    pub(super) fn width(&self) -> usize {
        measure_text_width(&self.0)
    }

    /// The line in a style.
    pub(super) fn styled(&self, style: &Style) -> Self {
        if self.0.is_empty() { Self::default() } else { Self(style.apply_to(&self.0).to_string()) }
    }

    /// The line, or its beginning with an ellipsis.
    pub(super) fn cut(&self, width: usize) -> Self {
        Self(truncate_str(&self.0, width, "…").into_owned())
    }

    /// The line as several, broken at blanks where that is possible.
    pub(super) fn wrapped(&self, width: usize) -> Vec<Self> {
        let lines = textwrap::wrap(&self.0, width.max(1));
        lines.into_iter().map(|line| Self(line.into_owned())).collect()
    }

    /// The line, followed by another.
    pub(super) fn then(mut self, next: &Self) -> Self {
        self.0.push_str(&next.0);
        self
    }
}

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        Self(escaped(text).into_owned())
    }
}

impl From<String> for Shown {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Shown {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text with every character that a terminal obeys written as in a string literal. A tab is
/// harmless and stays.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(commands) {
        return Cow::Borrowed(text);
    }

    let mut line = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if commands(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    Cow::Owned(line)
}

/// The JSON text with JSON escapes for characters that JSON leaves as they are but a terminal
/// obeys. Such characters stand only within strings.
pub(super) fn escaped_json(json: &str) -> Cow<'_, str> {
    let obeyed = |character: char| !character.is_ascii_whitespace() && commands(character);
    if !json.chars().any(obeyed) {
        return Cow::Borrowed(json);
    }

    let mut text = String::with_capacity(json.len() + 8);
    for character in json.chars() {
        if obeyed(character) {
            let units = &mut [0; 2];
            for unit in character.encode_utf16(units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(character);
        }
    }
    Cow::Owned(text)
}

/// True if a terminal, or a reader of its lines, takes the character for more than a sign. These
/// are control characters (C0, DEL, C1, which begin every escape sequence), other line ends, marks
/// that turn the writing direction, and signs without any width that carry hidden text.
fn commands(character: char) -> bool {
    match character {
        '\t' => false,
        '\u{61c}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_commanded() {
        for (text, line) in [
            ("plain\ttext \u{e9}", "plain\ttext \u{e9}"),
            ("two\nlines\r\n", "two\\nlines\\r\\n"),
            ("\u{1b}[2J\u{9b}1m\0\u{7f}", "\\u{1b}[2J\\u{9b}1m\\u{0}\\u{7f}"),
            ("\u{1b}]52;c;aGk=\u{7}", "\\u{1b}]52;c;aGk=\\u{7}"),
            ("\u{9d}0;title\u{9c}", "\\u{9d}0;title\\u{9c}"),
            ("abc\u{202e}gpj", "abc\\u{202e}gpj"),
            ("a\u{2028}b\u{200b}\u{e0041}", "a\\u{2028}b\\u{200b}\\u{e0041}"),
            ("हिन्दी ไทย 👩\u{200d}🔧", "हिन्दी ไทย 👩\u{200d}🔧"),
        ] {
            assert_eq!(Shown::from(text).as_str(), line);
        }
    }

    #[test]
    fn json_contains_the_same_text_escaped() {
        let text = "a\u{9b}b\u{202e}c\u{7f}\u{e0041}\u{1b}";
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        let escaped = escaped_json(&json);
        assert!(!escaped.chars().any(|c| c != '\n' && commands(c)), "{escaped:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).unwrap(), [text]);
    }

    #[test]
    fn lines_are_cut_and_wrapped_by_columns() {
        let line = Shown::from("漢字 and more");
        assert_eq!((line.width(), line.cut(6).as_str()), (13, "漢字 …"));
        assert_eq!(line.cut(13), line);
        let wrapped: Vec<String> = line.wrapped(8).iter().map(ToString::to_string).collect();
        assert_eq!(wrapped, ["漢字 and", "more"]);
        assert!(Shown::from("x".repeat(30)).wrapped(8).iter().all(|line| line.width() <= 8));
    }
}
