//! Who borrows, by which way the loan comes to us, what goes wrong on the way, and how it has to end.

use std::time::Duration;

use pv_sandbox::daraja::Fault;

/// Two partners: the old line of Mifos X and the new one.
pub const HOUSES: [HouseCard; 2] = [
    HouseCard { name: "Umoja Microfinance", short_name: "UMOJA", release: "1.8", shortcode: "600584", float: 12_500_000, staff: "254722100001" },
    HouseCard { name: "Pwani SACCO", short_name: "PWANI", release: "1.14", shortcode: "600997", float: 11_000_000, staff: "254733200001" },
];
/// The first of [`HOUSES`].
pub const UMOJA: usize = 0;
/// The second.
pub const PWANI: usize = 1;

/// What a partner is made of.
pub struct HouseCard {
    /// Its name.
    pub name: &'static str,
    /// As in texts.
    pub short_name: &'static str,
    /// The release of its host.
    pub release: &'static str,
    /// Its B2C shortcode.
    pub shortcode: &'static str,
    /// KES cents in the utility account at the start.
    pub float: i64,
    /// The phone of its staff.
    pub staff: &'static str,
}

/// How a loan comes to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The hook of a stock host.
    Hook,
    /// The documented webhook.
    Webhook,
    /// Nobody tells us: the sweep finds it.
    Poll,
    /// The partner's program asks for it by name.
    Api,
    /// Listed, because its product is not automatic; then asked for by name.
    Listed,
    /// Hook, webhook, API and sweep at the same instant.
    All,
    /// No loan: `POST /api/mpesa/b2c/pay`.
    Pay,
}

impl Way {
    /// In the table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Webhook => "webhook",
            Self::Poll => "poll",
            Self::Api => "API",
            Self::Listed => "hook, API",
            Self::All => "all four",
            Self::Pay => "b2c/pay",
        }
    }

    /// The first ways by which the product may have seen it.
    pub const fn seen_as(self) -> &'static [&'static str] {
        match self {
            Self::Hook => &["hook"],
            Self::Webhook => &["webhook"],
            Self::Poll => &["poll"],
            Self::Api => &["api"],
            Self::Listed => &["hook", "api"],
            Self::All => &["hook", "webhook", "api", "poll"],
            Self::Pay => &[],
        }
    }
}

/// How it has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The phone has the money, once.
    Paid,
    /// M-Pesa refused for good; nothing moved.
    NotPaid,
    /// Our own checks refused; nothing was ever sent, and it is on the list.
    Refused,
}

/// When a case is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The wallet is empty.
    Wallet,
    /// One after the other, with everything that can go wrong.
    Crowd,
    /// The float is short.
    Float,
    /// The host goes down after the payment.
    HostDown,
    /// The SMS gateway stumbles.
    Hiccup,
    /// The forger.
    Forger,
}

/// One payment of the demo.
pub struct Case {
    /// Its name in the code.
    pub key: &'static str,
    /// Whose.
    pub house: usize,
    /// How it comes.
    pub way: Way,
    /// First and last name.
    pub person: (&'static str, &'static str),
    /// Twelve digits, or what somebody typed instead.
    pub phone: &'static str,
    /// What is asked for.
    pub shillings: i64,
    /// What is kept back at the disbursement.
    pub fees: i64,
    /// What goes wrong, in words.
    pub trouble: &'static str,
    /// What M-Pesa does to it.
    pub faults: Vec<Fault>,
    /// How it ends.
    pub end: End,
    /// When.
    pub act: Act,
}

impl Case {
    const fn new(key: &'static str, house: usize, way: Way, person: (&'static str, &'static str), phone: &'static str, shillings: i64) -> Self {
        Self { key, house, way, person, phone, shillings, fees: 0, trouble: "", faults: Vec::new(), end: End::Paid, act: Act::Crowd }
    }

    fn with(mut self, trouble: &'static str, faults: Vec<Fault>) -> Self {
        self.trouble = trouble;
        self.faults = faults;
        self
    }

