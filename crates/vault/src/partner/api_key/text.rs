//! How a key is written, and how a mistyped one is told without asking the database.

use pv_kernel::{Ids, crypto::sha256};
use secrecy::SecretString;
use subtle::ConstantTimeEq as _;

use crate::audit::Environment;

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const RANDOM_LENGTH: usize = 32;
const CHECK_LENGTH: usize = 6;
/// How much of a key is shown to recognise it: the word in front and six characters.
pub(super) const SHOWN: usize = 14;

const fn word(environment: Environment) -> &'static str {
    match environment {
        Environment::Sandbox => "pv_test_",
        Environment::Production => "pv_live_",
    }
}

/// A new key for an environment.
pub fn new_key(ids: &dyn Ids, environment: Environment) -> SecretString {
    let mut key = String::from(word(environment));
    let wanted = key.len() + RANDOM_LENGTH;
    while key.len() < wanted {
        let mut bytes = [0u8; 64];
        ids.fill(&mut bytes);
        // 232 is the largest multiple of 58 in a byte: what is above would favour some characters.
        let fair = bytes.iter().filter(|byte| **byte < 232).map(|byte| character(*byte));
        key.extend(fair.take(wanted - key.len()));
    }
    let check = check_of(&key);
    key.push_str(&check);
    SecretString::from(key)
}

fn character(byte: u8) -> char {
    BASE58.get(usize::from(byte % 58)).map_or('1', |c| char::from(*c))
}

fn check_of(key: &str) -> String {
    sha256(key.as_bytes()).iter().take(CHECK_LENGTH).map(|byte| character(*byte)).collect()
}

/// The environment of a key that is written as one of ours; `None`: it never was one.
pub fn well_written(key: &str) -> Option<Environment> {
    let environment = [Environment::Sandbox, Environment::Production].into_iter().find(|e| key.starts_with(word(*e)))?;
    if !key.is_ascii() || key.len() != word(environment).len() + RANDOM_LENGTH + CHECK_LENGTH {
        return None;
    }
    let (body, check) = key.split_at_checked(key.len() - CHECK_LENGTH)?;
    let right = check_of(body);
    bool::from(right.as_bytes().ct_eq(check.as_bytes())).then_some(environment)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pv_kernel::SystemIds;
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_key_is_recognised_by_its_own_check_and_any_changed_character_is_noticed() {
        let key = new_key(&SystemIds, Environment::Sandbox);
        let key = key.expose_secret();
        assert_eq!(key.len(), 8 + 32 + 6);
        assert_eq!(well_written(key), Some(Environment::Sandbox));
        for at in 0..key.len() {
            let mut wrong: Vec<u8> = key.bytes().collect();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(well_written(&String::from_utf8(wrong).unwrap()), None, "position {at}");
        }
        assert_eq!(well_written(&key.replace("pv_test_", "pv_live_")), None);
    }

    #[test]
    fn what_is_no_key_never_was_one() {
        for text in ["", "pv_test_", "pv_live_short", "Bearer x", &"ü".repeat(23), &format!("pv_test_{}", "é".repeat(19))] {
            assert_eq!(well_written(text), None, "{text}");
        }
    }

    #[test]
    fn two_keys_are_never_the_same_and_use_the_whole_alphabet() {
        let keys: Vec<String> = (0..200).map(|_| new_key(&SystemIds, Environment::Production).expose_secret().to_owned()).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 200);
        let used: BTreeSet<char> = keys.iter().flat_map(|k| k.chars().skip(8).take(32)).collect();
        assert_eq!(used.len(), 58);
        assert!(keys.iter().all(|k| well_written(k) == Some(Environment::Production)));
    }
}
