//! A host made of canned answers, and the examples of the contract that several tests share.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::Response;
use proptest::prelude::*;
use pv_kernel::{
    core_banking::CoreLink,
    ids::CoreId,
    transport::{Call, CallError, Transport},
};

use crate::Fineract;

/// The loan of Mifos X contract 3.3.
pub(crate) const LOAN: &str = r#"{ "id": 734, "accountNo": "000000734", "externalId": "LN-734",
  "status": { "id": 200, "code": "loanStatusType.approved", "value": "Approved", "waitingForDisbursal": true },
  "clientId": 118, "clientAccountNo": "000000118", "clientName": "Achieng Otieno", "clientExternalId": "M-118", "clientOfficeId": 2,
  "loanProductId": 4, "loanProductName": "Biashara Loan",
  "loanType": { "id": 1, "code": "accountType.individual", "value": "Individual" },
  "currency": { "code": "KES", "name": "Kenyan Shilling", "decimalPlaces": 2, "displaySymbol": "KSh",
                "nameCode": "currency.KES", "displayLabel": "Kenyan Shilling (KSh)" },
  "principal": 15000.000000, "approvedPrincipal": 15000.000000, "proposedPrincipal": 20000.000000,
  "netDisbursalAmount": 14550.000000,
  "termFrequency": 6, "termPeriodFrequencyType": { "id": 2, "code": "termFrequency.periodFrequencyType.months", "value": "Months" },
  "numberOfRepayments": 6, "repaymentEvery": 1, "interestRatePerPeriod": 2.500000, "annualInterestRate": 30.000000,
  "timeline": { "submittedOnDate": [2026,11,17], "submittedByUsername": "jane",
    "approvedOnDate": [2026,11,19], "approvedByUsername": "peter", "expectedDisbursementDate": [2026,11,20],
    "expectedMaturityDate": [2027,5,20] },
  "feeChargesAtDisbursementCharged": 450.000000, "multiDisburseLoan": false, "isTopup": false,
  "inArrears": false, "isNPA": false }"#;

/// The loan product of Mifos X contract 2.
pub(crate) const PRODUCT: &str = r#"{ "id": 4, "name": "Biashara Loan", "shortName": "BIAS", "description": "Working capital",
  "status": "loanProduct.active", "externalId": "bias-01", "startDate": [2025,1,1], "closeDate": [2027,12,31],
  "currency": { "code": "KES", "name": "Kenyan Shilling", "decimalPlaces": 2, "inMultiplesOf": 0,
                "displaySymbol": "KSh", "nameCode": "currency.KES", "displayLabel": "Kenyan Shilling (KSh)" },
  "principal": 20000.000000, "minPrincipal": 5000.000000, "maxPrincipal": 150000.000000,
  "numberOfRepayments": 6, "minNumberOfRepayments": 3, "maxNumberOfRepayments": 12, "repaymentEvery": 1,
  "repaymentFrequencyType": { "id": 2, "code": "repaymentFrequency.periodFrequencyType.months", "value": "Months" },
  "interestRatePerPeriod": 2.500000, "minInterestRatePerPeriod": 1.000000, "maxInterestRatePerPeriod": 4.000000,
  "interestRateFrequencyType": { "id": 2, "code": "interestRateFrequency.periodFrequencyType.months", "value": "Per month" },
  "annualInterestRate": 30.000000,
  "amortizationType": { "id": 1, "code": "amortizationType.equal.installments", "value": "Equal installments" },
  "interestType": { "id": 0, "code": "interestType.declining.balance", "value": "Declining Balance" },
  "transactionProcessingStrategyCode": "mifos-standard-strategy",
  "multiDisburseLoan": false, "disallowExpectedDisbursements": false, "syncExpectedWithDisbursementDate": false,
  "canUseForTopup": false }"#;

/// An object with more members behind its own: of two members with one name the later one counts.
pub(crate) fn edited(object: &str, members: &str) -> String {
    let open = object.trim_end().strip_suffix('}').unwrap();
    format!("{open},{members}}}")
}

