//! All loans that are approved now (Mifos X contract 3.2): the poll that is the source of truth, where hooks only hint.
//!
//! Of the two filters one is always ignored, and an ignored filter means every loan of the bank, so each row is filtered
//! again by its status. A row that leaves the list while pages are read can push another one past the page border; that one
//! comes with the next poll.

use std::collections::BTreeSet;

use pv_kernel::core_banking::{CoreError, CoreLink, CoreLoan, LoanStatus};

use crate::{
    Fineract,
    connection::PAGE,
    loans,
    wire::{Object, array, unreadable, whole_number},
};

/// The most pages that one poll reads: 50,000 rows.
const MOST_PAGES: usize = 500;

/// What a poll found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApprovedRead {
    /// Loans with status 200, ordered as they came, each once.
    pub loans: Vec<CoreLoan>,
    /// Rows that cannot be read, with the loan id where there is one and the reason. They may be approved loans.
    pub unreadable: Vec<(Option<String>, String)>,
}

impl ApprovedRead {
    /// The loans alone. Unreadable rows are logged; when nothing else was found they are the error, because then "no approved
    /// loans" would be a claim that nobody can make.
    pub(crate) fn into_loans(self, link: &CoreLink) -> Result<Vec<CoreLoan>, CoreError> {
        for (loan, why) in &self.unreadable {
            tracing::warn!(core = %link.core_id, loan = loan.as_deref().unwrap_or("?"), why, "an approved loan cannot be read; it is not paid");
        }
        match self.unreadable.into_iter().next() {
            Some((loan, why)) if self.loans.is_empty() => Err(unreadable(format!("loan {}: {why}", loan.as_deref().unwrap_or("?")))),
            _ => Ok(self.loans),
        }
    }
}

/// One page of a list.
struct Page {
    rows: Vec<(Option<String>, Row)>,
    total: Option<usize>,
}

enum Row {
    Approved(Box<CoreLoan>),
    InAnotherState,
    Unreadable(String),
}

impl Fineract {
    /// Reads all approved loans with the rows that could not be read. The list is whole or it is an error.
    pub async fn read_approved(&self, link: &CoreLink) -> Result<ApprovedRead, CoreError> {
        let mut found = ApprovedRead::default();
        let mut seen = BTreeSet::new();
        let mut offset = 0;
        for _ in 0..MOST_PAGES {
            let path = format!("/loans?status=200&sqlSearch=l.loan_status_id%3D200&limit={PAGE}&offset={offset}&orderBy=id&sortOrder=ASC");
            let response = self.read(link, "fineract.approved", path).await?;
            let page = read_page(response.body())?;
            let count = page.rows.len();
            let mut fresh = false;
            for (id, row) in page.rows {
                if let Some(id) = &id
                    && !seen.insert(id.clone())
                {
                    continue;
                }
                fresh |= id.is_some();
                match row {
                    Row::Approved(loan) => found.loans.push(*loan),
                    Row::InAnotherState => {}
                    Row::Unreadable(why) => found.unreadable.push((id, why)),
                }
            }
            offset += PAGE;
            // A host that ignores the paging sends the same rows again, or all of them at once.
            let whole = match page.total {
                Some(total) => offset >= total || count >= total,
                None => count != PAGE,
            };
            if whole || !fresh {
                return Ok(found);
            }
        }
        Err(CoreError::Down(format!("the list of approved loans did not end after {MOST_PAGES} pages")))
    }
}

fn read_page(body: &[u8]) -> Result<Page, CoreError> {
    let text = std::str::from_utf8(body).map_err(|_| unreadable("not UTF-8"))?;
    let (items, total) = if text.trim_start().starts_with('[') {
        (array(text)?, None)
    } else {
        let page = Object::read(text)?;
        let total = page.text("totalFilteredRecords").as_deref().and_then(whole_number).and_then(|n| usize::try_from(n).ok());
        (page.array("pageItems")?.ok_or_else(|| unreadable("the page has no pageItems"))?, total)
    };
    Ok(Page { rows: items.into_iter().map(read_row).collect(), total })
}

