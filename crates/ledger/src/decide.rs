//! The decision over a batch, pure: what the books say and what is asked give answers and rows. No I/O.
//!
//! Commands of one batch see each other's effect, in their order. A refused command leaves no trace and stops nobody.

use std::collections::{HashMap, HashSet};

use pv_kernel::{
    Currency, Money,
    ids::{AccountId, PartnerId, TransferId},
    money::MAX_MINOR,
};

use crate::{
    AccountRef, Book,
    command::{Answer, Command, Ended, Ending, Invalid, Key, Posting, TransferKind},
};

/// What the books say about the accounts and keys that a batch touches.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The opened accounts among those of the batch.
    pub accounts: HashMap<AccountId, Account>,
    /// The transfers that stand under the keys of the batch (own keys and keys of holds).
    pub keys: HashMap<Key, Existing>,
    /// Of the transfers that the batch says to correct, those that exist.
    pub correctable: HashSet<TransferId>,
}

/// One account, as locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Its book.
    pub book: Book,
    /// Its currency.
    pub currency: Currency,
    /// Whose it is.
    pub partner: Option<PartnerId>,
    /// Its balance, for bounded accounts only.
    pub bound: Option<Bound>,
}

/// The locked balance of a bounded account, minor units, credits minus debits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bound {
    /// Credits minus debits.
    pub posted: i64,
    /// Pending debits.
    pub held: i64,
}

impl Bound {
    /// Posted minus held. Saturates, which no sum of bounded amounts reaches.
    pub const fn available(self) -> i64 {
        self.posted.saturating_sub(self.held)
    }

    /// After a change; `None` when it leaves its range. What is held never falls below zero: each release was held before.
    pub fn plus(self, delta: Self) -> Option<Self> {
        let held = self.held.checked_add(delta.held).filter(|held| *held >= 0)?;
        Some(Self { posted: self.posted.checked_add(delta.posted)?, held })
    }
}

/// A transfer that stands under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Existing {
    /// Its id.
    pub id: TransferId,
    /// Its money: what a second command under the key is compared with.
    pub content: Content,
    /// The book.
    pub book: Book,
    /// Whose it is.
    pub partner: Option<PartnerId>,
    /// For a hold: how it ended.
    pub ended: Option<(Ended, TransferId)>,
}

/// What makes two commands under one key the same: their money. Times, evidence and details may differ, since the same fact
/// can be learned twice and by two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Posted, pending, or an end of a hold.
    pub kind: TransferKind,
    /// The account that is debited.
    pub debit: AccountId,
    /// The account that is credited.
    pub credit: AccountId,
    /// Minor units.
    pub amount: i64,
    /// The hold that it ends.
    pub resolves: Option<TransferId>,
    /// The transfer that it corrects.
    pub corrects: Option<TransferId>,
}

impl Content {
    /// What the row does to bounded balances: account and change.
    pub fn effects(&self) -> [(AccountId, Bound); 2] {
        let amount = self.amount;
        let (debit, credit) = match self.kind {
            TransferKind::Posted => (Bound { posted: -amount, held: 0 }, Bound { posted: amount, held: 0 }),
            TransferKind::Pending => (Bound { posted: 0, held: amount }, Bound::default()),
            TransferKind::Post => (Bound { posted: -amount, held: -amount }, Bound { posted: amount, held: 0 }),
            TransferKind::Void => (Bound { posted: 0, held: -amount }, Bound::default()),
        };
        [(self.debit, debit), (self.credit, credit)]
    }
}

/// A row to be written for the command at `command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Position of the command in the batch.
    pub command: usize,
    /// The new transfer.
    pub id: TransferId,
    /// Its money.
    pub content: Content,
    /// The book.
    pub book: Book,
    /// Whose it is.
    pub partner: Option<PartnerId>,
    /// It already happened outside.
    pub fact: bool,
}

/// One answer for each command, and the rows to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of the commands.
    pub answers: Vec<Answer>,
    /// In the order of their commands.
    pub rows: Vec<Row>,
}

/// Decides a batch. `ids` gives the id that each command's transfer gets if it is written; commands beyond its length are
/// not decided.
pub fn decide(state: State, ids: &[TransferId], commands: &[Command]) -> Plan {
    let mut books = Books { state, added: HashMap::new(), ends: HashMap::new() };
    let mut plan = Plan { answers: Vec::with_capacity(commands.len()), rows: Vec::with_capacity(commands.len()) };
    for (index, (command, id)) in commands.iter().zip(ids).enumerate() {
        let answer = match books.consider(command, *id) {
            Err(answer) => answer,
            Ok(existing) => {
                let fact = matches!(command, Command::Post(posting) if posting.fact);
                plan.rows.push(Row { command: index, id: *id, content: existing.content, book: existing.book, partner: existing.partner, fact });
                Answer::Posted(*id)
            }
        };
        plan.answers.push(answer);
    }
    plan
}

/// The state, with what the batch has added so far.
struct Books<'a> {
    state: State,
    added: HashMap<&'a Key, Existing>,
    /// Holds that ended in this batch.
    ends: HashMap<TransferId, (Ended, TransferId)>,
}

impl<'a> Books<'a> {
    fn standing(&self, key: &Key) -> Option<&Existing> {
        self.added.get(key).or_else(|| self.state.keys.get(key))
    }

