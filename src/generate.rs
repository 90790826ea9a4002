//! Generated payments: an endless stream of card and push payments in order of event time, a pure
//! function of its settings.
//!
//! Knows no Kafka, no model and no clock. The same settings give the same bytes on every platform,
//! however the stream is cut. About one payment in three hundred is fraud, in bursts of five kinds
//! ([`Scenario`]); honest people travel, change telephones and buy big things meanwhile. Aggregates
//! are what an issuer would have counted from the stream itself, never from the truth, so the head
//! of a stream has short histories: a caller that wants full windows skips thirty days. The truth
//! leaves only by [`Payment::write_truth`].
//!
//! ```
//! use probity::generate::{Generator, Settings};
//! let mut lines = Vec::new();
//! for payment in Generator::new(Settings::default()).take(10) {
//!     payment.write_json(&mut lines);
//!     lines.push(b'\n');
//! }
//! ```

mod card;
mod draw;
pub mod files;
mod fraud;
mod payment;
mod text;
mod windows;
mod world;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use card::{Card, Draft};
use draw::{Draw, scatter};
use fraud::{Campaign, Scene, mean_frauds};
use windows::{Seen, Windows};
use world::{CATEGORIES, COUNTRIES, DAY, SECOND, World, to_float, whole};

use crate::error::{Fatal, Result};
pub use payment::{
    Aggregates, CardProduct, CardScheme, Channel, CvvResult, EntryMode, EventType, Fraud, Payment,
    Scenario, ThreeDsResult,
};
pub use text::Text;

/// How much of the schema a payment fills.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// All fields, but for those that got lost on the way.
    Full,
    /// Only the required fields: near 300 bytes of JSON.
    Compact,
}

/// What the stream is a function of.
#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    /// Cards of the issuer, at least 100 and at most [`Settings::MAX_CARDS`]. A card takes about
    /// half a KiB, and 64 bytes for each of its payments of the last 30 days.
    pub cards: u32,
    /// Share of payments that are fraud, 0 to 0.1; held on average over days.
    pub fraud_rate: f64,
    /// When the stream begins, microseconds since 1970-01-01 UTC.
    pub start_us: i64,
    /// Payments a second of event time, honest and not. Real people make about two a day: with many
    /// more the aggregates, and with them the models, leave what they were made for.
    pub events_per_second: f64,
    pub profile: Profile,
    /// Growth of honest prices in 30 days, as a logarithm: 0 leaves the world as it is.
    pub drift: f64,
}

impl Settings {
    pub const MAX_CARDS: u32 = 1 << 22;

    /// Two payments a day for each of `cards`.
    #[must_use]
    pub fn for_cards(cards: u32) -> Self {
        Settings {
            seed: 1,
            cards,
            fraud_rate: 0.003,
            start_us: 1_767_225_600_000_000,
            events_per_second: f64::from(cards) * 2.0 / 86_400.0,
            profile: Profile::Full,
            drift: 0.0,
        }
    }

    /// # Errors
    /// Names the first setting that is out of its range.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Fatal::usage(format!("cannot generate payments: {what}")));
        if !(100..=Settings::MAX_CARDS).contains(&self.cards) {
            return wrong("set cards between 100 and 4194304");
        }
        if !(0.0..=0.1).contains(&self.fraud_rate) {
            return wrong("set the fraud rate between 0 and 0.1");
        }
        if !(0..=4_102_444_800_000_000).contains(&self.start_us) {
            return wrong("set a start between the years 1970 and 2100");
        }
        if !(1e-6..=1e7).contains(&self.events_per_second) {
            return wrong("set between 0.000001 and 10000000 events per second of event time");
        }
        if !(-0.5..=0.5).contains(&self.drift) {
            return wrong("set a drift between -0.5 and 0.5");
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings::for_cards(50_000)
    }
}

/// Who makes the next payment. The order breaks ties of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Card(u32),
    Campaign(usize),
    /// A campaign is planned; nobody pays.
    Planner,
}

/// The endless stream of payments, in order of event time.
pub struct Generator {
    settings: Settings,
    draw: Draw,
    world: World,
    cards: Vec<Card>,
    campaigns: Vec<Option<Campaign>>,
    planned: u32,
    /// Mean time between the starts of two campaigns, microseconds; infinite without fraud.
    campaign_interval: f64,
    windows: Windows,
    turns: BinaryHeap<Reverse<(i64, Turn)>>,
    produced: u64,
}

