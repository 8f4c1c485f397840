//! One loan as the host reads it back (Mifos X contract 3.1, 3.3, 4.1), and why it may not be the simple case of rule A15.

use pv_kernel::{
    Money,
    core_banking::{CoreError, CoreLink, CoreLoan, CoreTransaction, LoanStatus},
};

use crate::{
    Fineract,
    connection::path_id,
    wire::{Object, unreadable},
};

impl Fineract {
    /// Reads one loan, always with its linked account, and with its transactions when asked. Nothing is included in an
    /// answer unless it was asked for (Mifos X contract 3.3).
    pub(crate) async fn read_loan(&self, link: &CoreLink, loan_id: &str, with_transactions: bool) -> Result<CoreLoan, CoreError> {
        let id = path_id(loan_id, "loan")?;
        let associations = if with_transactions { "transactions,linkedAccount" } else { "linkedAccount" };
        let response = self.read(link, "fineract.loan", format!("/loans/{id}?associations={associations}")).await?;
        let object = Object::from_bytes(response.body())?;
        let loan = read(&object, with_transactions)?;
        if same_id(&loan.loan_id, id) { Ok(loan) } else { Err(unreadable(format!("asked for loan {id}, got loan {}", loan.loan_id))) }
    }
}

/// Whether two ids are the same number.
pub(crate) fn same_id(a: &str, b: &str) -> bool {
    a.trim_start_matches('0') == b.trim_start_matches('0')
}

/// The status id of a loan.
pub(crate) fn status_id(loan: &Object<'_>) -> Result<u16, CoreError> {
    loan.object("status")?.and_then(|status| status.small("id")).ok_or_else(|| unreadable("the loan has no status id"))
}

/// Reads a loan. `with_transactions`: they were asked for.
pub(crate) fn read(loan: &Object<'_>, with_transactions: bool) -> Result<CoreLoan, CoreError> {
    let missing = |what: &str| unreadable(format!("the loan has no {what}"));
    let status = LoanStatus::from_id(status_id(loan)?);
    // Before approval the approved principal is absent or zero; the debt is then what was applied for.
    let approved = loan.money("approvedPrincipal")?.filter(|amount| amount.is_positive());
    let principal = approved.or(loan.money("principal")?).ok_or_else(|| missing("principal"))?;
    let net = match loan.money("netDisbursalAmount")? {
        Some(net) if status == LoanStatus::Approved && net > principal => {
            return Err(unreadable("netDisbursalAmount is larger than the approved principal"));
        }
        Some(net) => net,
        // Without it the charges due at disbursement are not known: paying the principal could be too much.
        None if status == LoanStatus::Approved => return Err(missing("netDisbursalAmount")),
        None => principal,
    };
    let timeline = loan.object("timeline")?;
    let day = |key: &str| timeline.as_ref().map_or(Ok(None), |t| t.date(key));
    Ok(CoreLoan {
        loan_id: loan.id("id").ok_or_else(|| missing("id"))?,
        account_no: loan.text("accountNo").unwrap_or_default(),
        status,
        client_id: loan.id("clientId"),
        client_name: loan.text("clientName"),
        product_id: loan.id("loanProductId").ok_or_else(|| missing("loanProductId"))?,
        product_name: loan.text("loanProductName").unwrap_or_default(),
        currency: loan.object("currency")?.and_then(|c| c.text("code")).ok_or_else(|| missing("currency code"))?,
        principal,
        net,
        approved_on: day("approvedOnDate")?,
        approved_by: timeline.as_ref().and_then(|t| t.text("approvedByUsername")),
        expected_on: day("expectedDisbursementDate")?,
        not_simple: not_simple(loan)?.map(str::to_owned),
        disbursements: if with_transactions { disbursements(loan, status)? } else { Vec::new() },
    })
}