    const fn ends(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    const fn in_act(mut self, act: Act) -> Self {
        self.act = act;
        self
    }

    const fn fees(mut self, shillings: i64) -> Self {
        self.fees = shillings;
        self
    }

    /// What reaches the phone, KES cents.
    pub const fn net(&self) -> i64 {
        (self.shillings - self.fees) * 100
    }

    /// What is booked, KES cents.
    pub const fn gross(&self) -> i64 {
        self.shillings * 100
    }

    /// First and last name.
    pub fn name(&self) -> String {
        format!("{} {}", self.person.0, self.person.1)
    }
}

/// Everybody. The first loan of each house has the same number in both cores.
pub fn cast() -> Vec<Case> {
    use Way::{All, Api, Hook, Listed, Pay, Poll, Webhook};
    let s = Duration::from_secs;
    let code = |code: &str| vec![Fault::code(code)];
    vec![
        Case::new("twin-a", UMOJA, Hook, ("Achieng", "Otieno"), "254712300101", 4_100).with("same loan number at both hosts", vec![]),
        Case::new("twin-b", PWANI, Hook, ("Kiprono", "Chebet"), "254722300102", 9_800).with("same loan number; hook comes twice", vec![]),
        Case::new("wallet", UMOJA, Hook, ("Jane", "Wanjiku"), "254712300103", 12_000).with("wallet empty, then credited", vec![]).in_act(Act::Wallet),
        Case::new("fees", UMOJA, Hook, ("Mumbua", "Mutua"), "254733300104", 8_500).fees(200).with("fees kept back: net paid, gross booked", vec![]),
        Case::new("calm", PWANI, Hook, ("Baraka", "Hassan"), "254701300105", 15_000),
        Case::new("web-a", UMOJA, Webhook, ("Naliaka", "Wekesa"), "254712300106", 6_200),
        Case::new("web-b", PWANI, Webhook, ("Njeri", "Mwangi"), "254722300107", 9_900),
        Case::new("poll-a", UMOJA, Poll, ("Omondi", "Ouma"), "254790300108", 4_750).with("hook lost, found by the sweep", vec![]),
        Case::new("poll-b", PWANI, Poll, ("Halima", "Abdi"), "254710300109", 7_300).with("hook lost, found by the sweep", vec![]),
        Case::new("api-a", UMOJA, Api, ("Kamau", "Njoroge"), "254711300110", 5_400).with("hook lost, asked for by name", vec![]),
        Case::new("listed", PWANI, Listed, ("Zawadi", "Mwakio"), "254720300111", 11_000).with("product not automatic: listed, then started", vec![]),
        Case::new("lost", UMOJA, Hook, ("Auma", "Odhiambo"), "254713300112", 3_300).with("callback lost", vec![Fault::ResultLost]),
        Case::new("doubled", PWANI, Hook, ("Chebet", "Koech"), "254723300113", 2_750).with("callback comes twice", vec![Fault::ResultTwice]),
        Case::new("late", UMOJA, Webhook, ("Wafula", "Barasa"), "254714300114", 6_600).with("callback 6 s late", vec![Fault::ResultDelayed(s(6))]),
        Case::new("early", PWANI, Webhook, ("Amina", "Salim"), "254724300115", 1_900)
            .with("callback before the acknowledgement", vec![Fault::ResultEarly]),
        Case::new("dropped", UMOJA, Hook, ("Mutiso", "Kilonzo"), "254715300116", 5_050)
            .with("taken, but the connection drops", vec![Fault::DroppedAfter]),
        Case::new("unknown", PWANI, Hook, ("Rehema", "Juma"), "254725300117", 13_500).with(
            "no answer, no callback, two questions unanswered",
            vec![Fault::All(vec![Fault::ErrorAfter, Fault::ResultLost]), Fault::StatusLost, Fault::StatusError],
        ),
        Case::new("locked", UMOJA, Hook, ("Nyokabi", "Kariuki"), "254716300118", 2_200)
            .with("1001 subscriber busy, a second attempt", vec![Fault::code("1001")]),
        Case::new("unregistered", UMOJA, Hook, ("Otieno", "Okoth"), "254717300119", 7_700)
            .with("2040 the number has no M-Pesa", vec![])
            .ends(End::NotPaid),
        Case::new("refused", PWANI, Webhook, ("Kadzo", "Charo"), "254727300120", 3_900).with("12 refused for good", code("12")).ends(End::NotPaid),
        Case::new("forged", UMOJA, Hook, ("Mwende", "Musyoka"), "254718300121", 14_000)
            .with("forged success, believed by nobody", vec![Fault::All(vec![Fault::Pending(s(3)), Fault::code("7")])])
            .ends(End::NotPaid)
            .in_act(Act::Forger),
        Case::new("all-ways", PWANI, All, ("Fatuma", "Bakari"), "254728300122", 8_800).with("four ways in at the same instant", vec![]),
        Case::new("abroad", PWANI, Hook, ("Neema", "Mushi"), "+255 754 300 123", 5_000).with("a phone of another country", vec![]).ends(End::Refused),
        Case::new("float", PWANI, Hook, ("Salome", "Mutuku"), "254729300124", 49_000).with("float too low, then funded", vec![]).in_act(Act::Float),
        Case::new("host-down", UMOJA, Hook, ("Gathoni", "Maina"), "254719300125", 10_400)
            .with("Mifos X down after the payment", vec![])
            .in_act(Act::HostDown),
        Case::new("hiccup", PWANI, Hook, ("Juma", "Mwinyi"), "254731300126", 3_150).with("SMS gateway stumbles", vec![]).in_act(Act::Hiccup),
        Case::new("manual", UMOJA, Pay, ("Peter", "Mwangi"), "254732300127", 2_500).with("a refund, no loan", vec![]),
        Case::new("manual-2", PWANI, Pay, ("Grace", "Wambui"), "254734300128", 1_250).with("ordered twice under one reference", vec![]),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_cast_has_twenty_loans_at_least_and_every_way_in() {
        let cast = cast();
        assert!(cast.iter().filter(|c| c.way != Way::Pay).count() >= 20);
        for way in [Way::Hook, Way::Webhook, Way::Poll, Way::Api, Way::Listed, Way::All, Way::Pay] {
            assert!(cast.iter().any(|c| c.way == way), "{way:?}");
        }
        let keys: BTreeSet<&str> = cast.iter().map(|c| c.key).collect();
        let phones: BTreeSet<&str> = cast.iter().map(|c| c.phone).collect();
        assert_eq!((keys.len(), phones.len()), (cast.len(), cast.len()), "everybody is somebody else");
    }

    #[test]
    fn the_float_is_enough_for_all_but_the_loan_that_waits_for_it() {
        for (n, house) in HOUSES.iter().enumerate() {
            let paid = |act: Option<Act>| -> i64 {
                cast().iter().filter(|c| c.house == n && c.end == End::Paid && act.is_none_or(|a| c.act == a)).map(Case::net).sum()
            };
            let (all, short) = (paid(None), paid(Some(Act::Float)));
            assert!(all - short <= house.float, "{}", house.name);
            assert!(short == 0 || all > house.float, "{} has float for everything", house.name);
        }
    }
}
