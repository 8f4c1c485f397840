//! Opens `SecurityCredential`: RSA, PKCS#1 v1.5 (M-Pesa contract 3), with the sandbox's own fixed key pair.

use std::collections::HashMap;

use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use base64::prelude::{BASE64_STANDARD, Engine as _};

/// Published on purpose: see `keys/README.md`. Fixed, because making a key per seed would cost more than the whole run.
const PRIVATE_KEY: &[u8] = include_bytes!("keys/sandbox-private-key.der");
/// Ciphertexts remembered; past this the memory is emptied, which costs time and nothing else.
const REMEMBERED: usize = 4096;

/// The certificate that a client of the sandbox encrypts with, PEM. It expired in 2016, as the real ones in circulation
/// have: clients must not check its dates (M-Pesa contract 3).
pub fn sandbox_certificate_pem() -> &'static str {
    include_str!("keys/sandbox-certificate.pem")
}

/// The same certificate, DER.
pub fn sandbox_certificate_der() -> &'static [u8] {
    include_bytes!("keys/sandbox-certificate.der")
}

/// Decrypts credentials and remembers what each ciphertext said, since clients reuse one value for all requests.
#[derive(Default)]
pub(crate) struct Credentials {
    key: Option<Pkcs1PrivateDecryptingKey>,
    known: HashMap<String, Option<String>>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The password inside; `None` for anything that is not base64 of 256 bytes under our key.
    pub(crate) fn open(&mut self, credential: &str) -> Option<String> {
        if let Some(known) = self.known.get(credential) {
            return known.clone();
        }
        let opened = self.decrypt(credential);
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(credential.to_owned(), opened.clone());
        opened
    }

    fn decrypt(&mut self, credential: &str) -> Option<String> {
        let ciphertext = BASE64_STANDARD.decode(credential).ok()?;
        if self.key.is_none() {
            let key = PrivateDecryptingKey::from_pkcs8(PRIVATE_KEY).ok()?;
            self.key = Pkcs1PrivateDecryptingKey::new(key).ok();
        }
        let key = self.key.as_ref()?;
        if ciphertext.len() != key.key_size_bytes() {
            return None;
        }
        let mut room = vec![0; key.min_output_size()];
        let plain = key.decrypt(&ciphertext, &mut room).ok()?;
        String::from_utf8(plain.to_vec()).ok()
    }
}

/// Encrypts a password as a client would: for tests that speak to the simulator without the product.
pub fn encrypt_credential(password: &str) -> Option<String> {
    use aws_lc_rs::rsa::Pkcs1PublicEncryptingKey;
    let key = PrivateDecryptingKey::from_pkcs8(PRIVATE_KEY).ok()?;
    let public = Pkcs1PublicEncryptingKey::new(key.public_key()).ok()?;
    let mut room = vec![0; public.ciphertext_size()];
    let ciphertext = public.encrypt(password.as_bytes(), &mut room).ok()?;
    Some(BASE64_STANDARD.encode(&*ciphertext))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_opens_to_the_password_again_and_again() {
        let mut credentials = Credentials::default();
        let sealed = encrypt_credential("Sandbox#2026").unwrap();
        assert_eq!(sealed.len(), 344);
        assert_ne!(sealed, encrypt_credential("Sandbox#2026").unwrap(), "the padding is random");
        assert_eq!(credentials.open(&sealed).unwrap(), "Sandbox#2026");
        assert_eq!(credentials.open(&sealed).unwrap(), "Sandbox#2026");
    }

    #[test]
    fn what_is_no_ciphertext_of_ours_opens_to_nothing() {
        let mut credentials = Credentials::default();
        assert_eq!(credentials.open("not base64!"), None);
        assert_eq!(credentials.open("AAAA"), None);
        assert_eq!(credentials.open(&BASE64_STANDARD.encode([7_u8; 256])), None);
    }

    #[test]
    fn the_certificate_carries_the_public_half_of_the_key() {
        use aws_lc_rs::encoding::AsDer;
        let key = PrivateDecryptingKey::from_pkcs8(PRIVATE_KEY).unwrap();
        let public = key.public_key();
        let spki = public.as_der().unwrap();
        let inside = |haystack: &[u8]| haystack.windows(spki.as_ref().len()).any(|part| part == spki.as_ref());
        assert!(inside(sandbox_certificate_der()));
        let base64: String = sandbox_certificate_pem().lines().filter(|line| !line.starts_with("---")).collect();
        assert_eq!(BASE64_STANDARD.decode(base64).unwrap(), sandbox_certificate_der());
    }
}
