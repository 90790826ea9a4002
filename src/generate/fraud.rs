//! Bursts: the five ways of fraud, and the honest crowds that resemble them.
//!
//! A campaign is an entity of its own with its own draws. It uses cards that honest people go on
//! using meanwhile, and knows of them what a thief would know. It never sees the aggregates.

use super::card::{Card, Draft, SHARED, rounded};
use super::draw::Draw;
use super::payment::{Channel, CvvResult, EntryMode, Fraud, Scenario, ThreeDsResult};
use super::windows::Windows;
use super::world::{
    SECOND, World, after, category_of, pick_category, pick_country, to_float, whole,
};

/// What a campaign can see.
pub(super) struct Scene<'a> {
    pub(super) world: &'a World,
    pub(super) cards: &'a [Card],
    pub(super) windows: &'a Windows,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fraud(Scenario),
    /// Honest people who all buy the same at the same time: a ticket sale, an appeal for donations.
    Crowd,
}

/// How often each kind comes, how many payments it makes at least and at most, and the mean time
/// between them in seconds.
const KINDS: [(Kind, f64, u32, u32, f64); 6] = [
    (Kind::Fraud(Scenario::CardTesting), 8.0, 12, 40, 25.0),
    (Kind::Fraud(Scenario::AccountTakeover), 27.0, 2, 7, 900.0),
    (Kind::Fraud(Scenario::StolenCard), 40.0, 2, 9, 3_000.0),
    (Kind::Fraud(Scenario::PushPayment), 18.0, 3, 10, 5_400.0),
    (
        Kind::Fraud(Scenario::CompromisedMerchant),
        7.0,
        10,
        30,
        1_200.0,
    ),
    (Kind::Crowd, 8.0, 15, 60, 45.0),
];

/// Payments of fraud that one campaign makes on average, honest crowds counted in.
pub(super) fn mean_frauds() -> f64 {
    let (mut frauds, mut campaigns) = (0.0, 0.0);
    for (kind, weight, least, most, _) in KINDS {
        campaigns += weight;
        if kind != Kind::Crowd {
            frauds += weight * f64::from(least + most) / 2.0;
        }
    }
    frauds / campaigns
}

/// Entities of [`Draw`] from here on are campaigns.
const CAMPAIGN_ENTITIES: u32 = 1 << 27;

pub(super) struct Campaign {
    number: u32,
    kind: Kind,
    event: u32,
    left: u32,
    /// Mean time between payments, microseconds.
    interval: f64,
    merchant: u32,
    /// Where the thieves are.
    country: u8,
    /// Cards known to the thieves; the first is the victim where there is one.
    cards: Vec<u32>,
    /// Takes over the device of its victim, or hides behind an address near it.
    disguised: bool,
    /// Median amount, euro cents.
    amount: f64,
}

impl Campaign {
    pub(super) fn new(draw: &mut Draw, scene: &Scene, number: u32) -> Self {
        draw.seek(CAMPAIGN_ENTITIES + number, 0);
        let (kind, _, least, most, seconds) = KINDS[draw.pick(KINDS.iter().map(|kind| kind.1))];
        let mut campaign = Campaign {
            number,
            kind,
            event: 0,
            left: least + draw.below(most - least + 1),
            interval: seconds * to_float(SECOND),
            merchant: 0,
            country: pick_country(draw, |c| c.web + c.visitors),
            cards: Vec::new(),
            disguised: draw.chance(0.35),
            amount: 0.0,
        };
        campaign.plan(draw, scene);
        campaign
    }

