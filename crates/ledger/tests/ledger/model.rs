//! A ledger as a child would keep it: one list of rows, added up from the start for each question. And random commands.

use std::collections::BTreeMap;

use proptest::prelude::*;
use pv_kernel::{
    Currency,
    ids::{AccountId, TransferId},
};
use pv_ledger::{
    AccountRef, Answer, Book, Command, Ended, Invalid, Key, TransferKind,
    decide::{Account, Bound, Content, Existing, State},
};

use crate::support::{bank, charge, clearing, end, first_partner, income, kes, key, now, transfer, wallet};

/// The accounts that random commands move between; the first is bounded.
pub fn players() -> [AccountRef; 4] {
    [wallet(first_partner()), clearing(first_partner()), bank(), income()]
}

/// A random command over few keys and small amounts, so that keys meet and money runs out.
pub fn command() -> impl Strategy<Value = Command> {
    let posting = (0..8u128, 0..4usize, 0..4usize, 0..60i64).prop_map(|(n, from, to, amount)| {
        let players = players();
        transfer(n, players[from].clone(), players[to].clone(), amount)
    });
    let ending = (0..8u128, 0..40u128).prop_map(|(hold, own)| end(hold, own));
    prop_oneof![
        2 => posting.clone().prop_map(pv_ledger::Posting::post),
        2 => posting.clone().prop_map(pv_ledger::Posting::fact),
        3 => posting.prop_map(pv_ledger::Posting::hold),
        3 => (0..8u128, 1..30i64).prop_map(|(n, amount)| charge(n, amount).hold()),
        8 => ending.clone().prop_map(pv_ledger::Ending::post),
        4 => ending.prop_map(pv_ledger::Ending::void),
    ]
}

/// Batches of random commands.
pub fn batches() -> impl Strategy<Value = Vec<Vec<Command>>> {
    prop::collection::vec(prop::collection::vec(command(), 1..16), 1..8)
}

#[derive(Debug, Clone)]
struct Line {
    key: Key,
    kind: TransferKind,
    debit: AccountId,
    credit: AccountId,
    amount: i64,
    fact: bool,
    ends: Option<usize>,
}

/// The list of rows. A row's place in it stands for its id.
#[derive(Debug, Clone, Default)]
pub struct Model {
    lines: Vec<Line>,
    /// The id that the ledger gave to each row.
    pub ids: Vec<TransferId>,
}

impl Model {
    /// Credits minus debits.
    pub fn posted(&self, account: AccountId) -> i64 {
        let moved = self.lines.iter().filter(|line| line.kind.moves());
        moved.map(|line| i64::from(line.credit == account) * line.amount - i64::from(line.debit == account) * line.amount).sum()
    }

    /// Pending debits that have not ended.
    pub fn held(&self, account: AccountId) -> i64 {
        let open = |place: usize| !self.lines.iter().any(|line| line.ends == Some(place));
        let holds = self.lines.iter().enumerate().filter(|(place, line)| line.kind == TransferKind::Pending && open(*place));
        holds.filter(|(_, line)| line.debit == account).map(|(_, line)| line.amount).sum()
    }