fn read_row(text: &str) -> (Option<String>, Row) {
    let loan = match Object::read(text) {
        Ok(loan) => loan,
        Err(why) => return (None, Row::Unreadable(why.to_string())),
    };
    let row = match loans::status_id(&loan).map(LoanStatus::from_id) {
        Ok(LoanStatus::Approved) => match loans::read(&loan, false) {
            Ok(read) => Row::Approved(Box::new(read)),
            Err(why) => Row::Unreadable(why.to_string()),
        },
        Ok(_) => Row::InAnotherState,
        Err(why) => Row::Unreadable(why.to_string()),
    };
    (loan.id("id"), row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Host, LOAN, edited, link, run};

    fn loan(id: usize, status: u16) -> String {
        edited(LOAN, &format!(r#""id":{id},"status":{{"id":{status}}}"#))
    }

    fn page(total: usize, rows: impl IntoIterator<Item = String>) -> (u16, String) {
        (200, format!(r#"{{"totalFilteredRecords":{total},"pageItems":[{}]}}"#, rows.into_iter().collect::<Vec<_>>().join(",")))
    }

    fn ids(loans: &[CoreLoan]) -> Vec<usize> {
        loans.iter().map(|l| l.loan_id.parse().unwrap()).collect()
    }

    #[test]
    fn both_filters_and_the_paging_are_sent() {
        let host = Host::answering([page(1, [LOAN.to_owned()])]);
        assert_eq!(ids(&run(host.core().read_approved(&link())).unwrap().loans), [734]);
        assert_eq!(
            host.sent()[0].request.uri().query().unwrap(),
            "status=200&sqlSearch=l.loan_status_id%3D200&limit=100&offset=0&orderBy=id&sortOrder=ASC"
        );
    }

    #[test]
    fn a_host_that_ignores_both_filters_is_filtered_here() {
        let rows = (1..=100).map(|id| loan(id, if id % 10 == 0 { 200 } else { 300 }));
        let more = (101..=130).map(|id| loan(id, if id == 115 { 200 } else { 100 }));
        let host = Host::answering([page(130, rows), page(130, more)]);
        let found = run(host.core().read_approved(&link())).unwrap();
        assert_eq!(ids(&found.loans), [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 115]);
        assert!(host.sent()[1].request.uri().query().unwrap().contains("offset=100"));
    }

    #[test]
    fn a_host_that_ignores_the_paging_gives_each_loan_once() {
        let all = || page(250, (1..=250).map(|id| loan(id, 200)));
        let host = Host::answering([all(), all()]);
        assert_eq!(run(host.core().read_approved(&link())).unwrap().loans.len(), 250);
        assert_eq!(host.sent().len(), 1);

        let same_page = || page(250, (1..=100).map(|id| loan(id, 200)));
        let host = Host::answering([same_page(), same_page()]);
        assert_eq!(run(host.core().read_approved(&link())).unwrap().loans.len(), 100);
        assert_eq!(host.sent().len(), 2);
    }

    #[test]
    fn one_bad_row_does_not_hide_the_others_and_is_named() {
        let bad = edited(&loan(2, 200), r#""netDisbursalAmount": 14550.005"#);
        let host = Host::answering([page(3, [loan(1, 200), bad.clone(), "\"x\"".to_owned()])]);
        let found = run(host.core().read_approved(&link())).unwrap();
        assert_eq!(ids(&found.loans), [1]);
        assert_eq!(found.unreadable.len(), 2);
        assert_eq!(found.unreadable[0].0.as_deref(), Some("2"));
        let host = Host::answering([page(1, [bad])]);
        assert!(matches!(run(pv_kernel::core_banking::Core::approved_loans(&host.core(), &link())), Err(CoreError::Unreadable(_))));
    }

    #[test]
    fn a_list_that_breaks_off_is_an_error_and_not_a_shorter_list() {
        let first = || page(150, (1..=100).map(|id| loan(id, 200)));
        for second in [(500, String::new()), (200, "<html>".to_owned()), (200, "{}".to_owned()), (401, String::new())] {
            let host = Host::answering([first(), second]);
            assert!(run(host.core().read_approved(&link())).is_err());
        }
    }

    #[test]
    fn an_empty_bank_has_no_approved_loans() {
        let host = Host::answering([page(0, [])]);
        assert_eq!(run(host.core().read_approved(&link())).unwrap(), ApprovedRead::default());
    }

    proptest::proptest! {
        #[test]
        fn any_json_is_a_page_or_an_error(value in crate::testing::any_json()) {
            let _ = read_page(value.as_bytes());
            let _ = read_page(format!("{{\"pageItems\":[{value}]}}").as_bytes());
        }
    }
}