    fn plan(&mut self, draw: &mut Draw, scene: &Scene) {
        let web = |draw: &mut Draw, codes: &[&str]| {
            let code = codes[draw.below(codes.len().try_into().expect("a short list")) as usize];
            let country = pick_country(draw, |c| c.web);
            scene.world.choose(country, category_of(code), draw.unit())
        };
        let (victims, median) = match self.kind {
            Kind::Fraud(Scenario::CardTesting) => {
                self.merchant = web(draw, &["8398", "5815", "5816", "5942", "4814"]);
                (self.left, draw.around(220.0, 0.6))
            }
            Kind::Crowd => {
                self.merchant = web(draw, &["8398", "5999", "5816", "5651"]);
                (self.left, draw.around(1_500.0, 0.8))
            }
            Kind::Fraud(Scenario::AccountTakeover) => (1, draw.around(21_000.0, 0.7)),
            Kind::Fraud(Scenario::StolenCard) => (1, draw.around(9_500.0, 0.8)),
            Kind::Fraud(Scenario::PushPayment) => (self.left, draw.around(130_000.0, 0.7)),
            Kind::Fraud(Scenario::CompromisedMerchant) => {
                (self.left / 2, draw.around(8_000.0, 0.6))
            }
        };
        self.amount = median;
        if self.kind == Kind::Fraud(Scenario::CompromisedMerchant) {
            self.steal_from_merchant(draw, scene);
        }
        while self.cards.len() < victims as usize {
            self.cards.push(any_card(draw, scene));
        }
    }

    /// Takes the cards that a busy shop saw in the last hour.
    fn steal_from_merchant(&mut self, draw: &mut Draw, scene: &Scene) {
        let country = pick_country(draw, |c| c.cards);
        let category = pick_category(draw, |c| c.shop);
        let shop = scene.world.choose(country, category, 0.0);
        self.cards
            .extend(scene.windows.customers(shop).take(self.left as usize));
        self.cards.dedup();
    }

    /// When the next payment is made; None when the campaign is over.
    pub(super) fn next_time(&self, draw: &mut Draw, scene: &Scene, now: i64) -> Option<i64> {
        if self.left == 0 {
            return None;
        }
        let pause = draw.waiting(self.interval);
        // Victims who pay themselves do so when they are awake; thieves work at any time.
        let awake = match self.kind {
            Kind::Fraud(Scenario::PushPayment) | Kind::Crowd => true,
            Kind::Fraud(_) => false,
        };
        if awake {
            let rhythm = scene.cards[self.cards[0] as usize].rhythm;
            return Some(after(now, pause, rhythm));
        }
        Some(now + whole(pause))
    }

    pub(super) fn pay(&mut self, draw: &mut Draw, scene: &Scene) -> Draft {
        self.event += 1;
        self.left -= 1;
        draw.seek(CAMPAIGN_ENTITIES + self.number, self.event);
        let turn = self.event as usize % self.cards.len();
        let card = &scene.cards[self.cards[turn] as usize];
        let Kind::Fraud(scenario) = self.kind else {
            let price = draw.around(self.amount, 0.5);
            let amount = rounded(draw, price, Channel::Ecommerce);
            return card.pay_at(draw, scene.world, self.merchant, amount);
        };
        let mut draft = match scenario {
            Scenario::CardTesting => self.test_card(draw, card),
            Scenario::AccountTakeover => self.take_over(draw, scene, card),
            Scenario::StolenCard => self.shop_online(draw, scene, card),
            Scenario::PushPayment => self.persuade(draw, scene, card),
            Scenario::CompromisedMerchant => self.use_clone(draw, scene, card),
        };
        draft.fraud = Some(Fraud {
            scenario,
            campaign: self.number,
        });
        draft
    }

    /// A machine tries stolen numbers with small amounts where nobody looks closely.
    fn test_card(&self, draw: &mut Draw, card: &Card) -> Draft {
        let mut draft = card.blank(draw, Channel::Ecommerce);
        draft.merchant = self.merchant;
        self.price(draw, &mut draft, 0.4);
        let asked = draw.chance(0.15);
        let result = if asked {
            ThreeDsResult::Attempted
        } else {
            ThreeDsResult::Absent
        };
        draft.three_ds_result = Some(result);
        draft.cvv_result = Some(CvvResult::ALL[draw.pick([55.0, 25.0, 20.0].into_iter())]);
        self.connect(draw, card, &mut draft, self.event / 6);
        draft
    }

    /// Someone else logged in as the victim, and often answers the challenge too.
    fn take_over(&self, draw: &mut Draw, scene: &Scene, card: &Card) -> Draft {
        let transfer = draw.chance(0.4);
        let channel = if transfer {
            Channel::Transfer
        } else {
            Channel::Ecommerce
        };
        let mut draft = card.blank(draw, channel);
        if transfer {
            draft.merchant = scene
                .world
                .choose(card.country, category_of("4829"), draw.unit());
            draft.payee = Some(self.mule());
        } else {
            draft.merchant = resale(draw, scene, 0.3);
            let result = draw.pick([45.0, 20.0, 2.0, 5.0, 28.0].into_iter());
            draft.three_ds_result = Some(ThreeDsResult::ALL[result]);
            draft.cvv_result = Some(CvvResult::ALL[draw.pick([75.0, 3.0, 22.0].into_iter())]);
        }
        self.price(draw, &mut draft, 0.6);
        if self.disguised {
            card.connect(draw, &mut draft);
        } else {
            self.connect(draw, card, &mut draft, 0);
        }
        draft
    }

