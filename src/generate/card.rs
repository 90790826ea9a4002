//! Honest people: what a card's owner is like, and the payments they make.
//!
//! Knows no fraud. Much of it exists to look like fraud: travel, new telephones, lent devices, late
//! nights, big purchases, payees never seen before. A model that is right about these has learnt
//! something.

use super::draw::{Draw, scatter};
use super::payment::{CardProduct, CardScheme, Channel, CvvResult, EntryMode, EventType};
use super::payment::{Fraud, ThreeDsResult};
use super::world::{
    CATEGORIES, COUNTRIES, DAY, SECOND, World, after, category_of, pick_category, pick_country,
    to_float, whole,
};

/// A payment before it has ids, currency and aggregates.
pub(super) struct Draft {
    pub(super) card: u32,
    pub(super) event_type: EventType,
    pub(super) channel: Channel,
    pub(super) merchant: u32,
    /// Euro cents.
    pub(super) amount: i64,
    pub(super) entry_mode: Option<EntryMode>,
    pub(super) three_ds_result: Option<ThreeDsResult>,
    pub(super) cvv_result: Option<CvvResult>,
    pub(super) device: Option<u32>,
    /// Address and the country it belongs to.
    pub(super) ip: Option<(u32, u8)>,
    pub(super) payee: Option<u32>,
    pub(super) fraud: Option<Fraud>,
    /// Decides which optional fields got lost on the way.
    pub(super) noise: u32,
}

/// Devices and payees that belong to no card count from here; those of campaigns from twice that.
pub(super) const SHARED: u32 = 1 << 30;

pub(super) struct Card {
    number: u32,
    /// Cards of one household share its devices and its address.
    household: u32,
    pub(super) country: u8,
    pub(super) scheme: CardScheme,
    pub(super) product: CardProduct,
    pub(super) opened: i64,
    /// Mean time between payments, microseconds.
    interval: f64,
    /// What its owner spends, relative to others.
    pub(super) means: f64,
    online: f64,
    travels: f64,
    /// How much earlier than others its owner gets up, microseconds.
    pub(super) rhythm: i64,
    event: u32,
    devices_replaced: u32,
    trip: Option<(u8, i64)>,
    last: Option<(u32, i64, Channel)>,
}

impl Card {
    /// `interval` is the mean time between payments of an average card, microseconds.
    pub(super) fn new(draw: &mut Draw, number: u32, start: i64, interval: f64) -> Self {
        draw.seek(number, 0);
        let country = pick_country(draw, |c| c.cards);
        let scheme = draw.pick([46.0, 40.0, 3.0, 11.0].into_iter());
        let product = draw.pick([62.0, 27.0, 7.0, 4.0].into_iter());
        let age = draw.waiting(1_400.0) * to_float(DAY);
        Card {
            number,
            household: if draw.chance(0.4) {
                number & !1
            } else {
                number
            },
            country,
            scheme: CardScheme::ALL[scheme],
            product: CardProduct::ALL[product],
            opened: start - whole(age),
            // The mean of the divisor is one, so that all cards together keep the asked-for rate.
            interval: interval / draw.around(libm::exp(-0.5 * 0.7 * 0.7), 0.7).max(0.05),
            means: draw.around(1.0, 0.45),
            online: draw.between(0.1, 0.6),
            travels: draw.waiting(0.004),
            rhythm: whole(draw.normal() * 1.5 * to_float(DAY) / 24.0),
            event: 0,
            devices_replaced: 0,
            trip: None,
            last: None,
        }
    }

    /// When the card pays next. Uses up draws of the event that was made last.
    pub(super) fn next_time(&self, draw: &mut Draw, now: i64) -> i64 {
        // One payment in five follows within minutes: people go from shop to shop.
        let soon = (0.02 * self.interval).min(to_float(600 * SECOND));
        let mean = if draw.chance(0.2) {
            soon
        } else {
            (self.interval - 0.2 * soon) / 0.8
        };
        after(now, draw.waiting(mean), self.rhythm)
    }

