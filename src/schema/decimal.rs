//! Exact numbers of a fixed scale, from text and from Avro's bytes.
//!
//! Knows no field and no column. Never rounds: a number that is not a whole count of units of the
//! last place, or has more digits than the precision, is out of range.

/// The type of a decimal: at most `precision` digits, of which `scale` after the point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimal {
    precision: u8,
    scale: u8,
    fixed_bytes: Option<usize>,
}

/// Why a text is no number of a decimal type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextFault {
    NotANumber,
    OutOfRange,
}

impl Decimal {
    /// The most digits that 128 bits always hold.
    pub const PRECISION_MAX: u8 = 38;

    /// `None` unless 1 ≤ `precision` ≤ [`Self::PRECISION_MAX`] and `scale` ≤ `precision`.
    /// `fixed_bytes` is the size where Avro writes it as a `fixed`.
    #[must_use]
    pub fn new(precision: u8, scale: u8, fixed_bytes: Option<usize>) -> Option<Decimal> {
        let fits = (1..=Self::PRECISION_MAX).contains(&precision) && scale <= precision;
        fits.then_some(Decimal {
            precision,
            scale,
            fixed_bytes,
        })
    }

    #[must_use]
    pub fn precision(self) -> u8 {
        self.precision
    }

    #[must_use]
    pub fn scale(self) -> i8 {
        i8::try_from(self.scale).expect("the scale is at most 38")
    }

    #[must_use]
    pub fn fixed_bytes(self) -> Option<usize> {
        self.fixed_bytes
    }

    /// The unscaled number, if it has no more digits than the precision.
    #[must_use]
    pub fn checked(self, unscaled: i128) -> Option<i128> {
        let limit = 10_u128.pow(u32::from(self.precision));
        (unscaled.unsigned_abs() < limit).then_some(unscaled)
    }

    /// The unscaled number in `bytes`, two's complement, big-endian, of any length above zero.
    #[must_use]
    pub fn from_bytes(self, bytes: &[u8]) -> Option<i128> {
        let sign = if *bytes.first()? >= 0x80 { 0xff } else { 0 };
        let (extension, kept) = bytes.split_at(bytes.len().saturating_sub(16));
        if extension.iter().any(|&byte| byte != sign) {
            return None;
        }
        let mut wide = [sign; 16];
        wide[16 - kept.len()..].copy_from_slice(kept);
        let unscaled = i128::from_be_bytes(wide);
        let same_sign = (unscaled < 0) == (sign != 0);
        if same_sign {
            self.checked(unscaled)
        } else {
            None
        }
    }

    /// The unscaled number that `text` writes as JSON writes numbers.
    pub fn from_text(self, text: &str) -> Result<i128, TextFault> {
        let number = Parts::of(text).ok_or(TextFault::NotANumber)?;
        let unscaled = number.unscaled(self.scale).ok_or(TextFault::OutOfRange)?;
        self.checked(unscaled).ok_or(TextFault::OutOfRange)
    }
}

/// A number as it is written: `[-]whole[.fraction][e[±]exponent]`.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Parts<'a>> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if is_digits(fraction) => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        let is_number = is_digits(whole) && !leading_zero;
        is_number.then_some(Parts {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    /// The number times `10^scale`, if that is whole and fits.
    fn unscaled(&self, scale: u8) -> Option<i128> {
        let digits = self.whole.bytes().chain(self.fraction.bytes());
        let digits_len = self.whole.len() + self.fraction.len();
        let first = digits.clone().take_while(|&digit| digit == b'0').count();
        if first == digits_len {
            return Some(0);
        }
        // Where the last place lies among the digits: those after it must be zeros, and zeros are
        // appended where it lies beyond their end.
        let end = i64::try_from(self.whole.len()).ok()?;
        let end = end
            .checked_add(self.exponent)?
            .checked_add(i64::from(scale))?;
        let end = usize::try_from(end).ok()?;
        if end.saturating_sub(first) > usize::from(Decimal::PRECISION_MAX) {
            return None;
        }
        let mut unscaled = 0_i128;
        for digit in digits.clone().chain(std::iter::repeat(b'0')).take(end) {
            unscaled = unscaled * 10 + i128::from(digit - b'0');
        }
        let exact = digits.skip(end).all(|digit| digit == b'0');
        let signed = if self.negative { -unscaled } else { unscaled };
        exact.then_some(signed)
    }
}

fn exponent_of(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !is_digits(digits) {
        return None;
    }
    // An exponent that does not fit is as good as the largest: the number is zero or out of range.
    let size = digits.parse::<i64>().unwrap_or(i64::MAX);
    Some(if negative { -size } else { size })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_exactly_or_not_at_all() {
        let money = Decimal::new(5, 2, None).unwrap();
        for (text, unscaled) in [
            ("12.30", 1230),
            ("-12.3", -1230),
            ("0", 0),
            ("0e99999999999999999999", 0),
            ("-0.000", 0),
            ("999.99", 99999),
            ("1.2300e1", 1230),
            ("123000e-3", 12300),
            ("0.00001e5", 100),
            ("12.34000000000000000000000000000000000000000000", 1234),
        ] {
            assert_eq!(money.from_text(text), Ok(unscaled), "{text}");
        }
        for text in [
            "1000.00",
            "0.001",
            "1e3",
            "1e99999999999999999999",
            "1e-9",
            "12.345",
        ] {
            assert_eq!(money.from_text(text), Err(TextFault::OutOfRange), "{text}");
        }
        for text in [
            "", "-", "+1", "1.", ".5", "01", "1e", "1e+", "1,5", " 1", "NaN", "0x1", "--1",
        ] {
            assert_eq!(money.from_text(text), Err(TextFault::NotANumber), "{text}");
        }
    }

    #[test]
    fn widest_number_fits_and_the_next_does_not() {
        let widest = Decimal::new(38, 0, None).unwrap();
        let nines = "9".repeat(38);
        assert_eq!(widest.from_text(&nines), Ok(10_i128.pow(38) - 1));
        assert_eq!(
            widest.from_text(&format!("1{}", "0".repeat(38))),
            Err(TextFault::OutOfRange)
        );
        assert!(Decimal::new(39, 0, None).is_none());
        assert!(Decimal::new(2, 3, None).is_none());
    }

    #[test]
    fn bytes_are_two_s_complement_of_any_length() {
        let wide = Decimal::new(38, 2, None).unwrap();
        assert_eq!(wide.from_bytes(&[]), None);
        assert_eq!(wide.from_bytes(&[0x80]), Some(-128));
        assert_eq!(wide.from_bytes(&[0x00, 0x80]), Some(128));
        let mut long = [0xff; 20];
        long[19] = 0xfe;
        assert_eq!(wide.from_bytes(&long), Some(-2));
        long[0] = 0;
        assert_eq!(wide.from_bytes(&long), None);
        // 2^127 in 17 bytes: the low sixteen alone would read as a negative number.
        let mut wraps = [0; 17];
        wraps[1] = 0x80;
        assert_eq!(wide.from_bytes(&wraps), None);
        assert_eq!(Decimal::new(2, 0, None).unwrap().from_bytes(&[100]), None);
    }
}