    /// Answers a command as the ledger must; `id` is the row's id if it is written.
    pub fn answer(&mut self, command: &Command, id: TransferId) -> Answer {
        let line = match command {
            Command::Post(posting) | Command::Hold(posting) => {
                if posting.amount.minor() <= 0 {
                    return Answer::Invalid(Invalid::AmountNotPositive);
                }
                if posting.debit == posting.credit {
                    return Answer::Invalid(Invalid::SameAccount);
                }
                let (debit, credit) = (posting.debit.id(), posting.credit.id());
                Line { key: posting.key.clone(), kind: command.kind(), debit, credit, amount: posting.amount.minor(), fact: posting.fact, ends: None }
            }
            Command::PostHold(ending) | Command::VoidHold(ending) => {
                let found = self.lines.iter().position(|line| line.key == ending.hold && line.kind == TransferKind::Pending);
                let own = self.lines.iter().position(|line| line.key == ending.key);
                match (found, own) {
                    (None, Some(own)) => {
                        return Answer::KeyConflict { existing: self.ids[own] };
                    }
                    (None, None) => return Answer::NoSuchHold,
                    (Some(place), _) => {
                        Line { key: ending.key.clone(), kind: command.kind(), ends: Some(place), fact: false, ..self.lines[place].clone() }
                    }
                }
            }
        };
        if let Some(place) = self.lines.iter().position(|old| old.key == line.key) {
            let old = &self.lines[place];
            let same = (old.kind, old.debit, old.credit, old.amount, old.ends) == (line.kind, line.debit, line.credit, line.amount, line.ends);
            let existing = self.ids[place];
            return if same { Answer::AlreadyPosted(existing) } else { Answer::KeyConflict { existing } };
        }
        if line.ends.is_some()
            && let Some(place) = self.lines.iter().position(|old| old.ends == line.ends)
        {
            let as_ = if self.lines[place].kind == TransferKind::Void { Ended::Void } else { Ended::Post };
            return Answer::HoldEnded { as_, by: self.ids[place] };
        }
        let available = self.posted(line.debit) - self.held(line.debit);
        if line.debit == players()[0].id() && line.ends.is_none() && !line.fact && available < line.amount {
            return Answer::Insufficient { available: kes(available), needed: kes(line.amount) };
        }
        self.lines.push(line);
        self.ids.push(id);
        Answer::Posted(id)
    }

    /// What a batch would be decided on after these rows.
    pub fn state(&self) -> State {
        let mut state = State::default();
        for (place, player) in players().iter().enumerate() {
            let bound = (place == 0).then(|| Bound { posted: self.posted(player.id()), held: self.held(player.id()) });
            let account = Account { book: Book::Platform, currency: Currency::KES, partner: None, bound };
            state.accounts.insert(player.id(), account);
        }
        for (place, line) in self.lines.iter().enumerate() {
            let ended = self.lines.iter().position(|other| other.ends == Some(place)).map(|by| {
                let as_ = if self.lines[by].kind == TransferKind::Void { Ended::Void } else { Ended::Post };
                (as_, self.ids[by])
            });
            let resolves = line.ends.map(|hold| self.ids[hold]);
            let content = Content { kind: line.kind, debit: line.debit, credit: line.credit, amount: line.amount, resolves, corrects: None };
            state.keys.insert(line.key.clone(), Existing { id: self.ids[place], content, book: Book::Platform, partner: None, ended });
        }
        state
    }

    /// How many rows there are of each kind, so that a test can show that it tried everything.
    pub fn kinds(&self) -> BTreeMap<TransferKind, usize> {
        let mut kinds = BTreeMap::new();
        for line in &self.lines {
            *kinds.entry(line.kind).or_default() += 1;
        }
        kinds
    }
}

#[test]
fn the_model_itself_counts_a_hold_once() {
    let mut model = Model::default();
    let id = |n| TransferId(uuid::Uuid::from_u128(n));
    let wallet = players()[0].id();
    assert_eq!(model.answer(&transfer(1, bank(), players()[0].clone(), 10).fact(), id(1)), Answer::Posted(id(1)));
    assert_eq!(model.answer(&charge(2, 7).hold(), id(2)), Answer::Posted(id(2)));
    assert_eq!((model.posted(wallet), model.held(wallet)), (10, 7));
    assert_eq!(model.answer(&end(2, 3).post(), id(3)), Answer::Posted(id(3)));
    assert_eq!((model.posted(wallet), model.held(wallet)), (3, 0));
    assert_eq!(key(1), Key::new(uuid::Uuid::from_u128(1), "test"));
    assert!(now() > chrono::DateTime::UNIX_EPOCH);
}
