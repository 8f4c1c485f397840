//! What a refusal of Mifos X means (Mifos X contract 1.7). The inner code decides, never the text and never the status
//! alone: most business refusals come as 403.

use bytes::Bytes;
use http::{Response, StatusCode};
use pv_kernel::core_banking::{BookingRefusal, CoreError};

use crate::wire::{Object, array, excerpt};

/// The error envelope, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// `userMessageGlobalisationCode` of the envelope itself.
    pub outer: Option<String>,
    /// The codes of `errors[]`, in order.
    pub inner: Vec<String>,
}

/// Longest code that is kept: it is written into rows and stories.
const LONGEST_CODE: usize = 200;

impl Envelope {
    /// Reads what can be read; HTML, container bodies and nothing at all give an empty envelope.
    pub(crate) fn read(body: &[u8]) -> Self {
        let Ok(object) = Object::from_bytes(body) else {
            return Self::default();
        };
        let code = |o: &Object<'_>| o.text("userMessageGlobalisationCode").map(|c| c.chars().take(LONGEST_CODE).collect::<String>());
        let errors = object.token("errors").and_then(|token| array(token).ok()).unwrap_or_default();
        Self {
            outer: code(&object),
            inner: errors.into_iter().take(50).filter_map(|item| Object::read(item).ok()).filter_map(|item| code(&item)).collect(),
        }
    }

    /// The code that says most: the first inner one, else the outer one.
    pub(crate) fn code(&self) -> Option<&str> {
        self.inner.first().or(self.outer.as_ref()).map(String::as_str)
    }

    /// Every code, inner ones first.
    fn codes(&self) -> impl Iterator<Item = &str> {
        self.inner.iter().chain(&self.outer).map(String::as_str)
    }

    /// Whether a code occurs anywhere.
    pub(crate) fn says(&self, code: &str) -> bool {
        self.codes().any(|c| c == code)
    }

    /// Whether this came from the core itself and not from a container or a proxy before it.
    pub(crate) fn is_the_cores(&self) -> bool {
        self.code().is_some()
    }
}

/// Codes that say that our user, not the request, is the problem.
const ACCESS: &[&str] = &[
    "error.msg.not.authorized",
    "error.msg.not.authenticated",
    "error.msg.password.outdated",
    "error.msg.invalid.tenant.identifier",
    "error.msg.invalid.instance.type",
];

/// What kind of refusal a code is for a booking (Mifos X contract 3.6; the accounting codes are Fineract's own for a closed
/// period). What is not listed is a rule for a person to look at.
pub(crate) fn booking_refusal(code: &str) -> BookingRefusal {
    match code {
        "error.msg.loan.disbursal.account.is.not.approve.not.disbursed.state" => BookingRefusal::NotInState,
        "error.msg.loan.disbursal.cannot.be.before.approval.date"
        | "error.msg.loan.disbursal.cannot.be.a.future.date"
        | "error.msg.loan.application.disbursement.date.on.holiday"
        | "error.msg.loan.application.disbursement.date.on.non.working.day"
        | "error.msg.glJournalEntry.invalid.accounting.closed"
        | "error.msg.glJournalEntry.invalid.future.date" => BookingRefusal::Date,
        "validation.msg.loan.transaction.externalId.value.must.be.unique" | "error.msg.data.integrity.issue" => BookingRefusal::Duplicate,
        other if ACCESS.contains(&other) => BookingRefusal::Access,
        _ => BookingRefusal::Rule,
    }
}

/// The kind of a whole envelope: the first code that is more than a plain rule.
pub(crate) fn booking_refusal_of(envelope: &Envelope) -> BookingRefusal {
    envelope.codes().map(booking_refusal).find(|kind| *kind != BookingRefusal::Rule).unwrap_or(BookingRefusal::Rule)
}

