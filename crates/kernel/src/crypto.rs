//! Small wrappers over aws-lc-rs: HMAC and SHA-256. Envelope encryption of secrets stands with the store in `vault`.

use aws_lc_rs::{digest, hmac};

/// HMAC-SHA256 over parts that are separated by a zero byte, so that `("a","bc")` and `("ab","c")` differ.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
        context.update(&[0]);
    }
    let tag = context.sign();
    let mut out = [0u8; 32];
    out.iter_mut().zip(tag.as_ref()).for_each(|(o, b)| *o = *b);
    out
}

/// Plain HMAC-SHA256 of one message, as providers sign it.
pub fn hmac_sha256_raw(key: &[u8], message: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, message);
    let mut out = [0u8; 32];
    out.iter_mut().zip(tag.as_ref()).for_each(|(o, b)| *o = *b);
    out
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let d = digest::digest(&digest::SHA256, bytes);
    let mut out = [0u8; 32];
    out.iter_mut().zip(d.as_ref()).for_each(|(o, b)| *o = *b);
    out
}

/// Lower-case base32 without padding, alphabet `a-z2-7`: for the rail id of rule A3.
pub fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut out = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut buffer, mut bits) = (0u32, 0u32);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            let index = (buffer >> bits) & 31;
            out.push(char::from(ALPHABET.get(index as usize).copied().unwrap_or(b'a')));
        }
    }
    if bits > 0 {
        let index = (buffer << (5 - bits)) & 31;
        out.push(char::from(ALPHABET.get(index as usize).copied().unwrap_or(b'a')));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_agrees_with_the_vectors_of_rfc_4648() {
        for (plain, coded) in
            [("", ""), ("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foob", "mzxw6yq"), ("fooba", "mzxw6ytb"), ("foobar", "mzxw6ytboi")]
        {
            assert_eq!(base32(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn parts_cannot_run_into_each_other() {
        assert_ne!(hmac_sha256(b"k", &[b"a", b"bc"]), hmac_sha256(b"k", &[b"ab", b"c"]));
    }
}
