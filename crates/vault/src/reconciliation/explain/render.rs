//! A path as plain text for a terminal.

use std::fmt::{self, Write as _};

use chrono::{DateTime, Utc};
use pv_kernel::{Money, clock::nairobi};

use super::{Path, PayoutPart};

/// A moment in Nairobi: `4 Mar 10:42:07`.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.with_timezone(&nairobi()).format("%-d %b %H:%M:%S").to_string()
}

fn money(minor: i64) -> Money {
    Money::from_minor(minor)
}

impl Path {
    /// As plain text, a line per fact.
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let i = &self.intent;
        writeln!(out, "{}", self.sentence)?;
        writeln!(out, "\nintent     {} of {}", i.disbursement_id, i.partner)?;
        if let (Some(core), Some(loan)) = (&i.core, &i.loan_id) {
            writeln!(out, "  loan {loan} in {core}{}", i.product_name.as_deref().map(|p| format!(", {p}")).unwrap_or_default())?;
        }
        if let Some(reference) = &i.reference {
            writeln!(out, "  reference {reference}")?;
        }
        let amount = i.amount_minor.map(|m| money(m).to_string()).unwrap_or_default();
        let gross = i.gross_minor.filter(|g| Some(*g) != i.amount_minor).map(|g| format!(" (owed: {})", money(g))).unwrap_or_default();
        writeln!(out, "  {amount}{gross} to {} {}", i.client_name.as_deref().unwrap_or("somebody"), i.phone.as_deref().unwrap_or_default())?;
        let ways = if i.ways.is_empty() { i.origin.clone() } else { i.ways.join(", ") };
        writeln!(out, "  {} by {} ({ways})", time(i.first_seen_at.unwrap_or(i.created_at)), i.created_by)?;
        let reason = i.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
        writeln!(out, "  {}{reason}, charges {}", i.status.replace('_', " "), i.charges)?;
        for p in &self.payouts {
            payout(out, p)?;
        }
        if let Some(b) = &self.booking {
            let transaction = b.transaction_id.as_deref().map(|t| format!(", transaction {t}")).unwrap_or_default();
            let day = b.book_on.map(|d| format!(" on {d}")).unwrap_or_default();
            writeln!(out, "\nbooking    {}{day}, {} under receipt {}{transaction}", b.state, money(b.gross_minor), b.receipt)?;
            for more in [&b.outcome, &b.last_error].into_iter().flatten() {
                writeln!(out, "  {more}")?;
            }
            if let Some(at) = b.checked_at {
                writeln!(out, "  read again {}", time(at))?;
            }
        }
        self.write_ledger(out)?;
        self.write_rest(out)
    }

    fn write_ledger(&self, out: &mut String) -> fmt::Result {
        if !self.transfers.is_empty() {
            writeln!(out, "\nledger")?;
        }
        for t in &self.transfers {
            let fact = if t.fact { ", fact" } else { "" };
            let open = if t.open { ", open" } else { "" };
            let book = if t.book == "P" { "P" } else { "M" };
            writeln!(
                out,
                "  {}  {:<22} {book} {} → {}  {}  {}{fact}{open}",
                time(t.at),
                t.movement,
                t.debit,
                t.credit,
                money(t.amount_minor),
                t.kind
            )?;
        }
        Ok(())
    }

    fn write_rest(&self, out: &mut String) -> fmt::Result {
        if !self.messages.is_empty() {
            writeln!(out, "\nmessages")?;
        }
        for m in &self.messages {
            let arrow = if m.direction == "in" { "from" } else { "to" };
            let status = m.http_status.map(|s| format!(" {s}")).unwrap_or_default();
            writeln!(out, "  {}  {arrow} {} {}{status}: {}", time(m.at), m.party, m.kind, m.outcome.as_deref().unwrap_or(&m.state))?;
        }
        if !self.texts.is_empty() {
            writeln!(out, "\ntexts")?;
        }
        for t in &self.texts {
            writeln!(out, "  {}  {} to {}: {}", time(t.created_at), t.message_type, t.recipient, t.state)?;
        }
        if !self.timeline.is_empty() {
            writeln!(out, "\ntimeline")?;
        }
        for e in &self.timeline {
            let detail = e.detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default();
            writeln!(out, "  {}  {:<10} {}{detail}", time(e.at), e.lane, e.what)?;
        }
        if !self.items.is_empty() {
            writeln!(out, "\nitems")?;
        }
        for i in &self.items {
            let closed = i.closed_at.map(|t| format!(", closed {}", time(t))).unwrap_or_default();
            writeln!(out, "  {}  {}: {}{closed}", time(i.opened_at), i.title, i.detail)?;
        }
        Ok(())
    }
}

fn payout(out: &mut String, part: &PayoutPart) -> fmt::Result {
    let p = &part.payout;
    writeln!(
        out,
        "\npayout {}   {} {} from {} to {}: {}",
        p.attempt,
        p.rail_id,
        money(p.amount_minor),
        p.shortcode,
        p.phone,
        p.state.replace('_', " ")
    )?;
    if let Some(receipt) = &p.receipt {
        let name = p.party_name.as_deref().map(|n| format!(", to {n}")).unwrap_or_default();
        writeln!(out, "  receipt {receipt}{name}")?;
    }
    for s in &part.submissions {
        let answer = [s.code.as_deref(), s.message.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        writeln!(out, "  {}  submission {}: {} {answer}", time(s.started_at), s.number, s.state.replace('_', " "))?;
    }
    for q in &part.questions {
        let answer = [q.code.as_deref(), q.answer.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        writeln!(out, "  {}  asked ({}): {} {answer}", time(q.asked_at), q.purpose, q.state.replace('_', " "))?;
    }
    if let Some(code) = &p.result_code {
        writeln!(out, "  result {code} {}", p.result_detail.as_deref().unwrap_or_default())?;
    }
    if let Some(proof) = &part.proof {
        writeln!(out, "  {}  proof ({}, {}): {}", time(proof.at), proof.grade, proof.source.replace('_', " "), proof.detail)?;
    }
    Ok(())
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render())
    }
}
