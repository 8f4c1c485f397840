//! The security credential: the initiator password under Safaricom's public key (M-Pesa contract 3).

use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use x509_cert::{
    Certificate,
    der::{Decode, DecodePem, Encode},
};

/// Why there is no credential. Nothing was sent; the stored credential is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The file is no X.509 certificate in PEM or DER.
    #[error("the M-Pesa certificate cannot be read: give the .cer file of the portal, PEM or DER")]
    NotACertificate,
    /// The certificate's key is no RSA key of at least 2,048 bits.
    #[error("the M-Pesa certificate does not hold an RSA key of at least 2048 bits")]
    NotAnRsaKey,
    /// The password is empty.
    #[error("the initiator password is empty")]
    NoPassword,
    /// M-Pesa does not accept brackets in a password.
    #[error("the initiator password contains '(' or ')', which M-Pesa does not accept: change it in the M-Pesa portal first")]
    Brackets,
    /// Too long for the key.
    #[error("the initiator password is too long")]
    TooLong,
}

/// What a person sees of a certificate before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject, as `CN=…,O=…`.
    pub subject: String,
    /// The end of its validity. Only for display: the certificates in circulation expired years ago and are used all the
    /// same (M-Pesa contract 3).
    pub not_after: Option<DateTime<Utc>>,
    /// Size of the key in bits.
    pub key_bits: usize,
}

/// Encrypts the initiator password with the certificate's public key: RSA, PKCS#1 v1.5, base64 on one line.
///
/// Dates and issuers are not checked: the certificate is only a container for a key. The padding is random, so two runs
/// give different texts, both right; one is made per version of the credentials and kept (rule A5).
pub fn encrypt_initiator_password(certificate: &[u8], password: &SecretString) -> Result<SecretString, CredentialError> {
    let plain = password.expose_secret();
    if plain.is_empty() {
        return Err(CredentialError::NoPassword);
    }
    if plain.contains(['(', ')']) {
        return Err(CredentialError::Brackets);
    }
    let key = public_key(&read(certificate)?)?;
    if plain.len() > key.max_plaintext_size() {
        return Err(CredentialError::TooLong);
    }
    let mut room = vec![0u8; key.ciphertext_size()];
    let sealed = key.encrypt(plain.as_bytes(), &mut room).map_err(|_| CredentialError::NotAnRsaKey)?;
    Ok(SecretString::from(STANDARD.encode(&*sealed)))
}

/// Reads a certificate for display.
pub fn certificate_facts(certificate: &[u8]) -> Result<CertificateFacts, CredentialError> {
    let certificate = read(certificate)?;
    let bits = public_key(&certificate)?.key_size_bits();
    let tbs = certificate.tbs_certificate();
    let seconds = i64::try_from(tbs.validity().not_after.to_unix_duration().as_secs()).ok();
    Ok(CertificateFacts { subject: tbs.subject().to_string(), not_after: seconds.and_then(|s| DateTime::from_timestamp(s, 0)), key_bits: bits })
}

/// DER, or the first certificate of a PEM text (portal files carry other text before it).
fn read(bytes: &[u8]) -> Result<Certificate, CredentialError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let Some(start) = text.find(BEGIN) else {
        return Certificate::from_der(bytes).map_err(|_| CredentialError::NotACertificate);
    };
    let rest = text.get(start..).unwrap_or_default();
    let end = rest.find(END).ok_or(CredentialError::NotACertificate)?;
    let pem = rest.get(..end + END.len()).unwrap_or_default();
    Certificate::from_pem(pem).map_err(|_| CredentialError::NotACertificate)
}

fn public_key(certificate: &Certificate) -> Result<Pkcs1PublicEncryptingKey, CredentialError> {
    let spki = certificate.tbs_certificate().subject_public_key_info().to_der().map_err(|_| CredentialError::NotACertificate)?;
    let key = PublicEncryptingKey::from_der(&spki).map_err(|_| CredentialError::NotAnRsaKey)?;
    Pkcs1PublicEncryptingKey::new(key).map_err(|_| CredentialError::NotAnRsaKey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};

    /// Made for this test; expired since 2016, like the one in circulation.
    const EXPIRED: &str = include_str!("../tests/fixtures/expired-certificate.pem");
    const KEY: &str = include_str!("../tests/fixtures/expired-certificate-key.pem");
    const CURVE: &str = include_str!("../tests/fixtures/curve-certificate.pem");

    fn decrypt(credential: &SecretString) -> Vec<u8> {
        let body: String = KEY.lines().filter(|l| !l.starts_with('-')).collect();
        let key = PrivateDecryptingKey::from_pkcs8(&STANDARD.decode(body).unwrap()).unwrap();
        let key = Pkcs1PrivateDecryptingKey::new(key).unwrap();
        let mut room = vec![0u8; key.min_output_size()];
        key.decrypt(&STANDARD.decode(credential.expose_secret()).unwrap(), &mut room).unwrap().to_vec()
    }

    #[test]
    fn the_password_itself_is_encrypted_also_with_an_expired_certificate() {
        let password = SecretString::from("Sécret#12&%$");
        let one = encrypt_initiator_password(EXPIRED.as_bytes(), &password).unwrap();
        let two = encrypt_initiator_password(EXPIRED.as_bytes(), &password).unwrap();
        assert_eq!(one.expose_secret().len(), 344);
        assert!(!one.expose_secret().contains(['\n', ' ']));
        assert_ne!(one.expose_secret(), two.expose_secret(), "the padding is random");
        assert_eq!(decrypt(&one), "Sécret#12&%$".as_bytes());
        assert_eq!(decrypt(&two), "Sécret#12&%$".as_bytes());
    }

    #[test]
    fn pem_with_other_text_around_it_and_der_are_the_same() {
        let password = SecretString::from("x");
        let around = format!("Bag Attributes: none\n{EXPIRED}\ntrailing");
        assert_eq!(decrypt(&encrypt_initiator_password(around.as_bytes(), &password).unwrap()), b"x");
        let body: String = EXPIRED.lines().filter(|l| !l.starts_with('-')).collect();
        assert_eq!(decrypt(&encrypt_initiator_password(&STANDARD.decode(body).unwrap(), &password).unwrap()), b"x");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_reason() {
        let encrypt =
            |certificate: &str, password: &str| encrypt_initiator_password(certificate.as_bytes(), &SecretString::from(password)).unwrap_err();
        assert_eq!(encrypt("", "x"), CredentialError::NotACertificate);
        assert_eq!(encrypt("-----BEGIN CERTIFICATE-----", "x"), CredentialError::NotACertificate);
        assert_eq!(encrypt("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "x"), CredentialError::NotACertificate);
        assert_eq!(encrypt(CURVE, "x"), CredentialError::NotAnRsaKey);
        assert_eq!(encrypt(EXPIRED, ""), CredentialError::NoPassword);
        assert_eq!(encrypt(EXPIRED, "a(b"), CredentialError::Brackets);
        assert_eq!(encrypt(EXPIRED, &"x".repeat(246)), CredentialError::TooLong);
    }

    #[test]
    fn a_person_sees_when_it_expired() {
        let facts = certificate_facts(EXPIRED.as_bytes()).unwrap();
        assert_eq!((facts.key_bits, facts.subject.as_str()), (2048, "CN=test.invalid"));
        assert!(facts.not_after.unwrap() < "2017-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap());
    }
}
