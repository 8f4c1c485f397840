//! The records of a bank, readable for tests, invariants and stories. What changes them stands in `staff`,
//! `loan_commands`, `repayments` and `savings`.
//!
//! Money is in cents everywhere. The book of commands is in `orders`.

use std::collections::BTreeSet;

use chrono::NaiveDate;

/// The status of a loan (Mifos X contract 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LoanStatus {
    /// 100.
    Submitted,
    /// 200.
    Approved,
    /// 300.
    Active,
    /// 400.
    Withdrawn,
    /// 500.
    Rejected,
    /// 600: fully paid.
    Closed,
    /// 601.
    WrittenOff,
    /// 700.
    Overpaid,
}

impl LoanStatus {
    /// The number on the wire.
    pub fn id(self) -> i64 {
        match self {
            Self::Submitted => 100,
            Self::Approved => 200,
            Self::Active => 300,
            Self::Withdrawn => 400,
            Self::Rejected => 500,
            Self::Closed => 600,
            Self::WrittenOff => 601,
            Self::Overpaid => 700,
        }
    }

    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Submitted => "loanStatusType.submitted.and.pending.approval",
            Self::Approved => "loanStatusType.approved",
            Self::Active => "loanStatusType.active",
            Self::Withdrawn => "loanStatusType.withdrawn.by.client",
            Self::Rejected => "loanStatusType.rejected",
            Self::Closed => "loanStatusType.closed.obligations.met",
            Self::WrittenOff => "loanStatusType.closed.written.off",
            Self::Overpaid => "loanStatusType.overpaid",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Submitted => "Submitted and pending approval",
            Self::Approved => "Approved",
            Self::Active => "Active",
            Self::Withdrawn => "Withdrawn by applicant",
            Self::Rejected => "Rejected",
            Self::Closed => "Closed (obligations met)",
            Self::WrittenOff => "Closed (written off)",
            Self::Overpaid => "Overpaid",
        }
    }

    /// Whether money was handed out: then `summary` exists.
    pub(crate) fn is_disbursed(self) -> bool {
        matches!(self, Self::Active | Self::Closed | Self::WrittenOff | Self::Overpaid)
    }
}

/// The status of a client or a savings account, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountStatus {
    /// 100: not active yet.
    Pending,
    /// 300.
    Active,
    /// 600.
    Closed,
}

impl AccountStatus {
    /// The number on the wire.
    pub fn id(self) -> i64 {
        match self {
            Self::Pending => 100,
            Self::Active => 300,
            Self::Closed => 600,
        }
    }
}

/// A branch.
#[derive(Debug, Clone)]
pub struct Office {
    /// Id; 1 is the head office.
    pub id: u64,
    /// Name.
    pub name: String,
    /// The office above; `None` for the head office.
    pub parent: Option<u64>,
}

/// A client.
#[derive(Debug, Clone)]
pub struct Client {
    /// Id.
    pub id: u64,
    /// Account number, nine digits.
    pub account_no: String,
    /// External id.
    pub external_id: Option<String>,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Free text, optional.
    pub mobile_no: Option<String>,
    /// National id, found by `/search`.
    pub national_id: Option<String>,
    /// Branch.
    pub office_id: u64,
    /// Status.
    pub status: AccountStatus,
    /// Since when.
    pub activated_on: NaiveDate,
}

impl Client {
    /// First and last name.
    pub fn display_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }
}

/// What a loan product is made of.
#[derive(Debug, Clone)]
pub struct ProductSpec {
    /// Name, as loans carry it.
    pub name: String,
    /// At most four letters.
    pub short_name: String,
    /// External id.
    pub external_id: Option<String>,
    /// Smallest principal, cents.
    pub min_principal: i64,
    /// Usual principal, cents.
    pub principal: i64,
    /// Largest principal, cents.
    pub max_principal: i64,
    /// Monthly instalments.
    pub number_of_repayments: u32,
    /// Interest a month in hundredths of a percent, flat on the principal.
    pub interest_basis_points: i64,
    /// Loans may be disbursed in tranches.
    pub multi_disburse: bool,
    /// Tranches are not planned ahead: each disbursement makes its own.
    pub disallow_expected_disbursements: bool,
    /// How much above the approved amount the disbursements of such a loan may sum up to, in percent.
    pub over_applied_percent: i64,
    /// The disbursement date must equal the expected one.
    pub sync_expected_with_disbursement_date: bool,
    /// Loans may close an older loan.
    pub can_use_for_topup: bool,
    /// From this day on the product is inactive.
    pub close_date: Option<NaiveDate>,
}