    /// The row to write, already in effect here; or the answer that refuses it.
    fn consider(&mut self, command: &'a Command, id: TransferId) -> Result<Existing, Answer> {
        let key = command.key();
        if key.generation < 1 || key.movement.is_empty() || key.movement.chars().count() > 80 {
            return Err(Answer::Invalid(Invalid::BadKey));
        }
        let new = match command {
            Command::Post(posting) | Command::Hold(posting) => self.consider_posting(posting, command.kind(), id)?,
            Command::PostHold(ending) => self.consider_ending(ending, Ended::Post, id)?,
            Command::VoidHold(ending) => self.consider_ending(ending, Ended::Void, id)?,
        };
        self.apply(&new)?;
        self.added.insert(key, new);
        Ok(new)
    }

    fn consider_posting(&self, posting: &Posting, kind: TransferKind, id: TransferId) -> Result<Existing, Answer> {
        sound(posting, kind).map_err(Answer::Invalid)?;
        let content = Content {
            kind,
            debit: posting.debit.id(),
            credit: posting.credit.id(),
            amount: posting.amount.minor(),
            resolves: None,
            corrects: posting.corrects,
        };
        self.fresh(&posting.key, &content)?;
        let debit = self.account(&posting.debit)?;
        let credit = self.account(&posting.credit)?;
        if debit.currency != posting.amount.currency() || credit.currency != posting.amount.currency() {
            return Err(Answer::Invalid(Invalid::CurrencyDiffers));
        }
        if posting.corrects.is_some_and(|corrected| !self.state.correctable.contains(&corrected)) {
            return Err(Answer::Invalid(Invalid::CorrectsUnknown));
        }
        let partner = one_partner([posting.partner, debit.partner, credit.partner]).map_err(Answer::Invalid)?;
        if let Some(bound) = debit.bound.filter(|_| !posting.fact)
            && bound.available() < content.amount
        {
            return Err(Answer::Insufficient { available: Money::from_minor(bound.available()), needed: posting.amount });
        }
        Ok(Existing { id, content, book: posting.debit.book, partner, ended: None })
    }

    fn consider_ending(&self, ending: &Ending, as_: Ended, id: TransferId) -> Result<Existing, Answer> {
        let own = self.standing(&ending.key).copied();
        let hold = self.standing(&ending.hold).filter(|hold| hold.content.kind == TransferKind::Pending).copied();
        let Some(hold) = hold else {
            return Err(own.map_or(Answer::NoSuchHold, |own| Answer::KeyConflict { existing: own.id }));
        };
        let kind = match as_ {
            Ended::Post => TransferKind::Post,
            Ended::Void => TransferKind::Void,
        };
        let content = Content { kind, resolves: Some(hold.id), corrects: None, ..hold.content };
        self.fresh(&ending.key, &content)?;
        if let Some((as_, by)) = hold.ended.or_else(|| self.ends.get(&hold.id).copied()) {
            return Err(Answer::HoldEnded { as_, by });
        }
        Ok(Existing { id, content, book: hold.book, partner: hold.partner, ended: None })
    }

    /// Nothing stands under the key yet; otherwise what to say.
    fn fresh(&self, key: &Key, content: &Content) -> Result<(), Answer> {
        match self.standing(key) {
            None => Ok(()),
            Some(existing) if existing.content == *content => Err(Answer::AlreadyPosted(existing.id)),
            Some(existing) => Err(Answer::KeyConflict { existing: existing.id }),
        }
    }

    fn account(&self, account: &AccountRef) -> Result<Account, Answer> {
        let id = account.id();
        self.state.accounts.get(&id).copied().ok_or(Answer::UnknownAccount(id))
    }

    /// Puts a row into effect: both balances, and the end of the hold. All or nothing.
    fn apply(&mut self, new: &Existing) -> Result<(), Answer> {
        let mut changed = [None, None];
        for (slot, (id, delta)) in changed.iter_mut().zip(new.content.effects()) {
            let Some(bound) = self.state.accounts.get(&id).and_then(|account| account.bound) else {
                continue;
            };
            *slot = Some((id, bound.plus(delta).ok_or(Answer::Invalid(Invalid::OutOfRange))?));
        }
        for (id, bound) in changed.into_iter().flatten() {
            if let Some(account) = self.state.accounts.get_mut(&id) {
                account.bound = Some(bound);
            }
        }
        if let Some(hold) = new.content.resolves {
            let ended = match new.content.kind {
                TransferKind::Void => Ended::Void,
                TransferKind::Posted | TransferKind::Pending | TransferKind::Post => Ended::Post,
            };
            self.ends.insert(hold, (ended, new.id));
        }
        Ok(())
    }
}

/// Whether a posting makes sense whatever the books say.
fn sound(posting: &Posting, kind: TransferKind) -> Result<(), Invalid> {
    if !posting.amount.is_positive() {
        return Err(Invalid::AmountNotPositive);
    }
    if posting.amount.minor() > MAX_MINOR {
        return Err(Invalid::OutOfRange);
    }
    if posting.debit.book != posting.credit.book {
        return Err(Invalid::BooksMix);
    }
    if posting.debit == posting.credit {
        return Err(Invalid::SameAccount);
    }
    if posting.fact && kind == TransferKind::Pending {
        return Err(Invalid::FactHold);
    }
    Ok(())
}

/// The one partner among those named.
fn one_partner(named: [Option<PartnerId>; 3]) -> Result<Option<PartnerId>, Invalid> {
    let mut partner = None;
    for named in named.into_iter().flatten() {
        if *partner.get_or_insert(named) != named {
            return Err(Invalid::PartnersMix);
        }
    }
    Ok(partner)
}

#[cfg(test)]
mod tests;