/// The error envelope of Mifos X contract 1.7.
pub(crate) fn envelope(outer: &str, inner: Option<&str>) -> String {
    let errors = inner.map_or_else(String::new, |code| {
        format!(r#"{{"developerMessage":"text","defaultUserMessage":"text","userMessageGlobalisationCode":"{code}","parameterName":"id","args":[]}}"#)
    });
    format!(
        r#"{{"developerMessage":"text","httpStatusCode":"400","defaultUserMessage":"text","userMessageGlobalisationCode":"{outer}","errors":[{errors}]}}"#
    )
}

/// An answer.
pub(crate) fn answer(status: u16, body: &str) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::from(body.to_owned())).unwrap()
}

/// A host that answers from a list and keeps what it was asked.
#[derive(Default)]
pub(crate) struct Host {
    answers: Mutex<VecDeque<Result<Response<Bytes>, CallError>>>,
    sent: Mutex<Vec<Call>>,
}

impl Host {
    pub(crate) fn answering(answers: impl IntoIterator<Item = (u16, String)>) -> Arc<Self> {
        Self::with(answers.into_iter().map(|(status, body)| Ok(answer(status, &body))))
    }

    pub(crate) fn failing(error: CallError) -> Arc<Self> {
        Self::with([Err(error)])
    }

    /// One answer with a `Date` header.
    pub(crate) fn dated(date: &str, body: &str) -> Arc<Self> {
        let mut response = answer(200, body);
        response.headers_mut().insert("Date", date.parse().unwrap());
        Self::with([Ok(response)])
    }

    pub(crate) fn with(answers: impl IntoIterator<Item = Result<Response<Bytes>, CallError>>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), sent: Mutex::default() })
    }

    pub(crate) fn core(self: &Arc<Self>) -> Fineract {
        Fineract::new(Arc::<Self>::clone(self))
    }

    pub(crate) fn sent(&self) -> Vec<Call> {
        self.sent.lock().unwrap().clone()
    }
}

#[async_trait]
impl Transport for Host {
    async fn call(&self, call: Call) -> Result<Response<Bytes>, CallError> {
        self.sent.lock().unwrap().push(call);
        self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Err(CallError::NoAnswer("the script has ended".into())))
    }
}

/// A link to the host of the examples, not yet detected.
pub(crate) fn link() -> CoreLink {
    CoreLink {
        core_id: CoreId(uuid::Uuid::from_u128(7)),
        base_url: "https://mifos.example/fineract-provider/api/v1".into(),
        tenant: "default".into(),
        username: "pv-integration".into(),
        password: "s3cret".to_owned().into(),
        trust: None,
        profile: None,
    }
}

/// Runs one question to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Names that the readers look for, so that random documents get past the first look.
pub(crate) fn loan_key() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "id",
        "status",
        "clientId",
        "loanProductId",
        "currency",
        "code",
        "principal",
        "approvedPrincipal",
        "netDisbursalAmount",
        "timeline",
        "approvedOnDate",
        "transactions",
        "type",
        "amount",
        "date",
        "paymentDetailData",
        "loanType",
        "linkedAccount",
        "isTopup",
        "loanId",
        "changes",
        "commandId",
        "response",
        "errors",
        "userMessageGlobalisationCode",
        "pageItems",
        "totalFilteredRecords",
        "permissions",
        "authenticated",
        "isActive",
        "events",
        "entityName",
        "actionName",
        "subResourceId",
        "resourceId",
        "rollbackTransaction",
    ])
    .prop_map(str::to_owned)
}

/// Any JSON document, as text.
pub(crate) fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        (any::<i32>(), 0u32..2_000_000, -30i32..30).prop_map(|(n, f, e)| format!("{n}.{f}e{e}")),
        prop::sample::select(vec!["734", "734.0", "200", "300", "1", "\"734\"", "[2026,11,20]", "\"2026-11-20\"", "15000.000000"])
            .prop_map(str::to_owned),
        ".{0,12}".prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((loan_key(), inner), 0..8)
                .prop_map(|members| format!("{{{}}}", members.into_iter().map(|(k, v)| format!("\"{k}\":{v}")).collect::<Vec<_>>().join(","))),
        ]
    })
}