impl ProductSpec {
    /// An everyday product: KES 1 to 150,000, six months at 2.5 %, one disbursement.
    pub fn simple(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            short_name: name.chars().filter(char::is_ascii_alphanumeric).take(4).collect::<String>().to_uppercase(),
            external_id: None,
            min_principal: 100,
            principal: 2_000_000,
            max_principal: 15_000_000,
            number_of_repayments: 6,
            interest_basis_points: 250,
            multi_disburse: false,
            disallow_expected_disbursements: false,
            over_applied_percent: 0,
            sync_expected_with_disbursement_date: false,
            can_use_for_topup: false,
            close_date: None,
        }
    }

    /// The dangerous product: the very same disbursement succeeds twice (Mifos X contract 3.6).
    pub fn multi_disburse(name: &str) -> Self {
        Self { multi_disburse: true, disallow_expected_disbursements: true, over_applied_percent: 100, ..Self::simple(name) }
    }
}

/// A loan product.
#[derive(Debug, Clone)]
pub struct Product {
    /// Id.
    pub id: u64,
    /// What it is made of.
    pub spec: ProductSpec,
}

/// A payment type.
#[derive(Debug, Clone)]
pub struct PaymentType {
    /// Id; differs from tenant to tenant.
    pub id: u64,
    /// Name.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// Cash needs an open teller session, which nobody here has.
    pub is_cash: bool,
    /// Place in lists.
    pub position: i64,
}

/// A group that borrows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Id.
    pub id: u64,
    /// Name.
    pub name: String,
}

/// What a new loan is made of. The loan stands at "submitted".
#[derive(Debug, Clone)]
pub struct LoanSpec {
    /// The borrower; `None` only for group loans.
    pub client_id: Option<u64>,
    /// The product.
    pub product_id: u64,
    /// The amount asked for, cents.
    pub principal: i64,
    /// Charges due at disbursement, cents; they come off what is paid out.
    pub fees_at_disbursement: i64,
    /// Day of submission.
    pub submitted_on: NaiveDate,
    /// Expected disbursement.
    pub expected_disbursement: NaiveDate,
    /// External id.
    pub external_id: Option<String>,
    /// Account number; by default nine digits from the id.
    pub account_no: Option<String>,
    /// The group of a group loan.
    pub group: Option<Group>,
    /// The older loan that this one closes.
    pub top_up_of: Option<u64>,
    /// A savings account that the loan may be disbursed to.
    pub linked_savings: Option<u64>,
    /// Planned tranches (day, cents) of a multi-disbursement loan.
    pub tranches: Vec<(NaiveDate, i64)>,
}

impl LoanSpec {
    /// A loan of one client without fees, submitted and expected on one day.
    pub fn simple(client_id: u64, product_id: u64, principal: i64, day: NaiveDate) -> Self {
        Self {
            client_id: Some(client_id),
            product_id,
            principal,
            fees_at_disbursement: 0,
            submitted_on: day,
            expected_disbursement: day,
            external_id: None,
            account_no: None,
            group: None,
            top_up_of: None,
            linked_savings: None,
            tranches: Vec::new(),
        }
    }
}

/// A planned or done disbursement of a multi-disbursement loan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tranche {
    /// Planned day.
    pub expected_on: NaiveDate,
    /// Cents.
    pub principal: i64,
    /// The day it was paid out.
    pub actual_on: Option<NaiveDate>,
}

/// The older loan that a loan closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUp {
    /// The older loan.
    pub closes: u64,
    /// What its settlement took, cents; known after the disbursement.
    pub amount: i64,
}

