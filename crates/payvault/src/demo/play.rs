//! The play: what staff, borrowers, operators, a forger and the weather do, in order. Everything that a partner does goes over HTTP with
//! its key; the rest are acts of people outside, done at the simulators.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use pv_sandbox::{
    daraja::{ResultParts, result_body},
    mifos::{ClientSpec, LoanSpec},
};
use reqwest::Method;
use serde_json::json;

use super::{
    board::{Board, Payment, Place, Voice, title},
    cases::{Act, Case, HOUSES, PWANI, UMOJA, Way},
    stage::{Product, Settled, World, api},
};
use crate::failure::{Failure, Result};

/// How long a wait may take at most.
const PATIENCE: Duration = Duration::from_secs(40);

/// Everybody who plays.
pub struct Play<'a> {
    /// The outside.
    pub world: &'a World,
    /// The product.
    pub product: &'a Product,
    /// The partners.
    pub partners: &'a [Settled],
    /// What the partners' screens show.
    pub board: &'a Board,
    /// Who tells it.
    pub voice: &'a Voice,
}

/// A case whose loan was made: where it is found.
pub type Cast = Vec<(Case, Place)>;

impl Play<'_> {
    /// Makes clients and loans at the hosts; nothing is approved yet.
    pub fn prepare(&self, cases: Vec<Case>) -> Result<Cast> {
        let mut cast = Vec::with_capacity(cases.len());
        for case in cases {
            let msisdn: String = case.phone.chars().filter(char::is_ascii_digit).collect();
            if case.key == "unregistered" {
                self.world.phones.register_without_mpesa(&msisdn);
            } else {
                self.world.phones.register(&msisdn, &case.name().to_uppercase());
            }
            self.world.mpesa.lock().script(&msisdn, case.faults.clone());
            let name = if case.way == Way::Pay { format!("REFUND-{}", cast.len()) } else { self.loan(&case)?.to_string() };
            let place = (case.house, name);
            cast.push((case, place));
        }
        Ok(cast)
    }

    fn loan(&self, case: &Case) -> Result<u64> {
        let partner = self.partner(case.house)?;
        let products = &partner.core_products;
        let wanted = if case.way == Way::Listed { products.get(1) } else { products.first() };
        let product = *wanted.ok_or_else(|| Failure::new("the host has no product"))?;
        let mut host = self.world.host(case.house)?.lock();
        let bank = host.bank_mut();
        let today = bank.today(self.world.now());
        let client = bank.add_client(ClientSpec::new(case.person.0, case.person.1, case.phone, today));
        let spec = LoanSpec { fees_at_disbursement: case.fees * 100, ..LoanSpec::simple(client, product, case.gross(), today) };
        bank.add_loan(spec).map_err(|why| Failure::new(format!("the host refused a loan: {why:?}")))
    }

    fn partner(&self, house: usize) -> Result<&Settled> {
        self.partners.get(house).ok_or_else(|| Failure::new("there is no such partner"))
    }

    /// Plays everything. When it returns, nothing more happens by itself.
    pub async fn run(&self, cast: &Cast) -> Result<()> {
        self.voice.head("Wallet, float and four ways in");
        self.strangers().await?;
        let of = |act: Act| cast.iter().filter(move |(c, _)| c.act == act);
        for one in of(Act::Wallet) {
            self.wallet_is_empty(one).await?;
        }
        self.voice.head("A crowd of loans, and everything that can go wrong with them");
        for one in of(Act::Crowd) {
            self.begin(one).await?;
            tokio::time::sleep(Duration::from_millis(90)).await;
        }
        for one in of(Act::Forger) {
            self.forger(one).await?;
        }
        self.rest(of(Act::Crowd).chain(of(Act::Forger))).await?;
        self.voice.head("Float too low; a host that is down; a gateway that stumbles");
        let float = async {
            for one in of(Act::Float) {
                self.float_is_short(one).await?;
            }
            Ok::<(), Failure>(())
        };
        let down = async {
            for one in of(Act::HostDown) {
                self.host_goes_down(one).await?;
            }
            Ok(())
        };
        let hiccup = async {
            for one in of(Act::Hiccup) {
                self.gateway_stumbles(one).await?;
            }
            Ok(())
        };
        futures::try_join!(float, down, hiccup)?;
        self.rest(cast.iter()).await
    }

    /// All of them are over, booked and told.
    async fn rest<'c>(&self, cases: impl Iterator<Item = &'c (Case, Place)>) -> Result<()> {
        for (case, place) in cases {
            self.board.until(place, &format!("at rest ({})", case.key), PATIENCE, Payment::at_rest).await?;
        }
        Ok(())
    }

    /// The loan is approved and reaches us on its way, or the payment is ordered.
    async fn begin(&self, (case, place): &(Case, Place)) -> Result<()> {
        if case.way == Way::Pay {
            return self.order(case, place).await;
        }
        let what = format!(
            "approved: KES {} for {}{}",
            case.shillings,
            case.name(),
            if case.trouble.is_empty() { String::new() } else { format!(" · {}", case.trouble) }
        );
        self.voice.say(&title(place), "Mifos X", &what);
        let twice = case.key == "twin-b";
        let heard = matches!(case.way, Way::Hook | Way::Listed | Way::All);
        if case.way == Way::All {
            return self.all_at_once(case, place).await;
        }
        self.approve(place, heard, twice)?;
        match case.way {
            Way::Webhook => self.webhook(case, place).await,
            Way::Api => self.start(place).await,
            Way::Listed => {
                self.board.until(place, "listed", PATIENCE, |p| p.reason.as_deref() == Some("auto_off")).await?;
                self.voice.say(&title(place), "person", "the partner starts it by API");
                self.start(place).await
            }
            _ => Ok(()),
        }
    }

    /// Peter approves it in the web interface of the host. Unheard: its hook is lost.
    fn approve(&self, place: &Place, heard: bool, twice: bool) -> Result<()> {
        let loan: u64 = place.1.parse()?;
        let mut host = self.world.host(place.0)?.lock();
        let now = self.world.now();
        let bank = host.bank_mut();
        (bank.options_mut().hooks.lost, bank.options_mut().hooks.doubled) = (if heard { 0 } else { 1_000 }, if twice { 1_000 } else { 0 });
        let approved = bank.approve(loan, now);
        (bank.options_mut().hooks.lost, bank.options_mut().hooks.doubled) = (0, 0);
        approved.map_err(|why| Failure::new(format!("the host refused an approval: {why:?}")))
    }

    /// The documented webhook, as a partner's own program posts it.
    async fn webhook(&self, case: &Case, place: &Place) -> Result<()> {
        let partner = self.partner(place.0)?;
        let body = json!({
            "eventType": "loan_approved", "partnerId": partner.id, "loanId": place.1, "clientPhone": case.phone, "clientName": case.name(),
            "loanAmount": case.shillings, "webhookToken": partner.webhook_token,
        });
        let (status, answer) = partner.api.send(Method::POST, "/api/mifos/webhook/loan-approval", Some(&body), None).await?;
        if status != 200 {
            return Err(Failure::new(format!("the webhook was answered with {status}: {answer}")));
        }
        Ok(())
    }

    async fn start(&self, place: &Place) -> Result<()> {
        self.partner(place.0)?.api.post("/api/mifos/loans/disburse", &json!({ "loanId": place.1 })).await?;
        Ok(())
    }

    /// Hook, webhook, API and sweep race.
    async fn all_at_once(&self, case: &Case, place: &Place) -> Result<()> {
        self.approve(place, true, false)?;
        let sweep = async {
            self.partner(place.0)?.api.post("/api/mifos/loans/fetch", &json!({})).await?;
            Ok::<(), Failure>(())
        };
        futures::try_join!(self.webhook(case, place), self.start(place), sweep, self.start(place))?;
        Ok(())
    }

    /// `POST /api/mpesa/b2c/pay`.
    async fn order(&self, case: &Case, place: &Place) -> Result<()> {
        self.voice.say(&title(place), "person", &format!("b2c/pay: KES {} to {} · {}", case.shillings, case.name(), case.trouble));
        let body = json!({ "reference": place.1, "phone": case.phone, "amount": case.shillings, "name": case.name(), "note": "Refund of an instalment paid twice" });
        let api = &self.partner(place.0)?.api;
        let first = api.post("/api/mpesa/b2c/pay", &body).await?;
        let again = api.post("/api/mpesa/b2c/pay", &body).await?;
        if first.get("id") != again.get("id") {
            return Err(Failure::new(format!("the same reference made two payments: {first} and {again}")));
        }
        Ok(())
    }

    /// The first loan finds an empty wallet, and goes by itself once it is credited.
    async fn wallet_is_empty(&self, one: &(Case, Place)) -> Result<()> {
        self.begin(one).await?;
        let place = &one.1;
        self.board.until(place, "waiting for the wallet", PATIENCE, |p| p.reason.as_deref() == Some("waiting_wallet")).await?;
        self.voice.say(&title(place), "platform", "credits the wallet with KES 2,000 by API");
        self.credit(UMOJA, "BANK-0001").await
    }

    /// The platform credits a wallet.
    pub async fn credit(&self, house: usize, reference: &str) -> Result<()> {
        let body = json!({ "partner_id": self.partner(house)?.id, "amount": "2000.00", "reference": reference, "reason": "Bank transfer received" });
        self.product.platform.post("/api/wallet/adjustments", &body).await?;
        Ok(())
    }

    /// The last big loan finds too little float; float is bought outside, recorded, and the loan goes by itself.
    async fn float_is_short(&self, one: &(Case, Place)) -> Result<()> {
        self.begin(one).await?;
        let place = &one.1;
        self.board.until(place, "waiting for float", PATIENCE, |p| p.reason.as_deref() == Some("waiting_float")).await?;
        let house = HOUSES.get(PWANI).ok_or_else(|| Failure::new("no such house"))?;
        let receipt = self.world.mpesa.lock().fund(self.world.now(), house.shortcode, 3_000_000).map_err(Failure::from)?;
        self.voice.say(&title(place), "operator", &format!("KES 30,000 of float arrives at {} ({receipt}), recorded by API", house.shortcode));
        let partner = self.partner(PWANI)?;
        let body = json!({ "amount": "30000.00", "reference": receipt, "reason": "Float bought at the bank" });
        self.product.platform.post(&format!("/api/shortcodes/{}/funding", partner.shortcode), &body).await?;
        Ok(())
    }

    /// The host goes down between payment and booking: the booking waits, the money does not move again.
    async fn host_goes_down(&self, one: &(Case, Place)) -> Result<()> {
        self.begin(one).await?;
        let (case, place) = one;
        self.until_mpesa_has(case).await?;
        let now = self.world.now();
        self.world.host(place.0)?.lock().down(now, now + chrono::Duration::seconds(4));
        self.voice.say(&title(place), "Mifos X", "the host is down for 4 s; M-Pesa has the payment already");
        Ok(())
    }

    async fn until_mpesa_has(&self, case: &Case) -> Result<()> {
        let msisdn: String = case.phone.chars().filter(char::is_ascii_digit).collect();
        let looking = async {
            while !self.world.mpesa.lock().payments().any(|p| p.msisdn == msisdn) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.map_err(|_| Failure::new(format!("M-Pesa never got the payment of {}", case.key)))
    }

    /// The gateway answers 503 for a while; the texts come later, once each.
    async fn gateway_stumbles(&self, one: &(Case, Place)) -> Result<()> {
        self.world.sms.lock().faults_mut().down = 1_000;
        self.begin(one).await?;
        let place = &one.1;
        self.board.until(place, "paid", PATIENCE, |p| p.status == "paid").await?;
        self.voice.say(&title(place), "SMS", "the gateway answers 503; the texts wait");
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        self.world.sms.lock().faults_mut().down = 0;
        Ok(())
    }

    /// Somebody stole the address of a callback and posts a success before M-Pesa has decided. It comes from a place that is not
    /// M-Pesa's, so it is kept and believed by nobody.
    async fn forger(&self, one: &(Case, Place)) -> Result<()> {
        self.begin(one).await?;
        let (case, place) = one;
        self.until_mpesa_has(case).await?;
        let payment = self.board.until(place, "on its way", PATIENCE, |p| !p.payouts.is_empty()).await?;
        let rail_id = payment.payouts.first().map(|p| p.rail_id.clone()).unwrap_or_default();
        let body = {
            let mpesa = self.world.mpesa.lock();
            let real = mpesa.payment(&rail_id).ok_or_else(|| Failure::new(format!("M-Pesa does not know {rail_id}")))?;
            let party = format!("{} - {}", real.msisdn, case.name().to_uppercase());
            let balances = mpesa.balances(&real.shortcode).ok_or_else(|| Failure::new("the shortcode has no balances"))?;
            result_body(&ResultParts::b2c_success((&rail_id, &real.conversation_id, "TKK0FORGED"), real.cents, &party, self.world.now(), balances))
        };
        let url = format!("{}/h/{}/b2c/result", self.product.platform.base(), self.product.engine.id_key.token(&rail_id));
        let status = elsewhere()?.post(&url).header("content-type", "application/json").body(body.clone()).send().await?.status().as_u16();
        self.voice.say(
            &title(place),
            "forger",
            &format!("posts a success with receipt TKK0FORGED to the stolen address: stored ({status}), not believed"),
        );
        let guessed = format!("{}/h/{}/b2c/result", self.product.platform.base(), "0123456789abcdef0123456789abcdef");
        let status = elsewhere()?.post(&guessed).header("content-type", "application/json").body(body).send().await?.status().as_u16();
        self.voice.say("", "forger", &format!("posts it to a guessed address as well: stored ({status}), belongs to nothing"));
        Ok(())
    }

    /// Who has no right is told so.
    async fn strangers(&self) -> Result<()> {
        let pwani = self.partner(PWANI)?;
        let guessed = json!({ "eventType": "loan_approved", "loanId": "1", "webhookToken": "guessed" });
        let webhook = pwani.api.send(Method::POST, "/api/mifos/webhook/loan-approval", Some(&guessed), None).await?;
        let nobody = pwani.api.with_key("pv_nobody").send(Method::GET, "/api/loans/disbursements", None, None).await?;
        let theirs = format!("/api/shortcodes/{}/credentials", pwani.shortcode);
        let neighbour = self.partner(UMOJA)?.api.send(Method::GET, &theirs, None, None).await?;
        let knocks = [
            ("a webhook with a guessed token", webhook.0, 401),
            ("a request without a valid key", nobody.0, 401),
            ("UMOJA asks for PWANI's credentials", neighbour.0, 404),
        ];
        for (who, status, expected) in knocks {
            if status != expected {
                return Err(Failure::new(format!("{who} was answered with {status} instead of {expected}")));
            }
            self.voice.say("", "stranger", &format!("{who}: {status}"));
        }
        Ok(())
    }
}

/// A client whose address is not M-Pesa's.
fn elsewhere() -> Result<reqwest::Client> {
    let address: IpAddr = FORGER;
    let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10));
    // Some systems have only one loopback address; then the forger is not told from M-Pesa by its address, and the demo says so.
    if std::net::TcpListener::bind((address, 0)).is_ok() { Ok(builder.local_address(address).build()?) } else { api::client() }
}

/// From where the forger posts.
const FORGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 9));

/// How many loans stand under each number, over all hosts.
pub fn shared_numbers(cast: &Cast) -> BTreeMap<&str, usize> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for (case, place) in cast {
        if case.way != Way::Pay {
            *numbers.entry(place.1.as_str()).or_default() += 1;
        }
    }
    numbers
}
