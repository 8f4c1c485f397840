//! Delivery reports (SMS contract 2.4): who sent one, and what it says.

use pv_kernel::{
    crypto::hmac_sha256_raw,
    rail::Unreadable,
    sms::{DeliveryReport, SmsAccount},
};
use secrecy::ExposeSecret as _;
use serde_json::value::RawValue;
use subtle::ConstantTimeEq as _;

use crate::wire::{Report, state, text};

/// The most reports taken from one body.
const MOST_REPORTS: usize = 1000;

/// Reads one report, or a list of them.
pub(crate) fn read(body: &[u8]) -> Result<Vec<DeliveryReport>, Unreadable> {
    let unreadable = |e: serde_json::Error| Unreadable(format!("not a delivery report: {e}"));
    let raw: &RawValue = serde_json::from_slice(body).map_err(unreadable)?;
    if !raw.get().trim_start().starts_with('[') {
        return Ok(vec![read_one(raw)?]);
    }
    let rows: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(unreadable)?;
    if rows.len() > MOST_REPORTS {
        return Err(Unreadable(format!("{} reports in one body", rows.len())));
    }
    rows.into_iter().map(read_one).collect()
}

fn read_one(raw: &RawValue) -> Result<DeliveryReport, Unreadable> {
    if !raw.get().trim_start().starts_with('{') {
        return Err(Unreadable("not a delivery report: no object".to_owned()));
    }
    let report: Report<'_> = serde_json::from_str(raw.get()).map_err(|e| Unreadable(format!("not a delivery report: {e}")))?;
    let (message_id, reference) = (text(report.message_id), text(report.reference));
    if message_id.is_none() && reference.is_none() {
        return Err(Unreadable("the report names no message".to_owned()));
    }
    let status = text(report.status).ok_or_else(|| Unreadable("the report has no status".to_owned()))?;
    let state = state(&status).ok_or_else(|| Unreadable(format!("unknown status {status:?} in a report")))?;
    let error = match (text(report.error_code), text(report.error_message)) {
        (Some(code), Some(said)) => Some(format!("{code}: {said}")),
        (code, said) => code.or(said),
    };
    Ok(DeliveryReport { message_id, reference, state, error })
}

/// Whether the signature is the lower-case hexadecimal HMAC-SHA256 of the raw body under this account's key. Compared in
/// constant time; no signature, or one of another shape, is not genuine. An account without a key verifies nothing.
pub(crate) fn is_genuine(account: &SmsAccount, signature: Option<&str>, body: &[u8]) -> bool {
    let key = account.api_key.expose_secret();
    let Some(signature) = signature.filter(|_| !key.is_empty()) else {
        return false;
    };
    let expected = hex::encode(hmac_sha256_raw(key.as_bytes(), body));
    expected.as_bytes().ct_eq(signature.trim().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use pv_kernel::sms::DeliveryState;

    use super::*;
    use crate::testing::account;

    const DELIVERED: &str = r#"{ "message_id": "DMZ-SIM-000001", "reference": "0b1c1b62-1111-4222-8333-444455556666", "recipient": "254700000201",
      "status": "DELIVERED", "error_code": null, "error_message": null, "updated_at": "2025-01-15T09:31:02+03:00" }"#;

    #[test]
    fn the_report_of_the_contract_is_read() {
        assert_eq!(
            read(DELIVERED.as_bytes()).unwrap(),
            [DeliveryReport {
                message_id: Some("DMZ-SIM-000001".into()),
                reference: Some("0b1c1b62-1111-4222-8333-444455556666".into()),
                state: DeliveryState::Delivered,
                error: None,
            }]
        );
    }

    #[test]
    fn failures_carry_the_gateways_words_and_lists_are_read() {
        let failed = r#"{"message_id":"DMZ-2","status":"FAILED","error_code":"UserDoesNotExist","error_message":"no such subscriber"}"#;
        let reports = read(format!("[{DELIVERED},{failed}]").as_bytes()).unwrap();
        assert_eq!(reports.len(), 2);
        assert_eq!((reports[1].state, reports[1].error.as_deref()), (DeliveryState::Undelivered, Some("UserDoesNotExist: no such subscriber")));
        assert_eq!(reports[1].reference, None);
    }

    #[test]
    fn what_names_no_message_or_no_known_state_is_unreadable() {
        for body in [
            "",
            "<html>",
            "null",
            "7",
            "\"DELIVERED\"",
            "{}",
            &DELIVERED[..80],
            r#"{"status":"DELIVERED"}"#,
            r#"{"message_id":"a"}"#,
            r#"{"message_id":"a","status":"SEEN"}"#,
            r#"{"message_id":"a","status":true}"#,
            r#"["DMZ-1","x","DELIVERED"]"#,
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(read(b"[]"), Ok(vec![]));
    }

    #[test]
    fn a_report_is_genuine_only_with_the_hmac_of_its_own_bytes() {
        let body = DELIVERED.as_bytes();
        let signature = hex::encode(hmac_sha256_raw(b"sim-key", body));
        assert!(is_genuine(&account(), Some(&signature), body));
        assert!(!is_genuine(&account(), Some(&signature), DELIVERED.replace("DELIVERED", "FAILED").as_bytes()));
        assert!(!is_genuine(&account(), Some(&signature.to_uppercase()), body), "the contract says lower case");
        for bad in [None, Some(""), Some("0"), signature.get(..63)] {
            assert!(!is_genuine(&account(), bad, body), "{bad:?}");
        }
        let other = SmsAccount { api_key: "another".to_owned().into(), ..account() };
        assert!(!is_genuine(&other, Some(&signature), body));
        let keyless = SmsAccount { api_key: String::new().into(), ..account() };
        assert!(!is_genuine(&keyless, Some(&hex::encode(hmac_sha256_raw(b"", body))), body));
    }

    #[test]
    fn the_hmac_agrees_with_a_published_vector() {
        // RFC 4231, test case 2.
        let account = SmsAccount { api_key: "Jefe".to_owned().into(), ..account() };
        let tag = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert!(is_genuine(&account, Some(tag), b"what do ya want for nothing?"));
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_panic(body: Vec<u8>, text in "\\PC{0,80}", signature in proptest::option::of("\\PC{0,70}")) {
            let _ = read(&body);
            let _ = read(text.as_bytes());
            let _ = read(format!("{{\"message_id\":{text},\"status\":\"SENT\"}}").as_bytes());
            proptest::prop_assert!(!is_genuine(&account(), signature.as_deref(), &body));
        }
    }
}