/// The first reason why a person must look at this loan before it is paid (rule A15).
fn not_simple(loan: &Object<'_>) -> Result<Option<&'static str>, CoreError> {
    if loan.flag("multiDisburseLoan")? || loan.flag("disallowExpectedDisbursements")? {
        return Ok(Some("tranches"));
    }
    let settles_another = loan.money("topupAmount")?.is_some_and(|amount| !amount.is_zero()) || loan.has("closureLoanId");
    if loan.flag("isTopup")? || settles_another {
        return Ok(Some("top_up"));
    }
    let individual = loan.object("loanType")?.is_none_or(|kind| kind.small("id") == Some(1));
    if !individual || loan.has("group") || loan.has("groupId") || loan.id("clientId").is_none() {
        return Ok(Some("group_loan"));
    }
    // A linked savings account may mean that the loan is disbursed into it, with no cash leg (Mifos X contract 3.7).
    if loan.has("linkedAccount") || loan.flag("createStandingInstructionAtDisbursement")? {
        return Ok(Some("linked_savings"));
    }
    Ok(None)
}

fn disbursements(loan: &Object<'_>, status: LoanStatus) -> Result<Vec<CoreTransaction>, CoreError> {
    let Some(rows) = loan.array("transactions")? else {
        // A disbursed loan without any transaction is an incomplete answer. Taking it for an empty list would say that
        // our own booking is not there.
        return match status {
            LoanStatus::Disbursed(_) => Err(unreadable("a disbursed loan came without its transactions")),
            _ => Ok(Vec::new()),
        };
    };
    let mut found = Vec::new();
    for row in rows {
        let row = Object::read(row)?;
        if is_disbursement(&row)? {
            found.push(transaction(&row)?);
        }
    }
    Ok(found)
}

fn is_disbursement(row: &Object<'_>) -> Result<bool, CoreError> {
    let kind = row.object("type")?.ok_or_else(|| unreadable("a transaction has no type"))?;
    Ok(match kind.small("id") {
        Some(id) => id == 1,
        None => kind.text("code").as_deref() == Some("loanTransactionType.disbursement") || kind.flag("disbursement")?,
    })
}

fn transaction(row: &Object<'_>) -> Result<CoreTransaction, CoreError> {
    let amount: Money = row.money("amount")?.ok_or_else(|| unreadable("a disbursement has no amount"))?;
    Ok(CoreTransaction {
        id: row.id("id").ok_or_else(|| unreadable("a disbursement has no id"))?,
        external_id: row.text("externalId"),
        receipt: row.object("paymentDetailData")?.and_then(|detail| detail.text("receiptNumber")),
        amount,
        date: row.date("date")?,
        reversed: row.flag("manuallyReversed")? || row.has("reversedOnDate"),
    })
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;
    use crate::testing::{Host, LOAN, edited, link, run};

    fn day(y: i32, m: u32, d: u32) -> Option<NaiveDate> {
        NaiveDate::from_ymd_opt(y, m, d)
    }

    fn parse(body: &str, with_transactions: bool) -> Result<CoreLoan, CoreError> {
        read(&Object::read(body)?, with_transactions)
    }

    #[test]
    fn the_loan_of_the_contract_is_read_whole() {
        let host = Host::answering([(200, LOAN.to_owned())]);
        let loan = run(host.core().read_loan(&link(), "734", false)).unwrap();
        assert_eq!(
            loan,
            CoreLoan {
                loan_id: "734".into(),
                account_no: "000000734".into(),
                status: LoanStatus::Approved,
                client_id: Some("118".into()),
                client_name: Some("Achieng Otieno".into()),
                product_id: "4".into(),
                product_name: "Biashara Loan".into(),
                currency: "KES".into(),
                principal: Money::from_minor(1_500_000),
                net: Money::from_minor(1_455_000),
                approved_on: day(2026, 11, 19),
                approved_by: Some("peter".into()),
                expected_on: day(2026, 11, 20),
                not_simple: None,
                disbursements: vec![],
            }
        );
        let sent = &host.sent()[0];
        assert_eq!(sent.request.uri(), "https://mifos.example/fineract-provider/api/v1/loans/734?associations=linkedAccount");
        assert_eq!(sent.request.headers()["Fineract-Platform-TenantId"], "default");
        assert_eq!(sent.request.headers()["Authorization"], "Basic cHYtaW50ZWdyYXRpb246czNjcmV0");
        assert!(sent.request.headers()["Authorization"].is_sensitive());
        assert_eq!(sent.request.headers()["Accept"], "application/json");
        assert!(sent.request.headers().get("Idempotency-Key").is_none());
        assert_eq!(sent.lane, format!("core:{}", link().core_id));
        assert_eq!(sent.timeout.as_secs(), 15);
    }

    #[test]
    fn transactions_are_asked_for_and_only_disbursements_are_kept() {
        let with = edited(
            LOAN,
            r#""transactions":[
              { "id": 9021, "type": { "id": 1, "code": "loanTransactionType.disbursement", "disbursement": true }, "date": [2026,11,20],
                "paymentDetailData": { "id": 551, "receiptNumber": "TKJ7H5X2QP" }, "amount": 15000.000000, "externalId": "pv-d-7f0c1d5e", "manuallyReversed": false },
              { "id": 9019, "type": { "id": 1 }, "date": "2026-11-19", "amount": "15000", "manuallyReversed": true },
              { "id": 9188, "loanId": 734, "type": { "id": 2, "code": "loanTransactionType.repayment" }, "date": [2026,12,18], "amount": 3000.005 } ]"#,
        );
        let host = Host::answering([(200, with)]);
        let loan = run(host.core().read_loan(&link(), "734", true)).unwrap();
        assert!(host.sent()[0].request.uri().query().unwrap().starts_with("associations=transactions"));
        let [booked, reversed] = loan.disbursements.as_slice() else { panic!("{loan:?}") };
        assert_eq!(
            (booked.id.as_str(), booked.external_id.as_deref(), booked.receipt.as_deref()),
            ("9021", Some("pv-d-7f0c1d5e"), Some("TKJ7H5X2QP"))
        );
        assert_eq!((booked.amount, booked.date, booked.reversed), (Money::from_minor(1_500_000), day(2026, 11, 20), false));
        assert!(reversed.reversed);
    }

    #[test]
    fn a_disbursed_loan_without_its_transactions_is_an_incomplete_answer() {
        let active = LOAN.replace(r#""id": 200"#, r#""id": 300"#);
        assert!(matches!(parse(&active, true), Err(CoreError::Unreadable(_))));
        assert_eq!(parse(&active, false).unwrap().status, LoanStatus::Disbursed(300));
        assert_eq!(parse(LOAN, true).unwrap().disbursements, vec![]);
    }

    #[test]
    fn every_reason_against_the_simple_case_is_named() {
        for (member, reason) in [
            (r#""multiDisburseLoan": true"#, "tranches"),
            (r#""disallowExpectedDisbursements": true"#, "tranches"),
            (r#""isTopup": true"#, "top_up"),
            (r#""topupAmount": 2000.000000"#, "top_up"),
            (r#""closureLoanId": 700"#, "top_up"),
            (r#""group": {"id": 5, "name": "Umoja"}"#, "group_loan"),
            (r#""groupId": 5"#, "group_loan"),
            (r#""loanType": {"id": 3, "code": "accountType.jlg"}"#, "group_loan"),
            (r#""clientId": null"#, "group_loan"),
            (r#""linkedAccount": {"id": 66, "accountNo": "000000066"}"#, "linked_savings"),
            (r#""createStandingInstructionAtDisbursement": true"#, "linked_savings"),
        ] {
            assert_eq!(parse(&edited(LOAN, member), false).unwrap().not_simple.as_deref(), Some(reason), "{member}");
        }
    }

    #[test]
    fn a_loan_whose_figures_cannot_be_trusted_is_unreadable() {
        for member in [
            r#""netDisbursalAmount": 14550.005"#,
            r#""netDisbursalAmount": null"#,
            r#""netDisbursalAmount": 15000.01"#,
            r#""netDisbursalAmount": {"amount": 1}"#,
            r#""approvedPrincipal": "fifteen""#,
            r#""status": null"#,
            r#""status": "Approved""#,
            r#""status": {"id": "x"}"#,
            r#""id": null"#,
            r#""loanProductId": null"#,
            r#""currency": {"name": "Kenyan Shilling"}"#,
            r#""timeline": {"approvedOnDate": [2026, 13, 1]}"#,
            r#""isTopup": "perhaps""#,
        ] {
            assert!(matches!(parse(&edited(LOAN, member), false), Err(CoreError::Unreadable(_))), "{member}");
        }
    }

    #[test]
    fn numbers_as_strings_and_missing_extras_are_read() {
        let loan = parse(
            r#"{"id":"734","status":{"id":"200"},"loanProductId":"4","clientId":118.0,"currency":{"code":"KES"},"principal":"15000","netDisbursalAmount":"14550.50"}"#,
            false,
        )
        .unwrap();
        assert_eq!((loan.net, loan.principal), (Money::from_minor(1_455_050), Money::from_minor(1_500_000)));
        assert_eq!((loan.approved_on, loan.approved_by, loan.account_no.as_str()), (None, None, ""));
    }

    #[test]
    fn another_loan_than_the_one_asked_for_is_no_answer() {
        let host = Host::answering([(200, LOAN.to_owned())]);
        assert!(matches!(run(host.core().read_loan(&link(), "735", false)), Err(CoreError::Unreadable(_))));
    }

    #[test]
    fn an_id_that_is_no_number_never_reaches_the_wire() {
        for id in ["", "7/../clients/1", "734?x=1", "-1", "99999999999999999999"] {
            let host = Host::answering([]);
            assert!(matches!(run(host.core().read_loan(&link(), id, false)), Err(CoreError::Unreadable(_))), "{id}");
            assert!(host.sent().is_empty(), "{id}");
        }
    }

    #[test]
    fn hostile_answers_are_errors() {
        for body in ["", "<html><body>ok</body></html>", "[]", "{}", "null", &LOAN[..LOAN.len() / 2], "{\"id\":734}"] {
            let host = Host::answering([(200, body.to_owned())]);
            assert!(matches!(run(host.core().read_loan(&link(), "734", true)), Err(CoreError::Unreadable(_))), "{body}");
        }
    }

    #[test]
    fn a_host_that_is_down_says_so_and_a_simulated_crash_stays_one() {
        use pv_kernel::transport::{CallError, NotSent};
        for (error, crashed) in
            [(CallError::NotSent(NotSent::CircuitOpen), false), (CallError::NoAnswer("timeout".into()), false), (CallError::Crashed, true)]
        {
            let host = Host::failing(error);
            let got = run(host.core().read_loan(&link(), "734", false)).unwrap_err();
            assert_eq!(got == CoreError::Crashed, crashed);
            assert!(crashed || matches!(got, CoreError::Down(_)));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_json_is_a_loan_or_an_error(value in crate::testing::any_json(), key in crate::testing::loan_key(), with: bool) {
            let _ = parse(&value, with);
            let _ = parse(&edited(LOAN, &format!("\"{key}\":{value}")), with);
        }
    }
}
