//! Output without what differs from run to run: drawn ids, times, ages, processes, widths.

/// The commands of a page: what stands in them does not differ.
pub(super) struct Stable<'a>(&'a str);

impl<'a> Stable<'a> {
    pub(super) fn of(script: &'a str) -> Self {
        Self(script)
    }

    /// The text with a name for each volatile word, and one space for each gap.
    pub(super) fn text(&self, text: &str) -> String {
        text.lines().map(|line| self.line(line)).collect::<Vec<_>>().join("\n")
    }

    fn line(&self, line: &str) -> String {
        // A rule below a header is as long as its columns are wide.
        let words = line.split_whitespace().map(|word| match word.chars().all(|c| c == '─') {
            true => "─".to_owned(),
            false => self.word(word),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// A word, part by part: whatever stands between signs that values do not contain.
    fn word(&self, word: &str) -> String {
        if let Some((before, id, after)) = uuid(word) {
            let before = before.split("{fp:").next().unwrap_or_default();
            let name = if self.0.contains(id) { id } else { "ID" };
            return format!("{}{name}{}", self.word(before), self.word(after));
        }

        let is_value = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | ':');
        let mut named = String::new();
        let mut value = String::new();
        for sign in word.chars().chain(['\0']) {
            if is_value(sign) {
                value.push(sign);
                continue;
            }
            named.push_str(&self.value(&std::mem::take(&mut value)));
            named.extend((sign != '\0').then_some(sign));
        }
        named
    }

    fn value(&self, value: &str) -> String {
        let end = value.trim_end_matches(['.', ':', '-', '+']);
        let rest = &value[end.len()..];
        let name = match end {
            "" => "",
            _ if is_time(end) => "TIME",
            _ if is_span(end) => "SPAN",
            _ if self.is_drawn(end) => "DRAWN",
            other => other,
        };
        format!("{name}{rest}")
    }

    /// True for digits in hex that no command names, and for a name that has such a part.
    fn is_drawn(&self, value: &str) -> bool {
        let is_hex = |part: &&str| {
            4 < part.len()
                && part.chars().all(|c| c.is_ascii_hexdigit())
                && part.contains(|c: char| c.is_ascii_digit())
        };
        value.split([':', '.', '-']).filter(is_hex).any(|part| !self.0.contains(part))
    }
}

/// The first UUID of a word, with what stands around it.
fn uuid(word: &str) -> Option<(&str, &str, &str)> {
    (0..word.len()).find_map(|at| {
        let (id, after) = word.get(at..)?.split_at_checked(36)?;
        let is_id = id.char_indices().all(|(place, sign)| match place {
            8 | 13 | 18 | 23 => sign == '-',
            _ => sign.is_ascii_hexdigit(),
        });
        is_id.then_some((&word[..at], id, after))
    })
}

/// True for a date, a time of day, both, and milliseconds since 1970.
fn is_time(value: &str) -> bool {
    let shape: String = value.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let shape = shape.trim_end_matches('Z').trim_end_matches("+99:99");
    let (date, clock) = shape.split_once('T').unwrap_or((shape, ""));
    let is_clock = |clock: &str| clock.starts_with("99:99:99");
    match (date, clock) {
        ("9999-99-99" | "9999999999999", "") => true,
        (clock, "") => is_clock(clock),
        (date, clock) => date == "9999-99-99" && is_clock(clock),
    }
}

/// True for a number with a unit of time, and for one with decimals.
fn is_span(value: &str) -> bool {
    let number = value.trim_start_matches(['+', '-']);
    let (number, unit) = number.split_at(number.trim_end_matches(char::is_alphabetic).len());
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    is_number && (matches!(unit, "ms" | "s" | "m" | "h" | "d") || number.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_run_draws_is_replaced() {
        let stable = Stable::of("ff show 11111111-1111-4111-8111-111111111111; ff ls");
        for (text, expected) in [
            ("86:11111111  echo", "86:11111111 echo"),
            ("86:22222222  echo", "DRAWN echo"),
            (
                "{fp:86}:11111111-1111-4111-8111-111111111111 is",
                "11111111-1111-4111-8111-111111111111 is",
            ),
            ("{fp:7}:46d5e7b3-949e-4632-91a0-10aea7a9baf2,", "ID,"),
            ("+0.287 s  2026-11-29 11:58:34.644+00:00  created", "SPAN s TIME TIME created"),
            ("lease acquired, worker ff-work-32701-f57c75", "lease acquired, worker DRAWN"),
            ("created  138ms ago, in 2h", "created SPAN ago, in SPAN"),
            ("2 executions: 2 created, 0 failed", "2 executions: 2 created, 0 failed"),
            ("kind   state\n──── ─────\n", "kind state\n─ ─"),
            ("from 2026-01-01T00:00:00Z (at_ms 1767225600000)", "from TIME (at_ms TIME)"),
        ] {
            assert_eq!(stable.text(text), expected);
        }
    }
}
