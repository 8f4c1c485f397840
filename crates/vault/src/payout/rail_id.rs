//! Deterministic ids (rule A3): the same decision and attempt make the same rail id and the same callback token, for ever, also
//! in a database that lost its last minutes.

use pv_kernel::{
    crypto,
    ids::{CoreId, PartnerId},
};
use zeroize::Zeroizing;

/// The key of the rail ids. Backed up outside the database.
#[derive(Clone)]
pub struct IdKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for IdKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdKey(…)")
    }
}

/// What a rail id is made from.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A loan: the identity of rule A1.
    Loan {
        /// The connection.
        core: CoreId,
        /// The loan's id in that core.
        loan: &'a str,
        /// Tranche, 0 where there are none.
        tranche: i32,
        /// Generation, 1 for the first approval.
        generation: i32,
    },
    /// A payment without a loan: the partner's own business reference.
    Reference {
        /// The partner.
        partner: PartnerId,
        /// The reference, unique per partner.
        reference: &'a str,
    },
}

impl IdKey {
    /// From 32 bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// A short mark of the key, to notice at start-up that a database belongs to another key. Not the key.
    pub fn mark(&self) -> String {
        hex::encode(crypto::hmac_sha256(self.0.as_slice(), &[b"mark"]).first_chunk::<8>().unwrap_or(&[0; 8]))
    }

    /// `OriginatorConversationID`: `pv-` and 32 characters of base32 (160 bits), 35 in all: within the 36 that are known to
    /// work (M-Pesa contract 2.2).
    pub fn rail_id(&self, subject: Subject<'_>, attempt: i32) -> String {
        let attempt = attempt.to_string();
        let mac = match subject {
            Subject::Loan { core, loan, tranche, generation } => crypto::hmac_sha256(
                self.0.as_slice(),
                &[
                    b"loan",
                    core.uuid().as_bytes(),
                    loan.as_bytes(),
                    tranche.to_string().as_bytes(),
                    generation.to_string().as_bytes(),
                    attempt.as_bytes(),
                ],
            ),
            Subject::Reference { partner, reference } => {
                crypto::hmac_sha256(self.0.as_slice(), &[b"reference", partner.uuid().as_bytes(), reference.as_bytes(), attempt.as_bytes()])
            }
        };
        format!("pv-{}", crypto::base32(mac.first_chunk::<20>().unwrap_or(&[0; 20])))
    }

    /// The path token of a payout's callbacks: 32 lower-case hexadecimal digits, so that no banned word can occur (rule D2).
    pub fn token(&self, rail_id: &str) -> String {
        let mac = crypto::hmac_sha256(self.0.as_slice(), &[b"token", rail_id.as_bytes()]);
        hex::encode(mac.first_chunk::<16>().unwrap_or(&[0; 16]))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_same_decision_and_attempt_always_make_the_same_id() {
        let key = IdKey::new([7; 32]);
        let loan = |generation| Subject::Loan { core: CoreId(Uuid::from_u128(1)), loan: "734", tranche: 0, generation };
        let first = key.rail_id(loan(1), 1);
        assert_eq!(first, IdKey::new([7; 32]).rail_id(loan(1), 1));
        assert_eq!(first.len(), 35);
        assert_ne!(first, key.rail_id(loan(1), 2), "a new attempt has a new id");
        assert_ne!(first, key.rail_id(loan(2), 1), "a new generation has a new id");
        let elsewhere = Subject::Loan { core: CoreId(Uuid::from_u128(2)), loan: "734", tranche: 0, generation: 1 };
        assert_ne!(first, key.rail_id(elsewhere, 1), "the same number on another host is another loan");
        assert_ne!(first, IdKey::new([8; 32]).rail_id(loan(1), 1));
    }

    #[test]
    fn tokens_can_hold_no_banned_word() {
        let key = IdKey::new([7; 32]);
        let token = key.token("pv-abc");
        assert_eq!(token.len(), 32);
        assert!(token.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
    }
}
