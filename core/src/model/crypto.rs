//! Signing and comparing secrets. Keys come in as arguments; nothing here stores or prints one.

pub mod hmac;

/// Compares two byte strings in a time that depends on their lengths only.
#[must_use]
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    // `black_box` keeps the compiler from ending the fold at the first difference.
    let difference =
        left.iter().zip(right).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    left.len() == right.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::constant_time_eq;

    #[test]
    fn equality_covers_length_and_every_byte() {
        assert!(constant_time_eq(b"", b""));
        assert!(constant_time_eq(b"kid:00ff", b"kid:00ff"));
        assert!(!constant_time_eq(b"kid:00ff", b"kid:00fe"));
        assert!(!constant_time_eq(b"xid:00ff", b"kid:00ff"));
        assert!(!constant_time_eq(b"kid:00ff", b"kid:00f"));
        assert!(!constant_time_eq(b"", b"k"));
    }
}