/// Entity of [`Draw`] that plans campaigns.
const PLANNER_ENTITY: u32 = (1 << 29) - 1;

impl Generator {
    /// # Panics
    /// When the settings are out of range; [`Settings::check`] says so beforehand.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        settings.check().expect("the caller checked the settings");
        let mut draw = Draw::new(settings.seed);
        let world = World::new(&mut draw, settings.cards);
        let honest = settings.events_per_second * (1.0 - settings.fraud_rate);
        let interval = to_float(SECOND) * f64::from(settings.cards) / honest;
        let mut turns = Vec::new();
        let mut cards = Vec::new();
        for number in 0..settings.cards {
            let card = Card::new(&mut draw, number, settings.start_us, interval);
            let time = card.next_time(&mut draw, settings.start_us);
            turns.push(Reverse((time, Turn::Card(number))));
            cards.push(card);
        }
        let frauds = settings.events_per_second * settings.fraud_rate;
        if frauds > 0.0 {
            turns.push(Reverse((settings.start_us, Turn::Planner)));
        }
        let windows = Windows::new(settings.cards, world.count());
        Generator {
            settings,
            draw,
            world,
            cards,
            campaigns: Vec::new(),
            planned: 0,
            campaign_interval: to_float(SECOND) * mean_frauds() / frauds,
            windows,
            turns: turns.into(),
            produced: 0,
        }
    }

    fn card_pays(&mut self, number: u32, now: i64) -> (Draft, Option<i64>) {
        let age = to_float(now - self.settings.start_us) / to_float(30 * DAY);
        let inflation = libm::exp(self.settings.drift * age);
        let card = &mut self.cards[number as usize];
        let draft = card.pay(&mut self.draw, &self.world, now, inflation);
        (draft, Some(card.next_time(&mut self.draw, now)))
    }

    fn campaign_pays(&mut self, place: usize, now: i64) -> (Draft, Option<i64>) {
        let campaign = self.campaigns[place]
            .as_mut()
            .expect("a campaign with a turn is there");
        let scene = Scene {
            world: &self.world,
            cards: &self.cards,
            windows: &self.windows,
        };
        let draft = campaign.pay(&mut self.draw, &scene);
        let next = campaign.next_time(&mut self.draw, &scene, now);
        if next.is_none() {
            self.campaigns[place] = None;
        }
        (draft, next)
    }

    /// Plans one campaign, and when to plan the next. The planner has the turn, so it is on top.
    fn plan(&mut self, now: i64) {
        self.turns.pop();
        let scene = Scene {
            world: &self.world,
            cards: &self.cards,
            windows: &self.windows,
        };
        let campaign = Campaign::new(&mut self.draw, &scene, self.planned);
        let begins = campaign.next_time(&mut self.draw, &scene, now);
        let begins = begins.expect("a new campaign has payments left");
        let place = self
            .campaigns
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.campaigns.push(None);
                self.campaigns.len() - 1
            });
        self.campaigns[place] = Some(campaign);
        self.turns.push(Reverse((begins, Turn::Campaign(place))));
        self.draw.seek(PLANNER_ENTITY, self.planned);
        self.planned += 1;
        let pause = whole(self.draw.waiting(self.campaign_interval));
        self.turns.push(Reverse((now + pause, Turn::Planner)));
    }

    /// Gives the turn on top its next time, or ends it.
    fn reschedule(&mut self, next: Option<i64>) {
        let mut top = self
            .turns
            .peek_mut()
            .expect("the turn that was just taken is on top");
        match next {
            Some(next) => top.0.0 = next,
            None => {
                PeekMut::pop(top);
            }
        }
    }

    /// Gives a draft its ids, its currency and its aggregates, and remembers it.
    fn publish(&mut self, draft: &Draft, now: i64) -> Payment {
        let merchant = self.world.merchant(draft.merchant);
        let place = &COUNTRIES[usize::from(merchant.country)];
        let card = &self.cards[draft.card as usize];
        let local = whole(to_float(draft.amount) * place.minor_per_cent).max(1);
        let payment = Payment {
            transaction_id: Text::token("", self.id(0, self.produced), 16),
            event_type: draft.event_type,
            event_time_us: now,
            card_token: Text::token("card-", self.id(1, draft.card.into()), 16),
            amount_minor: local,
            currency: place.currency,
            mcc: CATEGORIES[usize::from(merchant.category)].mcc,
            merchant_id: Text::numbered("m", draft.merchant, 6),
            merchant_country: place.code,
            channel: draft.channel,
            issuer_country: COUNTRIES[usize::from(card.country)].code,
            billing_amount_minor: None,
            card_scheme: None,
            card_product: None,
            entry_mode: None,
            three_ds_result: None,
            cvv_result: None,
            acquirer_country: None,
            terminal_id: None,
            device_id: None,
            ip_address: None,
            ip_country: None,
            payee_token: None,
            account_age_days: None,
            aggregates: None,
            fraud: draft.fraud,
        };
        self.produced += 1;
        let seen = Seen {
            time: now,
            amount: draft.amount,
            card: draft.card,
            merchant: draft.merchant,
            country: merchant.country,
            device: draft.device,
            payee: draft.payee,
        };
        let payment = match self.settings.profile {
            Profile::Compact => payment,
            Profile::Full => self.complete(payment, draft, &seen),
        };
        if matches!(
            draft.event_type,
            EventType::Authorization | EventType::Transfer
        ) {
            self.windows.record(seen);
        }
        payment
    }

    /// Fills what may be null.
    fn complete(&self, mut payment: Payment, draft: &Draft, seen: &Seen) -> Payment {
        let merchant = self.world.merchant(draft.merchant);
        let card = &self.cards[draft.card as usize];
        // Four independent bytes of noise, each the fate of one group of fields.
        let [reported, acquired, located, counted] = draft.noise.to_le_bytes();
        payment.billing_amount_minor = (payment.currency != "EUR").then_some(draft.amount);
        if draft.channel != Channel::Transfer {
            payment.card_scheme = Some(card.scheme);
            payment.card_product = Some(card.product);
        }
        payment.entry_mode = draft.entry_mode;
        payment.three_ds_result = draft.three_ds_result.filter(|_| reported >= 6);
        payment.cvv_result = draft.cvv_result.filter(|_| reported < 240);
        let acquirer = COUNTRIES[usize::from(merchant.acquirer_country)].code;
        payment.acquirer_country = (acquired >= 8).then_some(acquirer);
        if matches!(draft.channel, Channel::Pos | Channel::Atm) {
            let terminal = draft.merchant * 10 + u32::from(acquired) % merchant.terminals;
            payment.terminal_id = Some(Text::numbered("t", terminal, 8));
        }
        payment.device_id = draft
            .device
            .map(|d| Text::token("dev-", self.id(2, d.into()), 12));
        if let Some((address, country)) = draft.ip.filter(|_| located >= 10) {
            payment.ip_address = Some(Text::address(address));
            payment.ip_country = Some(COUNTRIES[usize::from(country)].code);
        }
        payment.payee_token = draft
            .payee
            .map(|p| Text::token("acc-", self.id(3, p.into()), 12));
        let age = (payment.event_time_us - card.opened).div_euclid(DAY);
        payment.account_age_days = Some(i32::try_from(age).expect("centuries at most"));
        payment.aggregates = (counted >= 3).then(|| self.windows.before(seen));
        payment
    }

    /// 64 bits that stand for thing `number` of a kind, different under another seed.
    fn id(&self, kind: u64, number: u64) -> u64 {
        scatter(number ^ scatter(self.settings.seed ^ scatter(kind)))
    }
}

impl Iterator for Generator {
    type Item = Payment;

    fn next(&mut self) -> Option<Payment> {
        loop {
            let Reverse((now, turn)) = *self.turns.peek()?;
            let (draft, next) = match turn {
                Turn::Card(number) => self.card_pays(number, now),
                Turn::Campaign(place) => self.campaign_pays(place, now),
                Turn::Planner => {
                    self.plan(now);
                    continue;
                }
            };
            self.reschedule(next);
            return Some(self.publish(&draft, now));
        }
    }
}

#[cfg(test)]
mod tests;
