//! One generated payment and its bytes, as JSON and as Avro.
//!
//! Knows nothing of how payments come about. Fields stand in the order of `schemas/payment.avsc`,
//! and both encodings walk them by the same function, so they cannot drift apart.

use super::text::Text;

macro_rules! symbols {
    ($($(#[$doc:meta])+ $name:ident { $($symbol:ident => $text:literal,)+ })+) => {$(
        $(#[$doc])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($symbol,)+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$symbol,)+];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$symbol => $text,)+ }
            }
        }
    )+};
}

symbols! {
    /// What is asked for.
    EventType {
        Authorization => "authorization",
        Refund => "refund",
        Reversal => "reversal",
        Transfer => "transfer",
    }
    /// Where the payment was made.
    Channel {
        Pos => "pos",
        Atm => "atm",
        Ecommerce => "ecommerce",
        Moto => "moto",
        Recurring => "recurring",
        Transfer => "transfer",
    }
    /// Network that carries a card payment.
    CardScheme {
        Visa => "visa",
        Mastercard => "mastercard",
        Amex => "amex",
        Domestic => "domestic",
    }
    /// Product of the card.
    CardProduct {
        Debit => "debit",
        Credit => "credit",
        Prepaid => "prepaid",
        Commercial => "commercial",
    }
    /// How the card data were read.
    EntryMode {
        Chip => "chip",
        Contactless => "contactless",
        Magstripe => "magstripe",
        Manual => "manual",
        Wallet => "wallet",
    }
    /// Outcome of 3-D Secure.
    ThreeDsResult {
        Challenged => "challenged",
        Frictionless => "frictionless",
        Attempted => "attempted",
        Failed => "failed",
        Absent => "absent",
    }
    /// Check of the card security code.
    CvvResult {
        Match => "match",
        NoMatch => "no_match",
        Absent => "absent",
    }
    /// How a fraud works.
    Scenario {
        CardTesting => "card_testing",
        AccountTakeover => "account_takeover",
        StolenCard => "stolen_card",
        PushPayment => "push_payment",
        CompromisedMerchant => "compromised_merchant",
    }
}

/// The fraud that a payment belongs to. Known to the generator, never part of the payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fraud {
    pub scenario: Scenario,
    /// Number of the burst; the payments of one burst share it.
    pub campaign: u32,
}

/// What the issuer knew just before the payment. Windows and units are those of the schema.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Aggregates {
    pub card_count_1h: i32,
    pub card_count_24h: i32,
    pub card_amount_sum_24h: i64,
    pub card_amount_avg_30d: Option<f64>,
    pub card_seconds_since_last: Option<i64>,
    pub card_merchants_24h: i32,
    pub card_countries_24h: i32,
    pub card_merchant_count_30d: i32,
    pub card_device_count_30d: Option<i32>,
    pub card_payee_count_30d: Option<i32>,
    pub device_cards_24h: Option<i32>,
    pub merchant_count_1h: i32,
}

/// One event. Meanings and units are those of `schemas/payment.avsc`.
#[derive(Clone, PartialEq, Debug)]
pub struct Payment {
    pub transaction_id: Text,
    pub event_type: EventType,
    pub event_time_us: i64,
    pub card_token: Text,
    pub amount_minor: i64,
    pub currency: &'static str,
    pub mcc: &'static str,
    pub merchant_id: Text,
    pub merchant_country: &'static str,
    pub channel: Channel,
    pub issuer_country: &'static str,
    pub billing_amount_minor: Option<i64>,
    pub card_scheme: Option<CardScheme>,
    pub card_product: Option<CardProduct>,
    pub entry_mode: Option<EntryMode>,
    pub three_ds_result: Option<ThreeDsResult>,
    pub cvv_result: Option<CvvResult>,
    pub acquirer_country: Option<&'static str>,
    pub terminal_id: Option<Text>,
    pub device_id: Option<Text>,
    pub ip_address: Option<Text>,
    pub ip_country: Option<&'static str>,
    pub payee_token: Option<Text>,
    pub account_age_days: Option<i32>,
    /// None where the issuer's store did not answer in time.
    pub aggregates: Option<Aggregates>,
    /// Not part of the event: neither encoding holds it.
    pub fraud: Option<Fraud>,
}

