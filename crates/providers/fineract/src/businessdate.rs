//! The tenant's logical day (Mifos X contract 1.10).

use chrono::{DateTime, NaiveDate, Utc};
use http::{HeaderMap, StatusCode, header};
use pv_kernel::core_banking::{CoreError, CoreLink};

use crate::{
    Fineract,
    connection::{Ask, no_read},
    errors::read_error,
    wire::{Object, array, unreadable},
};

/// A business date further than this from the host's own clock is a left-over of a switch that is off: the list keeps the
/// last value for ever.
const BELIEVABLE_DAYS: i64 = 7;

impl Fineract {
    /// The business date, or `None` where the core does not tell one: the list is empty or missing, our user may not read it
    /// (the right is not among those every partner must give), or the date is so far from the host's clock that the switch
    /// must be off.
    pub(crate) async fn read_business_date(&self, link: &CoreLink) -> Result<Option<NaiveDate>, CoreError> {
        let response = self.ask(link, Ask::get("fineract.business_date", "/businessdate")).await.map_err(no_read)?;
        match response.status() {
            StatusCode::OK => {
                let host_day = date_header(response.headers()).map(|at| at.date_naive());
                let date = read(response.body())?;
                Ok(date.filter(|date| host_day.is_none_or(|today| (*date - today).num_days().abs() <= BELIEVABLE_DAYS)))
            }
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(None),
            _ => Err(read_error(&response)),
        }
    }
}

/// What the host's clock says, from its `Date` header.
pub(crate) fn date_header(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    DateTime::parse_from_rfc2822(text).ok().map(|at| at.with_timezone(&Utc))
}

fn read(body: &[u8]) -> Result<Option<NaiveDate>, CoreError> {
    let text = std::str::from_utf8(body).map_err(|_| unreadable("not UTF-8"))?;
    for row in array(text)? {
        let row = Object::read(row)?;
        if row.text("type").as_deref() == Some("BUSINESS_DATE") {
            return row.date("date");
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Host, envelope, link, run};

    const LIST: &str = r#"[{"description":"COB Date","type":"COB_DATE","date":[2026,11,19]},{"description":"Business Date","type":"BUSINESS_DATE","date":[2026,11,20]}]"#;

    #[test]
    fn the_business_date_is_found_in_the_list() {
        let host = Host::answering([(200, LIST.to_owned())]);
        assert_eq!(run(host.core().read_business_date(&link())), Ok(NaiveDate::from_ymd_opt(2026, 11, 20)));
    }

    #[test]
    fn a_date_left_over_from_long_ago_is_not_the_tenants_day() {
        let near = Host::dated("Sat, 21 Nov 2026 05:00:00 GMT", LIST);
        assert_eq!(run(near.core().read_business_date(&link())), Ok(NaiveDate::from_ymd_opt(2026, 11, 20)));
        let far = Host::dated("Fri, 01 Jan 2027 05:00:00 GMT", LIST);
        assert_eq!(run(far.core().read_business_date(&link())), Ok(None));
    }

    #[test]
    fn a_core_that_does_not_tell_has_no_business_date() {
        for (status, body) in [(200, "[]".to_owned()), (403, envelope("error.msg.not.authorized", None)), (404, "<html>".to_owned())] {
            let host = Host::answering([(status, body)]);
            assert_eq!(run(host.core().read_business_date(&link())), Ok(None));
        }
    }

    #[test]
    fn broken_answers_are_errors() {
        for (status, body) in [(200, "<html>"), (200, ""), (200, r#"[{"type":"BUSINESS_DATE","date":"soon"}]"#), (401, ""), (503, "")] {
            let host = Host::answering([(status, body.to_owned())]);
            assert!(run(host.core().read_business_date(&link())).is_err(), "{status} {body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_json_is_a_date_or_an_error(value in crate::testing::any_json()) {
            let _ = read(value.as_bytes());
            let _ = read(format!("[{value}]").as_bytes());
        }
    }
}