    /// A stolen number is spent on the web, best where 3-D Secure is not asked for.
    fn shop_online(&self, draw: &mut Draw, scene: &Scene, card: &Card) -> Draft {
        let mut draft = card.blank(draw, Channel::Ecommerce);
        draft.merchant = resale(draw, scene, 0.65);
        self.price(draw, &mut draft, 0.7);
        let result = draw.pick([3.0, 9.0, 10.0, 8.0, 70.0].into_iter());
        draft.three_ds_result = Some(ThreeDsResult::ALL[result]);
        draft.cvv_result = Some(CvvResult::ALL[draw.pick([66.0, 5.0, 29.0].into_iter())]);
        self.connect(draw, card, &mut draft, 0);
        draft
    }

    /// The victim was talked into it: own device, own address, only the payee is new.
    fn persuade(&self, draw: &mut Draw, scene: &Scene, card: &Card) -> Draft {
        let mut draft = card.blank(draw, Channel::Transfer);
        draft.merchant = scene
            .world
            .choose(card.country, category_of("4829"), draw.unit());
        self.price(draw, &mut draft, 0.5);
        draft.payee = Some(self.mule());
        card.connect(draw, &mut draft);
        draft
    }

    /// Cards copied at a shop are used far away, by the stripe or at machines.
    fn use_clone(&self, draw: &mut Draw, scene: &Scene, card: &Card) -> Draft {
        let machine = draw.chance(0.25);
        let mut draft = card.blank(draw, if machine { Channel::Atm } else { Channel::Pos });
        let codes = ["5732", "5311", "5947", "5411", "5541", "5300"];
        let code = if machine {
            "6011"
        } else {
            codes[draw.below(6) as usize]
        };
        draft.merchant = scene
            .world
            .choose(self.country, category_of(code), draw.unit());
        self.price(draw, &mut draft, 0.7);
        let mode = draw.pick([10.0, 22.0, 60.0, 8.0].into_iter());
        draft.entry_mode = Some(EntryMode::ALL[mode]);
        draft
    }

    fn price(&self, draw: &mut Draw, draft: &mut Draft, sigma: f64) {
        let price = draw.around(self.amount, sigma);
        draft.amount = rounded(draw, price, draft.channel);
    }

    /// The account that the money goes to.
    fn mule(&self) -> u32 {
        2 * SHARED + self.number
    }

    /// Device number `which` of the thieves, and an address of theirs or one near the victim.
    fn connect(&self, draw: &mut Draw, card: &Card, draft: &mut Draft, which: u32) {
        let device = 2 * SHARED + self.number * 8 + which % 8;
        draft.device = draw.chance(0.85).then_some(device);
        let country = if self.disguised {
            card.country
        } else {
            self.country
        };
        draft.ip = Some((draw.word(), country));
    }
}

fn any_card(draw: &mut Draw, scene: &Scene) -> u32 {
    draw.below(u32::try_from(scene.cards.len()).expect("bounded by the settings"))
}

/// A merchant whose goods sell again. With probability `careful` the thieves look for one that
/// seldom asks for 3-D Secure, and settle for the fourth they find.
fn resale(draw: &mut Draw, scene: &Scene, careful: f64) -> u32 {
    let codes = [
        "5732", "5947", "5651", "5944", "6051", "5311", "5816", "4511", "5999", "7011",
    ];
    let picky = draw.chance(careful);
    let mut merchant = 0;
    for _ in 0..4 {
        let code = codes[draw.below(10) as usize];
        let country = pick_country(draw, |c| c.web);
        merchant = scene.world.choose(country, category_of(code), draw.unit());
        if !picky || scene.world.merchant(merchant).three_ds < 0.5 {
            break;
        }
    }
    merchant
}
