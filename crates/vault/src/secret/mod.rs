//! Secrets at rest: AES-256-GCM under a key ring, bound to the row and column they stand in.
//!
//! An envelope is text: `v1.{key id}.{base64 of nonce and ciphertext}`. The associated data names table, column and row, so that a
//! ciphertext that is copied into another place cannot be opened there. Opened secrets are of a type that cannot be printed.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::error::VaultError;

/// The keys that open and seal. The newest seals.
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<BTreeMap<u32, RandomizedNonceKey>>,
    newest: u32,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing({} keys, newest {})", self.keys.len(), self.newest)
    }
}

/// Where a secret stands: table, column and row.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Table and column, `mifos_partners.mifos_password`.
    pub column: &'static str,
    /// The row.
    pub row: Uuid,
}

impl KeyRing {
    /// From key numbers and 32-byte keys; the highest number seals.
    pub fn new(keys: impl IntoIterator<Item = (u32, Zeroizing<[u8; 32]>)>) -> Result<Self, VaultError> {
        let mut ring = BTreeMap::new();
        for (number, key) in keys {
            let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| VaultError::Secret("the key is not 32 bytes".into()))?;
            ring.insert(number, key);
        }
        let newest = *ring.keys().next_back().ok_or_else(|| VaultError::Secret("the key ring is empty".into()))?;
        Ok(Self { keys: Arc::new(ring), newest })
    }

    /// Seals a secret for its place.
    pub fn seal(&self, place: Place, secret: &str) -> Result<String, VaultError> {
        self.seal_bytes(place, secret.as_bytes())
    }

    /// Seals bytes for their place.
    pub fn seal_bytes(&self, place: Place, secret: &[u8]) -> Result<String, VaultError> {
        let key = self.keys.get(&self.newest).ok_or_else(|| VaultError::Secret("the key ring is empty".into()))?;
        let mut sealed = secret.to_vec();
        let nonce = key.seal_in_place_append_tag(aad(place), &mut sealed).map_err(|_| VaultError::Secret("sealing failed".into()))?;
        let mut envelope = nonce.as_ref().to_vec();
        envelope.append(&mut sealed);
        Ok(format!("v1.{}.{}", self.newest, base64::engine::general_purpose::STANDARD_NO_PAD.encode(envelope)))
    }

    /// Opens a secret at its place.
    pub fn open(&self, place: Place, envelope: &str) -> Result<SecretString, VaultError> {
        let bytes = self.open_bytes(place, envelope)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| unreadable(place))?;
        Ok(SecretString::from(text.to_owned()))
    }

    /// Opens bytes at their place.
    pub fn open_bytes(&self, place: Place, envelope: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let mut parts = envelope.splitn(3, '.');
        let (Some("v1"), Some(number), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unreadable(place));
        };
        let key = number.parse::<u32>().ok().and_then(|n| self.keys.get(&n)).ok_or_else(|| unreadable(place))?;
        let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(body).map_err(|_| unreadable(place))?;
        let (nonce, sealed) = bytes.split_at_checked(12).ok_or_else(|| unreadable(place))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unreadable(place))?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let length = key.open_in_place(nonce, aad(place), &mut sealed).map_err(|_| unreadable(place))?.len();
        sealed.truncate(length);
        Ok(sealed)
    }

    /// Opens an envelope that may be missing.
    pub fn open_optional(&self, place: Place, envelope: Option<&str>) -> Result<Option<SecretString>, VaultError> {
        envelope.map(|e| self.open(place, e)).transpose()
    }
}

fn aad(place: Place) -> Aad<Vec<u8>> {
    let mut data = place.column.as_bytes().to_vec();
    data.push(0);
    data.extend_from_slice(place.row.as_bytes());
    Aad::from(data)
}

fn unreadable(place: Place) -> VaultError {
    VaultError::Secret(format!("{} of {}: wrong key, wrong place or damaged", place.column, place.row))
}

/// Compares two secrets in constant time.
pub fn same(a: &SecretString, b: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    a.expose_secret().as_bytes().ct_eq(b.as_bytes()).into()
}

/// SHA-256 of a token, as lower-case hex: how tokens are kept.
pub fn token_hash(token: &str) -> String {
    hex::encode(pv_kernel::crypto::sha256(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(numbers: &[u32]) -> KeyRing {
        KeyRing::new(numbers.iter().map(|n| (*n, Zeroizing::new([u8::try_from(*n).unwrap_or(0); 32])))).unwrap()
    }

    const PLACE: Place = Place { column: "t.c", row: Uuid::from_u128(7) };

    #[test]
    fn a_secret_opens_only_in_its_own_place() {
        let ring = ring(&[1]);
        let envelope = ring.seal(PLACE, "hush").unwrap();
        assert_eq!(ring.open(PLACE, &envelope).unwrap().expose_secret(), "hush");
        assert!(ring.open(Place { column: "t.d", ..PLACE }, &envelope).is_err());
        assert!(ring.open(Place { row: Uuid::from_u128(8), ..PLACE }, &envelope).is_err());
        assert!(!envelope.contains("hush"));
    }

    #[test]
    fn an_older_key_still_opens_and_a_missing_one_does_not() {
        let envelope = ring(&[1]).seal(PLACE, "hush").unwrap();
        assert!(ring(&[1, 2]).open(PLACE, &envelope).is_ok());
        assert!(ring(&[2]).open(PLACE, &envelope).is_err());
    }

    #[test]
    fn damaged_envelopes_are_refused() {
        let ring = ring(&[1]);
        for bad in ["", "v1", "v1.1", "v1.1.!!", "v1.1.AAAA", "v2.1.AAAA", "v1.x.AAAA"] {
            assert!(ring.open(PLACE, bad).is_err(), "{bad}");
        }
    }
}
