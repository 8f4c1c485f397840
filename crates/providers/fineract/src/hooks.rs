//! Notices that a host posts to us (Mifos X contract 7.2). They are not signed, come at most once or several times or never,
//! and fire for failed commands too: a notice is a hint to read the loan, and nothing in it is believed.

use http::HeaderMap;
use pv_kernel::{core_banking::CoreError, rail::Unreadable};

use crate::wire::Object;

/// What a notice says happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookEvent {
    /// `LOAN`, `SAVINGSACCOUNT`, `GLIMLOAN`, … in capitals.
    pub entity: String,
    /// `APPROVE`, `DISBURSE`, … in capitals.
    pub action: String,
    /// The loan, when the notice names one. A failed command of 1.9+ does not.
    pub loan_id: Option<String>,
    /// The client, when named.
    pub client_id: Option<String>,
    /// Whether the notice can be about a command that did something to a loan: the result names a loan and the status is not
    /// that of a failure. Worth a read of the loan; no more than that.
    pub succeeded: bool,
    /// Who did it, as the host names its user. The event also fires for our own commands.
    pub by: Option<String>,
    /// `status` of the notice: `Exception` on a failure of the 1.8 line.
    pub status: Option<String>,
}

/// Longest name that is taken from a notice.
const LONGEST_NAME: usize = 100;