    /// The next payment of the card's owner. `inflation` multiplies every price.
    pub(super) fn pay(
        &mut self,
        draw: &mut Draw,
        world: &World,
        now: i64,
        inflation: f64,
    ) -> Draft {
        self.event += 1;
        draw.seek(self.number, self.event);
        self.live(draw, now);
        if let Some(last) = self.last
            && draw.chance(0.015)
        {
            return self.give_back(draw, last);
        }
        let online = self.online;
        let shares = [0.93 - online, 0.05, online, 0.006, 0.06, 0.035];
        let channel = Channel::ALL[draw.pick(shares.into_iter())];
        let mut draft = self.blank(draw, channel);
        self.choose_merchant(draw, world, &mut draft);
        self.choose_amount(draw, world, &mut draft, inflation);
        self.identify(draw, world, &mut draft);
        self.last = Some((draft.merchant, draft.amount, channel));
        draft
    }

    /// A payment of the kind that this card makes, at a merchant that others chose.
    pub(super) fn pay_at(
        &self,
        draw: &mut Draw,
        world: &World,
        merchant: u32,
        amount: i64,
    ) -> Draft {
        let mut draft = self.blank(draw, Channel::Ecommerce);
        draft.merchant = merchant;
        draft.amount = amount;
        self.identify(draw, world, &mut draft);
        draft
    }

    /// Trips begin and end, telephones get replaced.
    fn live(&mut self, draw: &mut Draw, now: i64) {
        self.trip = self.trip.filter(|(_, until)| now < *until);
        if self.trip.is_none() && draw.chance(self.travels) {
            let country = pick_country(draw, |c| c.visitors);
            let days = 1.0 + draw.waiting(6.0);
            self.trip = Some((country, now + whole(days * to_float(DAY))));
        }
        if draw.chance(0.008) {
            self.devices_replaced = (self.devices_replaced + 1) % 32;
        }
    }

    pub(super) fn blank(&self, draw: &mut Draw, channel: Channel) -> Draft {
        let transfer = channel == Channel::Transfer;
        Draft {
            card: self.number,
            event_type: if transfer {
                EventType::Transfer
            } else {
                EventType::Authorization
            },
            channel,
            merchant: 0,
            amount: 0,
            entry_mode: None,
            three_ds_result: None,
            cvv_result: None,
            device: None,
            ip: None,
            payee: None,
            fraud: None,
            noise: draw.word(),
        }
    }

    /// A refund, days later or a reversal of what just went wrong.
    fn give_back(&mut self, draw: &mut Draw, last: (u32, i64, Channel)) -> Draft {
        let (merchant, amount, channel) = last;
        let mut draft = self.blank(draw, channel);
        let reversed = channel == Channel::Transfer || draw.chance(0.4);
        draft.event_type = if reversed {
            EventType::Reversal
        } else {
            EventType::Refund
        };
        draft.merchant = merchant;
        draft.amount = amount;
        self.last = None;
        draft
    }

    fn choose_merchant(&self, draw: &mut Draw, world: &World, draft: &mut Draft) {
        let here = self.trip.map_or(self.country, |(country, _)| country);
        let (country, category) = match draft.channel {
            Channel::Pos => (here, pick_category(draw, |c| c.shop)),
            Channel::Atm => (here, category_of("6011")),
            Channel::Recurring => (self.web_country(draw), pick_category(draw, |c| c.recurring)),
            Channel::Ecommerce | Channel::Moto => {
                (self.web_country(draw), pick_category(draw, |c| c.web))
            }
            Channel::Transfer => {
                let abroad = draw.chance(0.06);
                let country = if abroad {
                    pick_country(draw, |c| c.web)
                } else {
                    self.country
                };
                (country, category_of("4829"))
            }
        };
        let rank = self.habit(draw, category);
        draft.merchant = world.choose(country, category, rank);
    }

    fn web_country(&self, draw: &mut Draw) -> u8 {
        if draw.chance(0.7) {
            self.country
        } else {
            pick_country(draw, |c| c.web)
        }
    }

    /// People mostly go where they went before: one of three favourites of each category.
    fn habit(&self, draw: &mut Draw, category: u8) -> f64 {
        if draw.chance(0.35) {
            return draw.unit();
        }
        let favourite = draw.below(3);
        let place = u64::from(self.number) << 16 | u64::from(category) << 2 | u64::from(favourite);
        let [a, b, c, d, ..] = scatter(place).to_le_bytes();
        f64::from(u32::from_le_bytes([a, b, c, d])) / 4_294_967_296.0
    }

