//! FNV-1a 64: short, stable, non-cryptographic digests for spreading and for naming sets.

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a 64 of `bytes`.
#[must_use]
pub fn fnv1a_u64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// FNV-1a 64 of `text` with its two halves XORed together, as eight lowercase hex digits.
#[must_use]
pub fn fnv1a_xor8hex(text: &str) -> String {
    let hash = fnv1a_u64(text.as_bytes());
    let folded = (hash & 0xffff_ffff) ^ (hash >> 32);
    format!("{folded:08x}")
}

/// The low 16 bits of the FNV-1a 64 of `text`, modulo `modulus`; 0 when `modulus` is 0.
#[must_use]
pub fn fnv1a_u16_mod(text: &str, modulus: u16) -> u16 {
    let [low, high, ..] = fnv1a_u64(text.as_bytes()).to_le_bytes();
    u16::from_le_bytes([low, high]).checked_rem(modulus).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_vectors() {
        let vectors = [
            ("", 0xcbf2_9ce4_8422_2325, "4fd0bfc1", 37),
            ("a", 0xaf63_dc4c_8601_ec8c, "296230c0", 140),
            ("gpu,cuda", 0x3251_1bb2_804b_7648, "b21a6dfa", 72),
            ("worker-a", 0x2490_eec5_9027_63fd, "b4b78d38", 253),
            ("worker-b", 0x2490_ebc5_9027_5ee4, "b4b7b521", 228),
        ];

        for (text, hash, hex, modulo) in vectors {
            assert_eq!(fnv1a_u64(text.as_bytes()), hash, "{text}");
            assert_eq!(fnv1a_xor8hex(text), hex, "{text}");
            assert_eq!(fnv1a_u16_mod(text, 256), modulo, "{text}");
            assert_eq!(fnv1a_u16_mod(text, 0), 0, "{text}");
        }
    }
}