/// Reads a notice. Never panics; a body that is no JSON object, or names neither entity nor action, is unreadable.
pub fn read_hook(headers: &HeaderMap, body: &[u8]) -> Result<HookEvent, Unreadable> {
    let notice = Object::from_bytes(body).map_err(|error| match error {
        CoreError::Unreadable(why) => Unreadable(why),
        other => Unreadable(other.to_string()),
    })?;
    let named = |member: &str, header: &str| {
        let from_header = || headers.get(header).and_then(|value| value.to_str().ok()).map(str::to_owned);
        notice.text(member).or_else(from_header).map(|name| name.trim().to_uppercase()).filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME)
    };
    let entity = named("entityName", "x-fineract-entity").ok_or_else(|| Unreadable("the notice names no entity".to_owned()))?;
    let action = named("actionName", "x-fineract-action").ok_or_else(|| Unreadable("the notice names no action".to_owned()))?;
    // Releases of the 1.8 line and later nest the result in `response`; very old ones sent it flat.
    let response = notice.object_if_any("response");
    let nested = notice.has("response");
    let result = if nested { response.as_ref() } else { Some(&notice) };
    let loan_id = result.and_then(|r| r.id("loanId"));
    let status = notice.text("status").map(|s| s.chars().take(LONGEST_NAME).collect::<String>());
    let failed = status.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("exception"))
        || result.is_some_and(|r| r.has("errorCode") || r.has("errors") || !matches!(r.flag("rollbackTransaction"), Ok(false)));
    Ok(HookEvent {
        entity,
        action,
        succeeded: loan_id.is_some() && !failed,
        client_id: response.as_ref().and_then(|r| r.id("clientId")).or_else(|| notice.id("clientId")),
        loan_id,
        by: notice.text("createdByName").map(|name| name.chars().take(LONGEST_NAME).collect()),
        status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPROVED: &str = r#"{ "entityName": "LOAN", "actionName": "APPROVE", "createdBy": 7, "createdByName": "peter", "createdByFullName": "Peter Mwangi",
      "officeId": 2, "clientId": 118,
      "request": { "approvedOnDate": "19 November 2026", "expectedDisbursementDate": "20 November 2026", "approvedLoanAmount": 15000.0,
        "note": "", "dateFormat": "dd MMMM yyyy", "locale": "en" },
      "response": { "clientId": 118, "loanId": 734, "resourceId": 734, "resourceExternalId": "LN-734",
        "changes": { "status": { "id": 200, "code": "loanStatusType.approved", "value": "Approved" }, "approvedOnDate": "19 November 2026" } },
      "timestamp": "2026-11-19T08:14:22.512338Z" }"#;

    fn read(body: &str) -> Result<HookEvent, Unreadable> {
        read_hook(&HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn the_approval_of_the_contract_is_a_hint_to_read_loan_734() {
        assert_eq!(
            read(APPROVED).unwrap(),
            HookEvent {
                entity: "LOAN".into(),
                action: "APPROVE".into(),
                loan_id: Some("734".into()),
                client_id: Some("118".into()),
                succeeded: true,
                by: Some("peter".into()),
                status: None,
            }
        );
    }

    #[test]
    fn ids_that_became_doubles_are_the_same_ids() {
        let doubled = APPROVED.replace("\"loanId\": 734", "\"loanId\": 734.0").replace("118", "118.0");
        let event = read(&doubled).unwrap();
        assert_eq!((event.loan_id.as_deref(), event.client_id.as_deref(), event.succeeded), (Some("734"), Some("118"), true));
        assert_eq!(read(&APPROVED.replace("\"loanId\": 734", "\"loanId\": 1.2345678E7")).unwrap().loan_id.as_deref(), Some("12345678"));
    }

    #[test]
    fn a_failed_command_of_either_line_has_not_succeeded() {
        let old = r#"{"entityName":"LOAN","actionName":"APPROVE","createdByName":"peter","status":"Exception","request":{"loanId":734.0},
          "response":{"developerMessage":"x","userMessageGlobalisationCode":"validation.msg.domain.rule.violation","errors":[],"errorCode":"x","statusCode":403}}"#;
        let new = r#"{"entityName":"LOAN","actionName":"APPROVE","createdBy":7,"createdByName":"peter","request":{"loanId":734.0},"timestamp":"2026-11-19T08:14:22Z"}"#;
        for body in [old, new] {
            let event = read(body).unwrap();
            assert!(!event.succeeded, "{body}");
            assert_eq!(event.loan_id, None, "the request is never believed");
        }
        assert_eq!(read(old).unwrap().status.as_deref(), Some("Exception"));
        let odd = crate::testing::edited(APPROVED, r#""status":"Exception""#);
        assert!(!read(&odd).unwrap().succeeded);
        let parked = APPROVED.replace("\"loanId\": 734,", "\"loanId\": 734, \"rollbackTransaction\": true,");
        assert!(!read(&parked).unwrap().succeeded);
    }

    #[test]
    fn flat_bodies_of_old_releases_are_read_and_headers_stand_in_for_names() {
        let mut headers = HeaderMap::new();
        headers.insert("X-Fineract-Entity", "LOAN".parse().unwrap());
        headers.insert("X-Fineract-Action", "disburse".parse().unwrap());
        let event = read_hook(&headers, br#"{"officeId":2,"clientId":118,"loanId":734,"resourceId":9021,"changes":{}}"#).unwrap();
        assert_eq!(
            (event.entity.as_str(), event.action.as_str(), event.loan_id.as_deref(), event.succeeded),
            ("LOAN", "DISBURSE", Some("734"), true)
        );
        assert!(read(r#"{"loanId":734}"#).is_err());
    }

    #[test]
    fn a_result_that_is_no_object_names_no_loan() {
        for response in ["\"ok\"", "[734]", "{}", "{\"loanId\":\"x\"}", "{\"loanId\":734.5}"] {
            let event = read(&format!(r#"{{"entityName":"LOAN","actionName":"APPROVE","loanId":734,"response":{response}}}"#)).unwrap();
            assert!(!event.succeeded && event.loan_id.is_none(), "{response}");
        }
    }

    #[test]
    fn hostile_bodies_are_unreadable() {
        for body in ["", "[]", "<html>", "null", "{\"entityName\":\"LOAN\"}", &APPROVED[..100]] {
            assert!(read(body).is_err(), "{body}");
        }
        assert!(read_hook(&HeaderMap::new(), &[0xff, 0xfe, b'{']).is_err());
        let long = format!(r#"{{"entityName":"{}","actionName":"APPROVE"}}"#, "A".repeat(5000));
        assert!(read(&long).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_json_is_a_notice_or_unreadable(value in crate::testing::any_json(), bytes: Vec<u8>) {
            let _ = read(&value);
            let _ = read_hook(&HeaderMap::new(), &bytes);
            if let Ok(event) = read(&format!(r#"{{"entityName":"LOAN","actionName":"APPROVE","response":{value}}}"#)) {
                proptest::prop_assert_eq!(event.succeeded && event.loan_id.is_none(), false);
            }
        }
    }
}
