//! The functions of a file, as its layout shows them: `cargo fmt` gives a body's end the indent of
//! the function's first line.

/// A function's body.
pub(super) struct Function<'a> {
    /// The number of the line that the function begins in.
    pub(super) line: usize,
    /// The lines between the braces.
    pub(super) body: Vec<&'a str>,
}

/// All functions that have a body of their own lines; those inside of others belong to these.
pub(super) fn functions(text: &str) -> Vec<Function<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut next = 0;

    while next < lines.len() {
        let begins = next;
        next += 1;
        if !is_head(lines[begins]) {
            continue;
        }

        let ends = |line: &&str| line.ends_with(';') || line.contains('{');
        let Some(head) = lines[begins..].iter().position(ends) else { continue };
        let open = begins + head;
        if !lines[open].ends_with('{') {
            continue;
        }

        let indent = lines[begins].len() - lines[begins].trim_start().len();
        let close = format!("{}}}", &lines[begins][..indent]);
        let length = lines[open + 1..].iter().take_while(|line| **line != close).count();
        let body = lines[open + 1..open + 1 + length].to_vec();
        next = open + 1 + length;
        found.push(Function { line: begins + 1, body });
    }
    found
}

/// True for the first line of a function, after its attributes.
fn is_head(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub")
            || word.starts_with('"')
            || ["in", "const", "async", "unsafe", "extern"].contains(word)
    });
    words.next() == Some("fn")
}

#[test]
fn bodies_are_found_by_their_layout() {
    let text = "
pub(crate) async fn one(
    argument: u8,
) -> u8 {
    let inner = || {
        argument
    };

    inner()
}

trait Two {
    fn declared(&self);

    const fn short() {}

    fn second(&self) {
        third();
    }
}
";
    let bodies: Vec<(usize, usize)> =
        functions(text).iter().map(|function| (function.line, function.body.len())).collect();
    assert_eq!(bodies, [(2, 5), (17, 1)]);
}
