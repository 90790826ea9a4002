//! The issuer's aggregates: what it knew of card, device and merchant just before a payment.
//!
//! Knows the stream and nothing else: no truth, no intention. A window holds the payments recorded
//! earlier whose time lies in (now - window, now]. Memory is bounded: a card remembers its last
//! [`CARD_LIMIT`] payments, a merchant its last [`MERCHANT_LIMIT`] of an hour, and both count no
//! further than that.

use std::collections::{HashMap, VecDeque};

use super::payment::Aggregates;
use super::world::{DAY, HOUR, SECOND, to_float};

pub(super) const CARD_LIMIT: usize = 256;
pub(super) const MERCHANT_LIMIT: usize = 10_000;

/// One payment as the aggregates see it.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) time: i64,
    /// Minor units of the account's currency.
    pub(super) amount: i64,
    pub(super) card: u32,
    pub(super) merchant: u32,
    pub(super) country: u8,
    pub(super) device: Option<u32>,
    pub(super) payee: Option<u32>,
}

pub(super) struct Windows {
    cards: Vec<VecDeque<Seen>>,
    merchants: Vec<VecDeque<(i64, u32)>>,
    devices: Devices,
}

impl Windows {
    pub(super) fn new(cards: u32, merchants: u32) -> Self {
        Windows {
            cards: (0..cards).map(|_| VecDeque::new()).collect(),
            merchants: (0..merchants).map(|_| VecDeque::new()).collect(),
            devices: Devices::default(),
        }
    }

    /// The aggregates for `now`, which is not recorded yet.
    pub(super) fn before(&self, now: &Seen) -> Aggregates {
        let mut aggregates = of_card(&self.cards[now.card as usize], now);
        aggregates.device_cards_24h = now
            .device
            .map(|device| self.devices.cards(device, now.time));
        let merchant = &self.merchants[now.merchant as usize];
        let outdated = merchant.partition_point(|(time, _)| *time <= now.time - HOUR);
        aggregates.merchant_count_1h = count(merchant.len() - outdated);
        aggregates
    }

    pub(super) fn record(&mut self, seen: Seen) {
        let card = &mut self.cards[seen.card as usize];
        let outdated = |old: &Seen| old.time <= seen.time - 30 * DAY;
        while card.len() >= CARD_LIMIT || card.front().is_some_and(outdated) {
            card.pop_front();
        }
        card.push_back(seen);
        let merchant = &mut self.merchants[seen.merchant as usize];
        let outdated = |old: &(i64, u32)| old.0 <= seen.time - HOUR;
        while merchant.len() >= MERCHANT_LIMIT || merchant.front().is_some_and(outdated) {
            merchant.pop_front();
        }
        merchant.push_back((seen.time, seen.card));
        if let Some(device) = seen.device {
            self.devices.record(device, seen.card, seen.time);
        }
    }

    /// The cards that paid at a merchant of late, oldest first.
    pub(super) fn customers(&self, merchant: u32) -> impl ExactSizeIterator<Item = u32> {
        self.merchants[merchant as usize]
            .iter()
            .map(|(_, card)| *card)
    }
}

fn of_card(history: &VecDeque<Seen>, now: &Seen) -> Aggregates {
    let mut known = Aggregates {
        card_count_1h: 0,
        card_count_24h: 0,
        card_amount_sum_24h: 0,
        card_amount_avg_30d: None,
        card_seconds_since_last: None,
        card_merchants_24h: 0,
        card_countries_24h: 0,
        card_merchant_count_30d: 0,
        card_device_count_30d: now.device.map(|_| 0),
        card_payee_count_30d: now.payee.map(|_| 0),
        device_cards_24h: None,
        merchant_count_1h: 0,
    };
    let (mut payments, mut amount, mut countries) = (0_i32, 0_i64, 0_u32);
    for (age, seen) in history.iter().rev().enumerate() {
        if seen.time <= now.time - 30 * DAY {
            break;
        }
        payments += 1;
        amount += seen.amount;
        known.card_merchant_count_30d += i32::from(seen.merchant == now.merchant);
        add_if_same(&mut known.card_device_count_30d, seen.device, now.device);
        add_if_same(&mut known.card_payee_count_30d, seen.payee, now.payee);
        if seen.time <= now.time - DAY {
            continue;
        }
        known.card_count_1h += i32::from(seen.time > now.time - HOUR);
        known.card_count_24h += 1;
        known.card_amount_sum_24h += seen.amount;
        let mut later = history.iter().rev().take(age);
        known.card_merchants_24h += i32::from(!later.any(|other| other.merchant == seen.merchant));
        countries |= 1 << seen.country;
    }
    known.card_countries_24h = countries.count_ones().cast_signed();
    if let Some(last) = history.back().filter(|_| payments > 0) {
        known.card_amount_avg_30d = Some(to_float(amount) / f64::from(payments));
        known.card_seconds_since_last = Some((now.time - last.time) / SECOND);
    }
    known
}

fn add_if_same(total: &mut Option<i32>, seen: Option<u32>, now: Option<u32>) {
    if let Some(total) = total {
        *total += i32::from(seen == now);
    }
}

fn count(length: usize) -> i32 {
    i32::try_from(length).expect("bounded by the limits above")
}

/// Which cards used a device in the last day, and when last. A device is forgotten when its last
/// card is; the map is only ever asked for one device, so its order cannot matter.
#[derive(Default)]
struct Devices {
    cards: HashMap<u32, Vec<(u32, i64)>>,
    uses: VecDeque<(i64, u32)>,
}

impl Devices {
    fn cards(&self, device: u32, now: i64) -> i32 {
        let cards = self.cards.get(&device).map_or(&[][..], Vec::as_slice);
        count(cards.iter().filter(|(_, last)| *last > now - DAY).count())
    }

    fn record(&mut self, device: u32, card: u32, now: i64) {
        let cards = self.cards.entry(device).or_default();
        match cards.iter_mut().find(|(known, _)| *known == card) {
            Some((_, last)) => *last = now,
            None => cards.push((card, now)),
        }
        self.uses.push_back((now, device));
        while let Some((time, device)) = self.uses.front().copied().filter(|u| u.0 <= now - DAY) {
            self.uses.pop_front();
            self.forget(device, time);
        }
    }

    /// Drops the cards that did not use the device after `time`.
    fn forget(&mut self, device: u32, time: i64) {
        if let Some(cards) = self.cards.get_mut(&device) {
            cards.retain(|(_, last)| *last > time);
            if cards.is_empty() {
                self.cards.remove(&device);
            }
        }
    }
}
