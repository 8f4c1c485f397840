//! The sentence in words: pure.

use chrono::{DateTime, Utc};
use pv_kernel::{Money, clock::nairobi};

use super::{Items, Kind, Open};

/// Shillings as people say them: `KES 48,200`, with cents only where there are any.
fn shillings(amount: Money) -> String {
    let text = Money::from_minor(amount.minor().saturating_abs()).to_string();
    text.strip_suffix(".00").map_or(text.clone(), str::to_owned)
}

fn many(count: i64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// How long ago, coarsely: `40 s`, `11 min`, `3 h`, `2 d`.
fn ago(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The sentence in words: pure. `open` in order, worst first; what is listed is only counted with the items.
pub(super) fn words(now: DateTime<Utc>, open: &[Open], items: Items) -> String {
    let mut parts: Vec<String> = open.iter().filter(|o| !o.listed).map(|o| part(now, o)).collect();
    if parts.is_empty() {
        parts.push(format!("All money explained as of {}", now.with_timezone(&nairobi()).format("%H:%M:%S")));
    }
    if items.count > 0 {
        parts.push(format!("{} on the list", many(items.count, "item", "items")));
    }
    parts.join(" · ")
}

fn part(now: DateTime<Utc>, open: &Open) -> String {
    let amount = shillings(open.amount);
    let oldest = open.oldest.map(|t| format!(", oldest {}", ago(now, t))).unwrap_or_default();
    match open.kind {
        Kind::Contradiction => {
            let verb = if open.count == 1 { "contradicts a rule" } else { "contradict a rule" };
            format!("{} {verb}, see verify", many(open.count, "row", "rows"))
        }
        Kind::RailDrift => {
            let shortcode = open.shortcode.as_deref().unwrap_or_default();
            if open.amount.is_positive() {
                format!("M-Pesa shows {amount} that we cannot explain on {shortcode}")
            } else {
                format!("M-Pesa misses {amount} that we cannot explain on {shortcode}")
            }
        }
        Kind::HoldContradiction => format!("{amount} in {} whose hold contradicts it", many(open.count, "payout", "payouts")),
        Kind::ToBookUnexplained => format!("{amount} to be booked that no payment explains"),
        Kind::AccountUnlisted => format!("{amount} in {} that nobody has on a list", many(open.count, "account", "accounts")),
        Kind::NotYetKnown => format!("{amount} in {} not yet known{oldest}", many(open.count, "payout", "payouts")),
        Kind::NotBooked => format!("{amount} paid and not yet booked in {}{oldest}", many(open.count, "loan", "loans")),
        Kind::UndoneInCore => format!("{amount} paid and not booked any more in {}{oldest}", many(open.count, "loan", "loans")),
        Kind::OnItsWay => format!("{amount} in {} on its way", many(open.count, "payout", "payouts")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::plain, *};

    fn now() -> DateTime<Utc> {
        "2026-03-04T07:42:07Z".parse().unwrap()
    }

    fn open(kind: Kind, count: i64, shillings: i64, minutes: i64) -> Open {
        Open {
            count,
            amount: Money::from_minor(shillings * 100),
            oldest: Some(now() - chrono::Duration::minutes(minutes)),
            ..plain(kind, String::new(), false)
        }
    }

    fn items(count: i64) -> Items {
        Items { count, oldest: None }
    }

    #[test]
    fn the_sentence_says_nairobi_time_and_how_much_is_on_the_list() {
        assert_eq!(words(now(), &[], items(0)), "All money explained as of 10:42:07");
        assert_eq!(words(now(), &[], items(2)), "All money explained as of 10:42:07 · 2 items on the list");
        let listed = Open { listed: true, ..open(Kind::NotYetKnown, 1, 500, 20) };
        assert_eq!(words(now(), &[listed], items(1)), "All money explained as of 10:42:07 · 1 item on the list");
    }

    #[test]
    fn what_is_not_explained_is_said_with_amount_number_and_age() {
        for (open, text) in [
            (open(Kind::NotYetKnown, 3, 48_200, 11), "KES 48,200 in 3 payouts not yet known, oldest 11 min"),
            (open(Kind::OnItsWay, 1, 12_000, 0), "KES 12,000 in 1 payout on its way"),
            (open(Kind::NotBooked, 1, 5_000, 3), "KES 5,000 paid and not yet booked in 1 loan, oldest 3 min"),
            (Open { shortcode: Some("600111".into()), ..open(Kind::RailDrift, 1, 300, 0) }, "M-Pesa shows KES 300 that we cannot explain on 600111"),
            (
                Open { shortcode: Some("600111".into()), ..open(Kind::RailDrift, 1, -300, 0) },
                "M-Pesa misses KES 300 that we cannot explain on 600111",
            ),
            (open(Kind::Contradiction, 2, 0, 0), "2 rows contradict a rule, see verify"),
        ] {
            assert_eq!(words(now(), &[open], items(0)), text);
        }
        let cents = Open { amount: Money::from_minor(50_050), ..open(Kind::NotYetKnown, 1, 0, 180) };
        assert_eq!(words(now(), &[cents], items(1)), "KES 500.50 in 1 payout not yet known, oldest 3 h · 1 item on the list");
    }
}