    fn choose_amount(&self, draw: &mut Draw, world: &World, draft: &mut Draft, inflation: f64) {
        let merchant = world.merchant(draft.merchant);
        let category = &CATEGORIES[usize::from(merchant.category)];
        let median = category.median * merchant.prices * self.means * inflation;
        let mut amount = draw.around(median, category.sigma);
        // Now and then something big is bought.
        if draw.chance(0.01) {
            amount *= draw.between(3.0, 9.0);
        }
        draft.amount = rounded(draw, amount, draft.channel);
    }

    /// How the card was read, how its owner was checked, and from where they paid.
    fn identify(&self, draw: &mut Draw, world: &World, draft: &mut Draft) {
        match draft.channel {
            Channel::Pos => {
                let old = if COUNTRIES[self.here()].code == "US" {
                    6.0
                } else {
                    0.4
                };
                let mode = draw.pick([24.0, 60.0, old, 0.4, 15.0].into_iter());
                draft.entry_mode = Some(EntryMode::ALL[mode]);
            }
            Channel::Atm => draft.entry_mode = Some(EntryMode::Chip),
            Channel::Moto => {
                draft.entry_mode = Some(EntryMode::Manual);
                draft.cvv_result = Some(own_code(draw));
            }
            Channel::Recurring => {}
            Channel::Ecommerce => {
                let asks = world.merchant(draft.merchant).three_ds;
                draft.three_ds_result = Some(own_three_ds(draw, asks));
                draft.cvv_result = Some(own_code(draw));
                self.connect(draw, draft);
            }
            Channel::Transfer => {
                draft.payee = Some(self.payee(draw));
                self.connect(draw, draft);
            }
        }
    }

    fn here(&self) -> usize {
        usize::from(self.trip.map_or(self.country, |(country, _)| country))
    }

    /// Device and address of a remote payment by the card's owner.
    pub(super) fn connect(&self, draw: &mut Draw, draft: &mut Draft) {
        let which = u32::from(draw.chance(0.3));
        let own = self.household * 64 + self.devices_replaced * 2 + which;
        let borrowed = draw.chance(0.012);
        let shared = SHARED + draw.below(40);
        let reported = draw.chance(0.9);
        draft.device = reported.then_some(if borrowed { shared } else { own });
        let abroad = self
            .trip
            .map(|(country, _)| country)
            .filter(|_| draw.chance(0.7));
        // Private networks make honest people appear anywhere.
        let tunnel = draw.chance(0.025).then(|| pick_country(draw, |c| c.web));
        let country = tunnel.or(abroad).unwrap_or(self.country);
        let moving = draw.chance(0.35) || country != self.country;
        let home = scatter(u64::from(self.household)).to_le_bytes();
        let home = u32::from_le_bytes([home[0], home[1], home[2], home[3]]);
        let address = if moving { draw.word() } else { home };
        draft.ip = Some((address, country));
    }

    /// Rent, family and friends; one transfer in seven goes to someone new.
    fn payee(&self, draw: &mut Draw) -> u32 {
        if draw.chance(0.14) {
            SHARED + draw.below(SHARED)
        } else {
            self.number * 8 + draw.below(5)
        }
    }
}

/// Result of 3-D Secure for an honest payer, where the merchant asks with probability `asks`.
fn own_three_ds(draw: &mut Draw, asks: f64) -> ThreeDsResult {
    if !draw.chance(asks) {
        return ThreeDsResult::Absent;
    }
    ThreeDsResult::ALL[draw.pick([36.0, 57.0, 4.0, 3.0].into_iter())]
}

fn own_code(draw: &mut Draw) -> CvvResult {
    CvvResult::ALL[draw.pick([80.0, 2.0, 18.0].into_iter())]
}

/// Prices look like prices: whole tens from a machine, and often .00, .50, .90, .95 or .99.
pub(super) fn rounded(draw: &mut Draw, amount: f64, channel: Channel) -> i64 {
    let cents = whole(amount.clamp(20.0, 5_000_000.0));
    if channel == Channel::Atm {
        return (cents / 1_000).max(2) * 1_000;
    }
    let endings = [0, 0, 50, 90, 95, 99];
    if draw.chance(0.5) && cents >= 100 {
        let ending = endings[draw.below(6) as usize];
        return cents / 100 * 100 + ending;
    }
    cents
}
