//! The places where money is spent: countries, merchant categories and merchants, and the rhythm of
//! the week.
//!
//! Knows no card and no fraud. Everything here is fixed by the seed and the number of cards before
//! the first payment. Amounts are euro cents until a payment is written.

use super::draw::Draw;

pub(super) struct Country {
    pub(super) code: &'static str,
    pub(super) currency: &'static str,
    /// Minor units of the currency for one euro cent.
    pub(super) minor_per_cent: f64,
    /// Share of the issuer's cards; zero where it issues none.
    pub(super) cards: f64,
    /// How often its merchants are met from abroad, in shops and on the web.
    pub(super) visitors: f64,
    pub(super) web: f64,
}

const fn country(
    code: &'static str,
    currency: &'static str,
    minor_per_cent: f64,
    cards: f64,
    visitors: f64,
    web: f64,
) -> Country {
    Country {
        code,
        currency,
        minor_per_cent,
        cards,
        visitors,
        web,
    }
}

/// The euro countries come first: the issuer's books are in euro.
pub(super) const COUNTRIES: [Country; 20] = [
    country("DE", "EUR", 1.0, 26.0, 8.0, 7.0),
    country("FR", "EUR", 1.0, 20.0, 12.0, 6.0),
    country("IT", "EUR", 1.0, 15.0, 12.0, 3.0),
    country("ES", "EUR", 1.0, 13.0, 14.0, 3.0),
    country("NL", "EUR", 1.0, 9.0, 4.0, 9.0),
    country("BE", "EUR", 1.0, 6.0, 3.0, 2.0),
    country("AT", "EUR", 1.0, 4.0, 7.0, 2.0),
    country("PT", "EUR", 1.0, 3.0, 6.0, 1.0),
    country("IE", "EUR", 1.0, 2.0, 2.0, 12.0),
    country("FI", "EUR", 1.0, 2.0, 1.0, 1.0),
    country("LU", "EUR", 1.0, 0.0, 1.0, 12.0),
    country("GB", "GBP", 0.86, 0.0, 8.0, 12.0),
    country("US", "USD", 1.08, 0.0, 7.0, 14.0),
    country("CH", "CHF", 0.94, 0.0, 5.0, 2.0),
    country("SE", "SEK", 11.3, 0.0, 2.0, 3.0),
    country("PL", "PLN", 4.3, 0.0, 4.0, 3.0),
    country("CZ", "CZK", 25.1, 0.0, 4.0, 1.0),
    country("TR", "TRY", 36.0, 0.0, 5.0, 1.0),
    country("JP", "JPY", 1.62, 0.0, 2.0, 1.0),
    country("HK", "HKD", 8.4, 0.0, 1.0, 5.0),
];

pub(super) struct Category {
    pub(super) mcc: &'static str,
    /// Median amount in euro cents, and the deviation of its logarithm.
    pub(super) median: f64,
    pub(super) sigma: f64,
    /// How often it is paid in a shop, on the web, and by standing order.
    pub(super) shop: f64,
    pub(super) web: f64,
    pub(super) recurring: f64,
}

const fn category(
    mcc: &'static str,
    median: f64,
    sigma: f64,
    shop: f64,
    web: f64,
    recurring: f64,
) -> Category {
    Category {
        mcc,
        median,
        sigma,
        shop,
        web,
        recurring,
    }
}