/// Kind of a loan transaction (Mifos X contract 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionKind {
    /// 1.
    Disbursement,
    /// 2.
    Repayment,
    /// 5: fees taken at the disbursement.
    RepaymentAtDisbursement,
    /// 6.
    WriteOff,
    /// 8: paid on a written-off loan.
    RecoveryRepayment,
    /// 20: surplus given back.
    CreditBalanceRefund,
}

impl TransactionKind {
    /// The number on the wire.
    pub fn id(self) -> i64 {
        match self {
            Self::Disbursement => 1,
            Self::Repayment => 2,
            Self::RepaymentAtDisbursement => 5,
            Self::WriteOff => 6,
            Self::RecoveryRepayment => 8,
            Self::CreditBalanceRefund => 20,
        }
    }
}

/// How money moved, kept only when a payment type was named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentDetail {
    /// Id.
    pub id: u64,
    /// Payment type.
    pub payment_type_id: u64,
    /// Account, usually a phone.
    pub account_number: String,
    /// Cheque.
    pub check_number: String,
    /// Routing code.
    pub routing_code: String,
    /// Receipt; nothing keeps it unique.
    pub receipt_number: String,
    /// Bank.
    pub bank_number: String,
}

/// How a payment fell on the parts of the debt, cents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Portions {
    /// Principal.
    pub principal: i64,
    /// Interest.
    pub interest: i64,
    /// Fees.
    pub fees: i64,
    /// Surplus.
    pub overpayment: i64,
    /// Principal outstanding afterwards.
    pub balance: i64,
}

/// A transaction of a loan.
#[derive(Debug, Clone)]
pub struct LoanTransaction {
    /// Id, unique over the tenant's loan transactions.
    pub id: u64,
    /// Kind.
    pub kind: TransactionKind,
    /// The day it counts for.
    pub date: NaiveDate,
    /// The day it was entered.
    pub submitted_on: NaiveDate,
    /// Cents.
    pub amount: i64,
    /// How it fell.
    pub portions: Portions,
    /// Unique over the tenant's loan transactions, reversed ones included.
    pub external_id: Option<String>,
    /// External id of the reversal.
    pub reversal_external_id: Option<String>,
    /// Payment detail.
    pub payment: Option<PaymentDetail>,
    /// The day it was reversed.
    pub reversed_on: Option<NaiveDate>,
    /// Note.
    pub note: Option<String>,
    /// User name.
    pub entered_by: String,
    /// Transfers between accounts cannot be undone.
    pub is_transfer: bool,
}

/// Sums over the transactions that stand, cents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Principal handed out.
    pub disbursed: i64,
    /// Principal paid back.
    pub principal_paid: i64,
    /// Interest of the whole loan.
    pub interest_charged: i64,
    /// Interest paid.
    pub interest_paid: i64,
    /// Surplus of the customer.
    pub overpaid: i64,
}

impl Figures {
    /// Principal and interest still owed.
    pub fn outstanding(&self) -> i64 {
        self.disbursed - self.principal_paid + self.interest_charged - self.interest_paid
    }
}

/// A step of a loan's life: the day and the user name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Day.
    pub on: NaiveDate,
    /// User name.
    pub by: String,
}

