//! One rule at a time. Whole random batches against a naive model stand in `tests/`.

use chrono::DateTime;
use uuid::Uuid;

use super::*;

fn wallet() -> AccountRef {
    AccountRef::platform("wallet")
}

fn fees() -> AccountRef {
    AccountRef::platform("fees")
}

fn partner(n: u128) -> PartnerId {
    PartnerId(Uuid::from_u128(n))
}

fn key(n: u128) -> Key {
    Key::new(Uuid::from_u128(n), "test")
}

fn posting(n: u128, amount: i64) -> Posting {
    Posting::new(key(n), wallet(), fees(), Money::from_minor(amount), DateTime::UNIX_EPOCH)
}

fn ending(hold: u128, own: u128) -> Ending {
    Ending::new(key(hold), key(own), DateTime::UNIX_EPOCH)
}

fn id(n: u128) -> TransferId {
    TransferId(Uuid::from_u128(1_000 + n))
}

/// A wallet with this much in it, and an unbounded account.
fn with(posted: i64) -> State {
    let account = |bound| Account { book: Book::Platform, currency: Currency::KES, partner: None, bound };
    let bound = Some(Bound { posted, held: 0 });
    State { accounts: HashMap::from([(wallet().id(), account(bound)), (fees().id(), account(None))]), ..State::default() }
}

/// Answers, where the command at `n` gets the id `id(n)`.
fn answers(state: State, commands: &[Command]) -> Vec<Answer> {
    let ids: Vec<TransferId> = (0..commands.len()).map(|n| id(n as u128)).collect();
    decide(state, &ids, commands).answers
}

fn short(available: i64, needed: i64) -> Answer {
    Answer::Insufficient { available: Money::from_minor(available), needed: Money::from_minor(needed) }
}

#[test]
fn a_command_takes_what_there_is_and_not_one_cent_more() {
    let got = answers(with(100), &[posting(1, 101).post(), posting(2, 100).post(), posting(3, 1).post()]);
    assert_eq!(got, [short(100, 101), Answer::Posted(id(1)), short(0, 1)]);
}

#[test]
fn a_hold_counts_at_once_for_the_next_command_of_the_batch() {
    let got = answers(with(100), &[posting(1, 60).hold(), posting(2, 60).hold(), posting(3, 40).post()]);
    assert_eq!(got, [Answer::Posted(id(0)), short(40, 60), Answer::Posted(id(2))]);
}

#[test]
fn a_hold_and_its_end_can_stand_in_one_batch() {
    let got = answers(with(100), &[posting(1, 100).hold(), ending(1, 2).post(), posting(3, 1).post()]);
    assert_eq!(got, [Answer::Posted(id(0)), Answer::Posted(id(1)), short(0, 1)]);
    let got = answers(with(100), &[posting(1, 100).hold(), ending(1, 2).void(), posting(3, 100).post()]);
    assert_eq!(got, [Answer::Posted(id(0)), Answer::Posted(id(1)), Answer::Posted(id(2))]);
}

#[test]
fn a_hold_ends_once_and_says_how() {
    let got = answers(with(100), &[posting(1, 50).hold(), ending(1, 2).post(), ending(1, 3).void(), ending(1, 2).post()]);
    let over = Answer::HoldEnded { as_: Ended::Post, by: id(1) };
    assert_eq!(got, [Answer::Posted(id(0)), Answer::Posted(id(1)), over, Answer::AlreadyPosted(id(1))]);
}

#[test]
fn the_end_of_a_hold_that_was_refused_finds_no_hold() {
    assert_eq!(answers(with(10), &[posting(1, 50).hold(), ending(1, 2).post()]), [short(10, 50), Answer::NoSuchHold]);
}

#[test]
fn a_posted_transfer_is_no_hold() {
    assert_eq!(answers(with(10), &[posting(1, 5).post(), ending(1, 2).void()]), [Answer::Posted(id(0)), Answer::NoSuchHold]);
}

#[test]
fn a_fact_posts_whatever_the_bound_says_and_blocks_the_next_command() {
    let got = answers(with(100), &[posting(1, 150).fact(), posting(2, 1).post()]);
    assert_eq!(got, [Answer::Posted(id(0)), short(-50, 1)]);
}

