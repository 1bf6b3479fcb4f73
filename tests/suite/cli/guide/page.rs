//! A page as its parts: text, shell blocks, and the commands of its sessions with their output.
//!
//! A session is a block in `console`. A line after `$ ` is a command, lines after `> ` go on with
//! it, and the lines below are what it prints. A comment `<!-- sh` is a block that readers of the
//! page do not see: it starts a worker, or waits for one.

use std::fmt;

use super::volatile::Stable;

/// The line that divides the outputs of commands. Its last word is the exit code.
const MARK: &str = "=== end of a command:";

pub(super) struct Page<'a>(pub(super) Vec<Part<'a>>);

pub(super) enum Part<'a> {
    /// Lines that are no code.
    Text(&'a str),
    /// Lines that a shell runs, and that must succeed.
    Shell(&'a str),
    /// A command of a session, as the page has it, and its output.
    Command { shown: &'a str, output: String },
}

/// The kind of the lines that are being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Text,
    Shell(&'static str),
    Session,
}

impl<'a> Page<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let mut parts: Vec<Part<'a>> = Vec::new();
        let mut within = Within::Text;
        for line in text.split_inclusive('\n') {
            match (within, line.trim_end()) {
                (Within::Text, fence) => {
                    within = match fence {
                        "```sh" => Within::Shell("```"),
                        "<!-- sh" => Within::Shell("-->"),
                        "```console" => Within::Session,
                        _ => Within::Text,
                    };
                    parts.push(Part::Text(line));
                    if within != Within::Text && within != Within::Session {
                        parts.push(Part::Shell(""));
                    }
                }
                (Within::Shell(end), fence) if fence == end => {
                    parts.push(Part::Text(line));
                    within = Within::Text;
                }
                (Within::Session, "```") => {
                    parts.push(Part::Text(line));
                    within = Within::Text;
                }
                (Within::Shell(_), _) => {
                    if let Some(Part::Shell(lines)) = parts.last_mut() {
                        *lines = joined(text, lines, line);
                    }
                }
                (Within::Session, command) if command.starts_with("$ ") => {
                    parts.push(Part::Command { shown: line, output: String::new() });
                }
                (Within::Session, _) => match parts.last_mut() {
                    Some(Part::Command { shown, output })
                        if line.starts_with("> ") && output.is_empty() =>
                    {
                        *shown = joined(text, shown, line);
                    }
                    Some(Part::Command { output, .. }) => output.push_str(line),
                    _ => panic!("a session begins with a command, not with {line:?}"),
                },
            }
        }
        Self(parts)
    }

    /// The script that runs every block and every command, and marks where each ends.
    pub(super) fn script(&self) -> String {
        let mut script = String::from("exec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n");
        for part in &self.0 {
            match part {
                Part::Text(_) => {}
                Part::Shell(text) => {
                    script.push_str(&format!("set -e\n{text}set +e\nprintf '\\n{MARK} 0\\n'\n"));
                }
                Part::Command { shown, .. } => {
                    let lines = shown.lines().filter_map(|line| line.get(2..));
                    let command = lines.collect::<Vec<_>>().join("\n");
                    // The next command may print the code by `$?`.
                    script.push_str(&format!(
                        "{command}\ncode=$?; printf '\\n{MARK} %s\\n' $code; (exit $code)\n"
                    ));
                }
            }
        }
        script.push_str("exit 0\n");
        script
    }

    /// Puts the printed outputs into the page where they differ; the differences.
    pub(super) fn compare(&mut self, printed: &str) -> Vec<String> {
        let script = self.script();
        let stable = Stable::of(&script);
        let mark = format!("\n{MARK} ");
        let mut outputs = printed.split(&mark);
        let mut printed = outputs.next().unwrap_or_default().to_owned();
        let mut differences = Vec::new();
        let mut failed: Option<&str> = None;

        for part in &mut self.0 {
            if let Part::Text(_) = part {
                continue;
            }
            let rest = outputs.next().unwrap_or_else(|| panic!("it broke off: {printed}"));
            let (code, next) = rest.split_once('\n').unwrap();
            if let Part::Command { shown, output } = part {
                // A failure is no surprise to the reader: the next command prints its code.
                let tells = shown.contains("$?");
                if let Some(command) = failed.take().filter(|_| !tells) {
                    differences.push(format!("no `echo $?` follows {command}"));
                }
                failed = (code != "0").then_some(*shown);

                let ends = printed.is_empty() || printed.ends_with('\n');
                let new = if ends { printed } else { format!("{printed}\n") };
                if comparable(&stable, shown, output) != comparable(&stable, shown, &new) {
                    differences.push(format!("{shown}--- the page\n{output}--- printed\n{new}"));
                    *output = new;
                }
            }
            printed = next.to_owned();
        }
        differences.extend(failed.map(|command| format!("no `echo $?` follows {command}")));
        differences
    }
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) | Part::Shell(text) => f.write_str(text),
            Part::Command { shown, output } => write!(f, "{shown}{output}"),
        })
    }
}

/// An output in the form in which it is compared.
fn comparable(stable: &Stable<'_>, command: &str, output: &str) -> String {
    let output = stable.text(output);
    if command.starts_with("$ ff bench") {
        // A measurement: no number of it is the same twice.
        let parts = output.split(|sign: char| sign.is_ascii_digit() || matches!(sign, '.' | ','));
        return parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("9");
    }
    if command.starts_with("$ ff ls") {
        // Executions of one batch are submitted within a millisecond or two, in any order.
        let mut lines: Vec<&str> = output.lines().collect();
        lines.sort_unstable();
        return lines.join("\n");
    }
    output
}

/// Two neighbours in a text as one.
fn joined<'a>(text: &'a str, first: &str, second: &'a str) -> &'a str {
    let start = second.as_ptr().addr() - text.as_ptr().addr();
    &text[start - first.len()..start + second.len()]
}
