//! How code and comments read: paragraphs, named actors, sentences that stand alone.

use super::functions::functions;
use super::product;

/// A function of as many lines or more has a paragraph or a comment.
const LONG: usize = 20;

/// Pronouns that stand where an actor should be named.
const PRONOUNS: [&str; 7] = ["who", "whoever", "whom", "whose", "nobody", "somebody", "everybody"];

/// Words that a question begins with.
const QUESTIONS: [&str; 10] =
    ["What", "Who", "Whom", "Whose", "Which", "When", "Where", "Why", "How", "Whether"];

#[test]
fn bodies_have_paragraphs() {
    let (mut lines, mut blank) = (0, 0);
    let (mut long, mut bare) = (0, Vec::new());

    for (name, text) in product() {
        for function in functions(&text) {
            let body = &function.body;
            let blanks = body.iter().filter(|line| line.trim().is_empty()).count();
            let comments = body.iter().filter(|line| line.trim_start().starts_with("//")).count();
            lines += body.len();
            blank += blanks;

            if LONG <= body.len() {
                long += 1;
                if blanks + comments == 0 {
                    bare.push(format!("{name}:{}", function.line));
                }
            }
        }
    }

    assert!(
        lines <= 25 * blank,
        "{blank} of {lines} lines in bodies are blank, which is below 4 %"
    );
    assert!(
        100 * bare.len() <= 8 * long,
        "more than 8 % of {long} functions of {LONG} lines have no paragraph and no comment:\n{}",
        bare.join("\n")
    );
}

#[test]
fn actors_are_named() {
    let mut lines = 0;
    let mut found = Vec::new();

    for (name, text) in product() {
        for (number, line) in (1..).zip(text.lines()) {
            lines += 1;
            let lower = line.to_lowercase();
            let words = lower.split(|c: char| c != '_' && !c.is_alphanumeric());
            found.extend(
                words.filter(|word| PRONOUNS.contains(word)).map(|_| format!("{name}:{number}")),
            );
        }
    }

    // One in ten thousand lines: a person, or a name in data.
    assert!(
        10_000 * found.len() <= lines,
        "{} pronouns in {lines} lines stand for an actor:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn doc_comments_stand_without_the_name_of_their_item() {
    let mut docs = 0;
    let mut found = Vec::new();

    for (name, text) in product() {
        let mut inside = false;
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            let first = line.starts_with("///") && !inside;
            inside = line.starts_with("///");
            if !first {
                continue;
            }

            docs += 1;
            let word = line["///".len()..].split(|c: char| !c.is_alphanumeric()).nth(1);
            if word.is_some_and(|word| QUESTIONS.contains(&word)) {
                found.push(format!("{name}:{number}: {line}"));
            }
        }
    }

    assert!(
        100 * found.len() <= docs,
        "more than 1 % of {docs} doc comments begin with a question word:\n{}",
        found.join("\n")
    );
}