/// What an answer other than 200 to a read means.
pub(crate) fn read_error(response: &Response<Bytes>) -> CoreError {
    let status = response.status();
    let envelope = Envelope::read(response.body());
    let said = match envelope.code() {
        Some(code) => format!("{} {code}", status.as_u16()),
        None => format!("{} {}", status.as_u16(), excerpt(&String::from_utf8_lossy(response.body()))),
    };
    match status {
        StatusCode::UNAUTHORIZED => CoreError::Access(said),
        _ if envelope.codes().any(|code| ACCESS.contains(&code)) => CoreError::Access(said),
        StatusCode::FORBIDDEN => CoreError::Access(said),
        // Not the core's envelope: the security filter in front of it, which looks at the tenant first (1.3).
        StatusCode::BAD_REQUEST if !envelope.is_the_cores() => CoreError::Access(format!("tenant missing or unknown? {said}")),
        // Only the core's own 404 says that a row does not exist. A proxy's or a container's says that the address is wrong.
        StatusCode::NOT_FOUND if envelope.is_the_cores() => CoreError::NotFound,
        StatusCode::CONFLICT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => CoreError::Down(said),
        _ if status.is_server_error() => CoreError::Down(said),
        _ => CoreError::Unreadable(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{answer, envelope};

    #[test]
    fn the_inner_code_speaks_before_the_outer_one() {
        let body = br#"{ "developerMessage": "text", "httpStatusCode": "400", "defaultUserMessage": "text",
          "userMessageGlobalisationCode": "validation.msg.validation.errors.exist",
          "errors": [ { "developerMessage": "text", "defaultUserMessage": "text",
              "userMessageGlobalisationCode": "validation.msg.loan.transaction.transactionAmount.cannot.be.blank",
              "parameterName": "transactionAmount", "value": null, "args": [ { "value": "15000" } ] } ] }"#;
        let envelope = Envelope::read(body);
        assert_eq!(envelope.code(), Some("validation.msg.loan.transaction.transactionAmount.cannot.be.blank"));
        assert_eq!(envelope.outer.as_deref(), Some("validation.msg.validation.errors.exist"));
    }

    #[test]
    fn the_outer_code_stands_in_when_errors_are_empty_null_or_absent() {
        for errors in [r#","errors":[]"#, r#","errors":null"#, "", r#","errors":"none""#] {
            let body = format!(r#"{{"userMessageGlobalisationCode":"error.msg.not.authorized"{errors}}}"#);
            assert_eq!(Envelope::read(body.as_bytes()).code(), Some("error.msg.not.authorized"), "{errors}");
        }
    }

    #[test]
    fn bodies_of_containers_and_proxies_carry_no_code() {
        for body in ["<html>502</html>", "", "{\"Exception\":\"text\"}", "{\"timestamp\":1,\"status\":400,\"error\":\"Bad Request\"}", "{\"user"] {
            assert!(!Envelope::read(body.as_bytes()).is_the_cores(), "{body}");
        }
    }

    #[test]
    fn every_refusal_of_the_contract_has_its_kind() {
        for (code, kind) in [
            ("error.msg.loan.disbursal.account.is.not.approve.not.disbursed.state", BookingRefusal::NotInState),
            ("error.msg.loan.disbursal.cannot.be.before.approval.date", BookingRefusal::Date),
            ("error.msg.loan.disbursal.cannot.be.a.future.date", BookingRefusal::Date),
            ("error.msg.loan.application.disbursement.date.on.holiday", BookingRefusal::Date),
            ("error.msg.loan.application.disbursement.date.on.non.working.day", BookingRefusal::Date),
            ("error.msg.loan.disbursal.cannot.be.after.expected.first.repayment.date", BookingRefusal::Rule),
            ("error.msg.actual.disbursement.date.does.not.match.with.expected.disbursal.date", BookingRefusal::Rule),
            ("error.msg.client.not.active.exception", BookingRefusal::Rule),
            ("error.msg.loan.disburse.amount.must.be.less.than.approved.amount", BookingRefusal::Rule),
            ("error.msg.payment.type.invalid", BookingRefusal::Rule),
            ("validation.msg.loan.transaction.externalId.value.must.be.unique", BookingRefusal::Duplicate),
            ("error.msg.data.integrity.issue", BookingRefusal::Duplicate),
            ("error.msg.not.authorized", BookingRefusal::Access),
            ("error.msg.password.outdated", BookingRefusal::Access),
        ] {
            assert_eq!(booking_refusal(code), kind, "{code}");
        }
    }

    #[test]
    fn a_404_is_no_such_row_only_when_the_core_itself_says_so() {
        assert_eq!(read_error(&answer(404, &envelope("error.msg.resource.not.found", Some("error.msg.loan.id.invalid")))), CoreError::NotFound);
        assert!(matches!(read_error(&answer(404, "<html>404 nginx</html>")), CoreError::Unreadable(_)));
        assert!(matches!(read_error(&answer(404, "")), CoreError::Unreadable(_)));
    }

    #[test]
    fn reads_tell_our_user_from_a_busy_host() {
        let access = |status, body: &str| {
            assert!(matches!(read_error(&answer(status, body)), CoreError::Access(_)), "{status} {body}");
        };
        access(401, "");
        access(403, &envelope("error.msg.not.authorized", Some("error.msg.not.authorized")));
        access(400, &envelope("error.msg.password.outdated", None));
        access(400, "{\"timestamp\":\"x\",\"status\":400}");
        let down = |status, body: &str| {
            assert!(matches!(read_error(&answer(status, body)), CoreError::Down(_)), "{status} {body}");
        };
        for status in [409, 425, 429, 500, 502, 503, 504] {
            down(status, "<html>");
        }
        down(409, &envelope("error.msg.loan.locked", None));
        assert!(matches!(read_error(&answer(302, "")), CoreError::Unreadable(_)));
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_the_envelope_panic(body: Vec<u8>, text in "\\PC{0,60}") {
            let _ = Envelope::read(&body);
            let read = Envelope::read(format!("{{\"errors\":[{{\"userMessageGlobalisationCode\":{}}}]}}", serde_json::to_string(&text).unwrap()).as_bytes());
            proptest::prop_assert_eq!(read.inner.is_empty(), text.trim().is_empty());
        }
    }
}