#[test]
fn a_hold_may_be_posted_after_a_fact_took_the_money() {
    let got = answers(with(100), &[posting(1, 80).hold(), posting(2, 100).fact(), ending(1, 3).post()]);
    assert!(got.iter().all(|answer| matches!(answer, Answer::Posted(_))), "{got:?}");
}

#[test]
fn the_same_command_again_changes_nothing_and_other_content_is_a_conflict() {
    let learned_again = posting(1, 30).evidence(Uuid::from_u128(9)).post();
    let got = answers(with(100), &[posting(1, 30).post(), learned_again, posting(1, 31).post(), posting(1, 30).hold(), posting(2, 70).post()]);
    let conflict = Answer::KeyConflict { existing: id(0) };
    assert_eq!(got, [Answer::Posted(id(0)), Answer::AlreadyPosted(id(0)), conflict, conflict, Answer::Posted(id(4))]);
}

#[test]
fn a_replay_is_recognised_even_when_the_money_is_gone() {
    let standing = Content { kind: TransferKind::Posted, debit: wallet().id(), credit: fees().id(), amount: 30, resolves: None, corrects: None };
    let mut state = with(0);
    state.keys.insert(key(1), Existing { id: id(77), content: standing, book: Book::Platform, partner: None, ended: None });
    assert_eq!(answers(state, &[posting(1, 30).post()]), [Answer::AlreadyPosted(id(77))]);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    let mirror = AccountRef::mirror(partner(1), "owner");
    let mixed = Posting { credit: mirror, ..posting(5, 1) };
    let same = Posting { credit: wallet(), ..posting(6, 1) };
    let long = Posting { key: Key::new(Uuid::nil(), "m".repeat(81)), ..posting(7, 1) };
    let commands = [
        posting(1, 0).post(),
        posting(2, -5).fact(),
        posting(3, MAX_MINOR + 1).fact(),
        Command::Hold(Posting { fact: true, ..posting(4, 1) }),
        mixed.post(),
        same.post(),
        long.post(),
        Posting { key: key(8).generation(0), ..posting(8, 1) }.post(),
        posting(9, 1).corrects(id(500)).post(),
    ];
    let reasons = [
        Invalid::AmountNotPositive,
        Invalid::AmountNotPositive,
        Invalid::OutOfRange,
        Invalid::FactHold,
        Invalid::BooksMix,
        Invalid::SameAccount,
        Invalid::BadKey,
        Invalid::BadKey,
        Invalid::CorrectsUnknown,
    ];
    assert_eq!(answers(with(100), &commands), reasons.map(Answer::Invalid));
}

#[test]
fn an_account_that_was_never_opened_is_named() {
    let nowhere = AccountRef::platform("nowhere");
    let to = Posting { credit: nowhere.clone(), ..posting(1, 1) };
    assert_eq!(answers(with(100), &[to.post()]), [Answer::UnknownAccount(nowhere.id())]);
}

#[test]
fn a_transfer_is_its_accounts_partners_and_never_two() {
    let mut state = with(100);
    for (account, owner) in [(wallet(), 1), (fees(), 1)] {
        state.accounts.get_mut(&account.id()).unwrap().partner = Some(partner(owner));
    }
    let plan = decide(state.clone(), &[id(0)], &[posting(1, 1).post()]);
    assert_eq!(plan.rows[0].partner, Some(partner(1)));
    assert_eq!(answers(state.clone(), &[posting(1, 1).of_partner(partner(2)).post()]), [Answer::Invalid(Invalid::PartnersMix)]);
    state.accounts.get_mut(&fees().id()).unwrap().partner = Some(partner(2));
    assert_eq!(answers(state, &[posting(1, 1).post()]), [Answer::Invalid(Invalid::PartnersMix)]);
}

#[test]
fn a_balance_that_would_leave_its_range_refuses_even_a_fact() {
    let back = Posting { debit: fees(), credit: wallet(), ..posting(1, 100) };
    assert_eq!(answers(with(i64::MAX - 50), &[back.fact()]), [Answer::Invalid(Invalid::OutOfRange)]);
}

#[test]
fn refused_commands_write_no_rows() {
    let plan = decide(with(10), &[id(0), id(1)], &[posting(1, 11).post(), posting(2, 10).post()]);
    assert_eq!(plan.rows.iter().map(|row| row.command).collect::<Vec<_>>(), [1]);
}