impl Payment {
    /// What the record is keyed by: the payments of one card stay in order.
    #[must_use]
    pub fn key(&self) -> &str {
        self.card_token.as_str()
    }

    /// Appends one JSON object, without a line end. Null fields are left out.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut json = Json {
            out,
            separator: b'{',
        };
        self.walk(&mut json);
        out.push(b'}');
    }

    /// Appends the Avro binary encoding of one datum, without header or schema id.
    pub fn write_avro(&self, out: &mut Vec<u8>) {
        self.walk(&mut Avro { out });
    }

    /// The first line of a truth file.
    pub const TRUTH_HEADER: &'static str = "transaction_id,fraud,scenario,campaign\n";

    /// Appends one CSV line of truth: 1 or 0, and for a fraud its scenario and campaign.
    pub fn write_truth(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.transaction_id.as_str().as_bytes());
        match self.fraud {
            Some(Fraud { scenario, campaign }) => {
                out.extend_from_slice(b",1,");
                out.extend_from_slice(scenario.as_str().as_bytes());
                out.push(b',');
                write_integer(out, i64::from(campaign));
                out.push(b'\n');
            }
            None => out.extend_from_slice(b",0,,\n"),
        }
    }

    /// Shows every field to `fields`, in the order of the schema.
    pub(super) fn walk(&self, fields: &mut impl Fields) {
        fields.text("transaction_id", self.transaction_id.as_str());
        fields.symbol(
            "event_type",
            self.event_type as u8,
            self.event_type.as_str(),
        );
        fields.integer("event_time", self.event_time_us);
        fields.text("card_token", self.card_token.as_str());
        fields.integer("amount_minor", self.amount_minor);
        fields.text("currency", self.currency);
        fields.text("mcc", self.mcc);
        fields.text("merchant_id", self.merchant_id.as_str());
        fields.text("merchant_country", self.merchant_country);
        fields.symbol("channel", self.channel as u8, self.channel.as_str());
        fields.text("issuer_country", self.issuer_country);
        optional_integer(fields, "billing_amount_minor", self.billing_amount_minor);
        optional_symbol(
            fields,
            "card_scheme",
            self.card_scheme.map(|s| (s as u8, s.as_str())),
        );
        optional_symbol(
            fields,
            "card_product",
            self.card_product.map(|s| (s as u8, s.as_str())),
        );
        optional_symbol(
            fields,
            "entry_mode",
            self.entry_mode.map(|s| (s as u8, s.as_str())),
        );
        let three_ds_result = self.three_ds_result.map(|s| (s as u8, s.as_str()));
        optional_symbol(fields, "three_ds_result", three_ds_result);
        optional_symbol(
            fields,
            "cvv_result",
            self.cvv_result.map(|s| (s as u8, s.as_str())),
        );
        optional_text(fields, "acquirer_country", self.acquirer_country);
        optional_text(
            fields,
            "terminal_id",
            self.terminal_id.as_ref().map(Text::as_str),
        );
        optional_text(
            fields,
            "device_id",
            self.device_id.as_ref().map(Text::as_str),
        );
        optional_text(
            fields,
            "ip_address",
            self.ip_address.as_ref().map(Text::as_str),
        );
        optional_text(fields, "ip_country", self.ip_country);
        optional_text(
            fields,
            "payee_token",
            self.payee_token.as_ref().map(Text::as_str),
        );
        optional_integer(fields, "account_age_days", self.account_age_days);
        self.walk_aggregates(fields);
    }

    fn walk_aggregates(&self, fields: &mut impl Fields) {
        let known = self.aggregates.as_ref();
        optional_integer(fields, "card_count_1h", known.map(|a| a.card_count_1h));
        optional_integer(fields, "card_count_24h", known.map(|a| a.card_count_24h));
        optional_integer(
            fields,
            "card_amount_sum_24h",
            known.map(|a| a.card_amount_sum_24h),
        );
        match known.and_then(|a| a.card_amount_avg_30d) {
            Some(mean) => {
                fields.present();
                fields.double("card_amount_avg_30d", mean);
            }
            None => fields.null("card_amount_avg_30d"),
        }
        let seconds = known.and_then(|a| a.card_seconds_since_last);
        optional_integer(fields, "card_seconds_since_last", seconds);
        optional_integer(
            fields,
            "card_merchants_24h",
            known.map(|a| a.card_merchants_24h),
        );
        optional_integer(
            fields,
            "card_countries_24h",
            known.map(|a| a.card_countries_24h),
        );
        let same_merchant = known.map(|a| a.card_merchant_count_30d);
        optional_integer(fields, "card_merchant_count_30d", same_merchant);
        let same_device = known.and_then(|a| a.card_device_count_30d);
        optional_integer(fields, "card_device_count_30d", same_device);
        let same_payee = known.and_then(|a| a.card_payee_count_30d);
        optional_integer(fields, "card_payee_count_30d", same_payee);
        optional_integer(
            fields,
            "device_cards_24h",
            known.and_then(|a| a.device_cards_24h),
        );
        optional_integer(
            fields,
            "merchant_count_1h",
            known.map(|a| a.merchant_count_1h),
        );
    }
}

