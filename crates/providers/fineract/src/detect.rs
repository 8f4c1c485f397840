//! Which line a host is of, found by asking and never assumed (Mifos X contract 11).

use http::StatusCode;
use pv_kernel::core_banking::{CoreError, CoreLink, CoreProfile};

use crate::{
    Fineract,
    connection::{Ask, no_read},
    errors::{Envelope, read_error},
    wire::{Object, unreadable},
};

/// An external id that no loan has.
const PROBE: &str = "pv-probe-none";

/// The line before idempotency keys and external-id addresses.
pub(crate) const OLD_LINE: &str = "1.8";
/// The line with both.
pub(crate) const NEW_LINE: &str = "1.9+";

impl Fineract {
    /// Asks for a loan by an external id that does not exist. 1.9+ knows the address and says that the external id is invalid;
    /// 1.8 does not know the address. Because a wrong base URL does not know it either, a list must be readable before a
    /// host counts as 1.8.
    pub(crate) async fn detect_line(&self, link: &CoreLink) -> Result<CoreProfile, CoreError> {
        let response = self.ask(link, Ask::get("fineract.detect", format!("/loans/external-id/{PROBE}"))).await.map_err(no_read)?;
        let status = response.status();
        if Envelope::read(response.body()).says("error.msg.loan.external.id.invalid") {
            return Ok(new_line());
        }
        if status == StatusCode::OK {
            let loan = Object::from_bytes(response.body())?;
            let ours = loan.text("externalId").as_deref() == Some(PROBE);
            return if ours { Ok(new_line()) } else { Err(unreadable("the answer to the version probe is not a loan")) };
        }
        if status != StatusCode::NOT_FOUND {
            return Err(read_error(&response));
        }
        let list = self.read(link, "fineract.detect", "/loans?limit=1&offset=0&orderBy=id&sortOrder=ASC").await?;
        if !Object::from_bytes(list.body())?.has("pageItems") {
            return Err(unreadable("the list of loans has no pageItems: is the base URL right?"));
        }
        Ok(CoreProfile { line: OLD_LINE.to_owned(), idempotency: false })
    }
}

fn new_line() -> CoreProfile {
    CoreProfile { line: NEW_LINE.to_owned(), idempotency: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Host, envelope, link, run};

    #[test]
    fn the_external_id_error_is_the_mark_of_the_new_line() {
        let host = Host::answering([(404, envelope("error.msg.resource.not.found", Some("error.msg.loan.external.id.invalid")))]);
        assert_eq!(run(host.core().detect_line(&link())), Ok(new_line()));
        assert_eq!(host.sent().len(), 1);
        assert_eq!(host.sent()[0].request.uri().path(), "/fineract-provider/api/v1/loans/external-id/pv-probe-none");
    }

    #[test]
    fn another_404_is_the_old_line_only_when_its_loans_can_be_read() {
        let host =
            Host::answering([(404, "<html>HTTP Status 404</html>".to_owned()), (200, r#"{"totalFilteredRecords":0,"pageItems":[]}"#.to_owned())]);
        let profile = run(host.core().detect_line(&link()));
        assert_eq!(profile, Ok(CoreProfile { line: "1.8".into(), idempotency: false }));

        let wrong_address = Host::answering([(404, "<html/>".to_owned()), (404, "<html/>".to_owned())]);
        assert!(matches!(run(wrong_address.core().detect_line(&link())), Err(CoreError::Unreadable(_))));
    }

    #[test]
    fn refusals_and_nonsense_are_not_a_version() {
        for (status, body) in
            [(200, "<html>welcome</html>"), (200, "{}"), (200, ""), (401, ""), (403, "{}"), (500, "{\"Exception\":\"x\"}"), (302, "")]
        {
            let host = Host::answering([(status, body.to_owned())]);
            assert!(run(host.core().detect_line(&link())).is_err(), "{status} {body}");
        }
    }
}