/// A loan.
#[derive(Debug, Clone)]
pub struct Loan {
    /// Id.
    pub id: u64,
    /// Account number.
    pub account_no: String,
    /// External id.
    pub external_id: Option<String>,
    /// Borrower; `None` for a loan of a whole group.
    pub client_id: Option<u64>,
    /// Group.
    pub group: Option<Group>,
    /// Branch.
    pub office_id: u64,
    /// Product.
    pub product_id: u64,
    /// Status.
    pub status: LoanStatus,
    /// Asked for, cents.
    pub proposed: i64,
    /// Approved, cents; equals `proposed` until then.
    pub approved: i64,
    /// Charges due at disbursement, cents.
    pub fees_at_disbursement: i64,
    /// Day of submission.
    pub submitted: Step,
    /// Approval.
    pub approval: Option<Step>,
    /// Expected disbursement.
    pub expected_disbursement: NaiveDate,
    /// First disbursement that stands.
    pub disbursal: Option<Step>,
    /// Rejection.
    pub rejection: Option<Step>,
    /// Withdrawal by the applicant.
    pub withdrawal: Option<Step>,
    /// Closing (paid, overpaid).
    pub closed: Option<Step>,
    /// Write-off.
    pub write_off: Option<Step>,
    /// Tranches.
    pub tranches: Vec<Tranche>,
    /// Top-up.
    pub top_up: Option<TopUp>,
    /// Linked savings account.
    pub linked_savings: Option<u64>,
    /// Monthly instalments.
    pub number_of_repayments: u32,
    /// Hundredths of a percent a month, flat.
    pub interest_basis_points: i64,
    /// All transactions, reversed ones included, in order of id.
    pub transactions: Vec<LoanTransaction>,
    /// Sums.
    pub figures: Figures,
    /// Grows with every change of any loan; lists without an order come in this order.
    pub touched: u64,
}

impl Loan {
    /// The debt: what was handed out, and before that what was approved.
    pub fn principal(&self) -> i64 {
        if self.status.is_disbursed() { self.figures.disbursed } else { self.approved }
    }

    /// What the client is to get: the principal minus fees, and after a top-up's disbursement minus its settlement.
    pub fn net_disbursal(&self) -> i64 {
        self.principal() - self.fees_at_disbursement - self.top_up.as_ref().map_or(0, |top_up| top_up.amount)
    }

    /// The disbursements that stand, in order.
    pub fn disbursements(&self) -> impl Iterator<Item = &LoanTransaction> {
        self.transactions.iter().filter(|entry| entry.kind == TransactionKind::Disbursement && entry.reversed_on.is_none())
    }

    /// The repayments that stand, in order.
    pub fn repayments(&self) -> impl Iterator<Item = &LoanTransaction> {
        self.transactions.iter().filter(|entry| entry.kind == TransactionKind::Repayment && entry.reversed_on.is_none())
    }
}

/// A transaction of a savings account.
#[derive(Debug, Clone)]
pub struct SavingsTransaction {
    /// Id.
    pub id: u64,
    /// A deposit, or else a withdrawal.
    pub is_deposit: bool,
    /// The day it counts for.
    pub date: NaiveDate,
    /// The day it was entered.
    pub submitted_on: NaiveDate,
    /// Cents.
    pub amount: i64,
    /// Balance after it.
    pub running_balance: i64,
    /// Payment detail.
    pub payment: Option<PaymentDetail>,
    /// Whether it was undone.
    pub reversed: bool,
    /// Transfers between accounts cannot be undone.
    pub is_transfer: bool,
    /// Note.
    pub note: Option<String>,
}

/// A savings account.
#[derive(Debug, Clone)]
pub struct Savings {
    /// Id.
    pub id: u64,
    /// Account number; its range is not the loans' range, so both may carry the same.
    pub account_no: String,
    /// External id.
    pub external_id: Option<String>,
    /// Owner.
    pub client_id: u64,
    /// Product name.
    pub product_name: String,
    /// Status.
    pub status: AccountStatus,
    /// Since when.
    pub activated_on: NaiveDate,
    /// Whether deposits are refused.
    pub credit_blocked: bool,
    /// All transactions in order of id.
    pub transactions: Vec<SavingsTransaction>,
    /// Balance, cents.
    pub balance: i64,
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Id.
    pub id: u64,
    /// Template, `Web`.
    pub template: String,
    /// Label.
    pub display_name: String,
    /// An inactive hook never fires.
    pub is_active: bool,
    /// `Payload URL`.
    pub url: String,
    /// `Content Type`: `json` or `form`.
    pub content_type: String,
    /// (entity, action).
    pub events: BTreeSet<(String, String)>,
    /// Creation.
    pub created_at: NaiveDate,
    /// Last change.
    pub updated_at: NaiveDate,
}