/// What receives the fields of a payment, one after the other.
pub(super) trait Fields {
    fn text(&mut self, name: &'static str, value: &str);
    /// `position` is that of the symbol in the schema's list.
    fn symbol(&mut self, name: &'static str, position: u8, value: &'static str);
    fn integer(&mut self, name: &'static str, value: i64);
    fn double(&mut self, name: &'static str, value: f64);
    fn null(&mut self, name: &'static str);
    /// The next field may be null and is not.
    fn present(&mut self);
}

fn optional_text(fields: &mut impl Fields, name: &'static str, value: Option<&str>) {
    match value {
        Some(value) => {
            fields.present();
            fields.text(name, value);
        }
        None => fields.null(name),
    }
}

fn optional_symbol(
    fields: &mut impl Fields,
    name: &'static str,
    value: Option<(u8, &'static str)>,
) {
    match value {
        Some((position, value)) => {
            fields.present();
            fields.symbol(name, position, value);
        }
        None => fields.null(name),
    }
}

fn optional_integer(fields: &mut impl Fields, name: &'static str, value: Option<impl Into<i64>>) {
    match value {
        Some(value) => {
            fields.present();
            fields.integer(name, value.into());
        }
        None => fields.null(name),
    }
}

struct Json<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

impl Json<'_> {
    fn name(&mut self, name: &'static str) {
        self.out.push(self.separator);
        self.separator = b',';
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

impl Fields for Json<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        // Generated texts are letters, digits, colons and hyphens: nothing needs an escape.
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    fn symbol(&mut self, name: &'static str, _position: u8, value: &'static str) {
        self.text(name, value);
    }

    fn integer(&mut self, name: &'static str, value: i64) {
        self.name(name);
        write_integer(self.out, value);
    }

    fn double(&mut self, name: &'static str, value: f64) {
        use std::io::Write as _;
        self.name(name);
        write!(self.out, "{value:?}").expect("a vector takes every byte");
    }

    fn null(&mut self, _name: &'static str) {}

    fn present(&mut self) {}
}

struct Avro<'a> {
    out: &'a mut Vec<u8>,
}

impl Fields for Avro<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        let length = i64::try_from(value.len()).expect("a text is short");
        self.integer(name, length);
        self.out.extend_from_slice(value.as_bytes());
    }

    fn symbol(&mut self, name: &'static str, position: u8, _value: &'static str) {
        self.integer(name, i64::from(position));
    }

    fn integer(&mut self, _name: &'static str, value: i64) {
        write_long(self.out, value);
    }

    fn double(&mut self, _name: &'static str, value: f64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn null(&mut self, name: &'static str) {
        self.integer(name, 0);
    }

    fn present(&mut self) {
        self.integer("", 1);
    }
}

/// Appends Avro's long: zigzag, seven bits a byte, low bits first.
pub(super) fn write_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

/// Appends decimal digits. Faster than the formatter, and half of a payment is integers.
fn write_integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    let mut rest = value.unsigned_abs();
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10).to_le_bytes()[0];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_read_back() {
        for value in [0, 7, 10, -1, 1_767_225_600_000_000, i64::MAX, i64::MIN] {
            let mut text = Vec::new();
            write_integer(&mut text, value);
            assert_eq!(String::from_utf8(text).unwrap(), value.to_string());
        }
    }
}
