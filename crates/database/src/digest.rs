//! A stable 64-bit digest for names of folders and databases. Not for anything that an enemy may choose.

/// FNV-1a with 64 bits: the same on every machine and in every release, unlike the hasher of the standard library.
pub(crate) fn fnv1a(parts: &[&[u8]]) -> u64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        // The length goes in too, so that ("ab", "c") and ("a", "bc") differ.
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes();
        for byte in length.iter().chain(part.iter()) {
            state ^= u64::from(*byte);
            state = state.wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::fnv1a;

    #[test]
    fn the_digest_never_changes_and_keeps_parts_apart() {
        assert_eq!(fnv1a(&[]), 0xcbf2_9ce4_8422_2325);
        assert_ne!(fnv1a(&[b"ab", b"c"]), fnv1a(&[b"a", b"bc"]));
        assert_eq!(fnv1a(&[b"/var/lib/payvault"]), fnv1a(&[b"/var/lib/payvault"]));
    }
}