pub(super) const CATEGORIES: [Category; 26] = [
    category("5411", 2_600.0, 0.75, 30.0, 3.0, 0.0), // groceries
    category("5812", 2_900.0, 0.6, 10.0, 2.0, 0.0),  // restaurants
    category("5814", 1_050.0, 0.5, 12.0, 3.0, 0.0),  // fast food
    category("5541", 5_200.0, 0.4, 7.0, 0.0, 0.0),   // fuel
    category("5311", 4_500.0, 0.8, 4.0, 8.0, 0.0),   // department stores
    category("5651", 5_400.0, 0.7, 4.0, 9.0, 0.0),   // clothing
    category("5732", 12_500.0, 1.0, 1.5, 6.0, 0.0),  // electronics
    category("5912", 1_500.0, 0.6, 5.0, 1.5, 0.0),   // pharmacies
    category("4111", 420.0, 0.7, 8.0, 4.0, 0.5),     // local transport
    category("4121", 1_650.0, 0.5, 1.5, 4.0, 0.0),   // taxis
    category("4511", 21_000.0, 0.8, 0.1, 2.0, 0.0),  // airlines
    category("7011", 17_500.0, 0.7, 1.0, 2.0, 0.0),  // hotels
    category("5999", 3_100.0, 0.95, 4.0, 9.0, 0.0),  // other shops
    category("5942", 1_900.0, 0.6, 1.0, 4.0, 0.0),   // books
    category("5816", 850.0, 1.0, 0.0, 8.0, 1.0),     // games
    category("5815", 750.0, 0.6, 0.0, 6.0, 10.0),    // digital media
    category("4899", 1_350.0, 0.4, 0.0, 0.5, 12.0),  // streaming
    category("4814", 2_400.0, 0.5, 0.2, 1.0, 8.0),   // telecommunications
    category("8398", 1_200.0, 1.0, 0.1, 1.0, 2.0),   // charities
    category("7995", 3_200.0, 1.0, 0.2, 1.5, 0.0),   // gambling
    category("5947", 3_300.0, 0.8, 0.7, 2.0, 0.0),   // gift cards
    category("5944", 14_000.0, 1.0, 0.3, 0.8, 0.0),  // jewellery
    category("6051", 11_000.0, 1.1, 0.0, 0.6, 0.0),  // quasi cash
    category("5300", 6_500.0, 0.6, 1.0, 0.3, 0.0),   // wholesale clubs
    category("6011", 9_000.0, 0.6, 0.0, 0.0, 0.0),   // cash machines
    category("4829", 11_500.0, 1.15, 0.0, 0.0, 0.0), // transfers
];

/// Index of the category with this code.
pub(super) fn category_of(mcc: &str) -> u8 {
    let index = CATEGORIES.iter().position(|category| category.mcc == mcc);
    u8::try_from(index.expect("the code is in the table")).expect("the table is short")
}

pub(super) fn pick_category(draw: &mut Draw, weight: impl Fn(&Category) -> f64 + Copy) -> u8 {
    let index = draw.pick(CATEGORIES.iter().map(weight));
    u8::try_from(index).expect("the table is short")
}

pub(super) fn pick_country(draw: &mut Draw, weight: impl Fn(&Country) -> f64 + Copy) -> u8 {
    let index = draw.pick(COUNTRIES.iter().map(weight));
    u8::try_from(index).expect("the table is short")
}

pub(super) struct Merchant {
    pub(super) country: u8,
    pub(super) category: u8,
    pub(super) acquirer_country: u8,
    pub(super) terminals: u32,
    /// How often it asks for 3-D Secure.
    pub(super) three_ds: f64,
    /// Its prices, relative to its category.
    pub(super) prices: f64,
}

pub(super) struct World {
    merchants: Vec<Merchant>,
    /// First merchant of each country and category, and one past the last.
    first: Vec<u32>,
}

/// Entities of [`Draw`]: cards count from zero, the others from here.
pub(super) const MERCHANT_ENTITIES: u32 = 1 << 26;

impl World {
    pub(super) fn new(draw: &mut Draw, cards: u32) -> Self {
        let mut world = World {
            merchants: Vec::new(),
            first: vec![0],
        };
        for country in 0..COUNTRIES.len() {
            for category in 0..CATEGORIES.len() {
                world.open_merchants(draw, country, category, cards);
            }
        }
        world
    }

    fn open_merchants(&mut self, draw: &mut Draw, country: usize, category: usize, cards: u32) {
        let size = COUNTRIES[country].cards + 0.3 * COUNTRIES[country].web;
        let kind = &CATEGORIES[category];
        let need = 3.0 + kind.shop + kind.web + kind.recurring;
        let count = (f64::from(cards) * size * need / 500_000.0).clamp(3.0, 400.0);
        let mut opened = 0.0;
        while opened < count {
            opened += 1.0;
            draw.seek(MERCHANT_ENTITIES + self.count(), 0);
            self.merchants.push(merchant(draw, country, category));
        }
        self.first.push(self.count());
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.merchants.len()).expect("at most 400 a country and category")
    }

    pub(super) fn merchant(&self, number: u32) -> &Merchant {
        &self.merchants[number as usize]
    }

    /// The merchant at `rank`, in [0, 1), of a country and category; low ranks are popular.
    pub(super) fn choose(&self, country: u8, category: u8, rank: f64) -> u32 {
        let place = usize::from(country) * CATEGORIES.len() + usize::from(category);
        let (first, next) = (self.first[place], self.first[place + 1]);
        // The cube gives the long tail.
        let number = whole(rank * rank * rank * f64::from(next - first));
        first + u32::try_from(number).expect("a rank below one stays in the range")
    }
}

fn merchant(draw: &mut Draw, country: usize, category: usize) -> Merchant {
    let country = u8::try_from(country).expect("the table is short");
    let abroad = draw.chance(0.05);
    let acquirer_country = if abroad {
        pick_country(draw, |c| c.web)
    } else {
        country
    };
    let policy = draw.unit();
    let euro = COUNTRIES[usize::from(country)].currency == "EUR";
    let three_ds = match (euro, policy) {
        (true, p) if p < 0.7 => 0.93,
        (true, p) if p < 0.92 => 0.6,
        (false, p) if p < 0.4 => 0.7,
        _ => 0.06,
    };
    Merchant {
        country,
        category: u8::try_from(category).expect("the table is short"),
        acquirer_country,
        terminals: 1 + draw.below(6),
        three_ds,
        prices: draw.around(1.0, 0.3),
    }
}

/// How busy each hour is, UTC, on weekdays and at weekends. Only the proportions matter.
const HOURS: [[f64; 24]; 2] = [
    [
        0.3, 0.2, 0.15, 0.12, 0.15, 0.3, 0.7, 1.1, 1.3, 1.2, 1.3, 1.7, 1.6, 1.3, 1.3, 1.5, 1.9,
        2.1, 1.9, 1.5, 1.2, 0.9, 0.7, 0.45,
    ],
    [
        0.6, 0.4, 0.3, 0.2, 0.15, 0.2, 0.35, 0.6, 1.1, 1.6, 1.9, 1.9, 1.8, 1.7, 1.7, 1.7, 1.7, 1.8,
        1.8, 1.6, 1.4, 1.2, 1.0, 0.8,
    ],
];
/// Sum of all hours of the week divided by their number: what an average hour weighs.
const AVERAGE_HOUR: f64 = 1.067_56;

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const HOUR: i64 = 3_600 * SECOND;
pub(super) const DAY: i64 = 24 * HOUR;

/// The time that lies `busy` microseconds of average business after `from`. At night and on quiet
/// days less happens, so the same business takes longer. `shift` moves the rhythm, for people who
/// get up late.
pub(super) fn after(from: i64, busy: f64, shift: i64) -> i64 {
    let mut now = from;
    let mut left = busy;
    loop {
        let local = now + shift;
        let pace = pace(local);
        let hour_ends = local - local.rem_euclid(HOUR) + HOUR - shift;
        let capacity = to_float(hour_ends - now) * pace;
        if left < capacity {
            return now + whole(left / pace);
        }
        left -= capacity;
        now = hour_ends;
    }
}

fn pace(local: i64) -> f64 {
    // 1970-01-01 was a Thursday; days 2 and 3 after it were a weekend.
    let weekend = usize::from(matches!(local.div_euclid(DAY).rem_euclid(7), 2 | 3));
    let hour = usize::try_from(local.rem_euclid(DAY) / HOUR).expect("less than 24");
    HOURS[weekend][hour] / AVERAGE_HOUR
}

/// A time or an amount as a float.
#[expect(
    clippy::cast_precision_loss,
    reason = "generated times and amounts are below 2^53, so exact"
)]
pub(super) fn to_float(number: i64) -> f64 {
    number as f64
}

/// The whole part, for values that fit.
#[expect(
    clippy::cast_possible_truncation,
    reason = "callers hold the value below 2^53"
)]
pub(super) fn whole(number: f64) -> i64 {
    debug_assert!(number.abs() < 9.0e15, "a time or an amount below 2^53");
    number as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_of_business_takes_a_week() {
        let week = to_float(7 * DAY);
        let from = 1_767_225_600 * SECOND;
        let took = to_float(after(from, week, 0) - from);
        assert!(
            (took / week - 1.0).abs() < 0.001,
            "AVERAGE_HOUR is off by {}",
            took / week
        );
    }

    #[test]
    fn nights_are_slow() {
        let midnight = 1_767_225_600 * SECOND;
        let busy = to_float(HOUR / 2);
        let by_night = after(midnight + 2 * HOUR, busy, 0) - midnight - 2 * HOUR;
        let by_day = after(midnight + 16 * HOUR, busy, 0) - midnight - 16 * HOUR;
        assert!(by_night > 3 * by_day);
    }

    #[test]
    fn merchants_are_found_in_their_country_and_category() {
        let world = World::new(&mut Draw::new(1), 1_000);
        for (country, category) in [(0, 0), (12, 5), (19, 25)] {
            for rank in [0.0, 0.5, 0.999_999] {
                let merchant = world.merchant(world.choose(country, category, rank));
                assert_eq!((merchant.country, merchant.category), (country, category));
            }
        }
        assert_ne!(world.choose(0, 0, 0.0), world.choose(0, 0, 0.999_999));
    }
}
