//! Parts of timestamps and the time between two.
//!
//! A timestamp is a count of microseconds since 1970-01-01 00:00 UTC, and every part is taken in UTC,
//! in the proleptic Gregorian calendar. Knows no time zone, no leap second and no clock.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Utc};

use super::eval::Value;
use super::expr::Part;
use super::number::{checked, checked_map};

const MICROSECONDS_PER_SECOND: i64 = 1_000_000;
const MICROSECONDS_PER_MINUTE: i64 = 60 * MICROSECONDS_PER_SECOND;
const MICROSECONDS_PER_HOUR: i64 = 60 * MICROSECONDS_PER_MINUTE;
pub(super) const MICROSECONDS_PER_DAY: i64 = 24 * MICROSECONDS_PER_HOUR;
/// 1970-01-01 was a Thursday, four days after a Sunday.
const DAY_OF_WEEK_OF_DAY_ZERO: i64 = 4;

/// Seconds from `right` to `left`; NULL where the microseconds between them are no 64-bit integer.
pub(super) fn elapsed(left: &Value, right: &Value) -> Value {
    let microseconds = checked::<TimestampMicrosecondType>(left, right, i64::checked_sub);
    let seconds = microseconds.unary::<_, Float64Type>(seconds);
    Value::of(seconds, left.one && right.one)
}

/// The part of each time; NULL for dates that the calendar does not reach (some 262,000 years).
pub(super) fn extract(part: Part, times: &TimestampMicrosecondArray) -> ArrayRef {
    let of_day = |unit| move |time: i64| Some(time.rem_euclid(MICROSECONDS_PER_DAY) / unit);
    let parts = match part {
        Part::Epoch => return Arc::new(times.unary::<_, Float64Type>(seconds)),
        Part::Hour => checked_map(times, of_day(MICROSECONDS_PER_HOUR)),
        Part::Minute => {
            let minute = of_day(MICROSECONDS_PER_MINUTE);
            checked_map(times, |time| minute(time).map(|minute| minute % 60))
        }
        Part::DayOfWeek => checked_map(times, |time| {
            let day = time.div_euclid(MICROSECONDS_PER_DAY);
            Some((day + DAY_OF_WEEK_OF_DAY_ZERO).rem_euclid(7))
        }),
        Part::Day => checked_map(times, |time| Some(i64::from(date(time)?.day()))),
        Part::Month => checked_map(times, |time| Some(i64::from(date(time)?.month()))),
        Part::Year => checked_map(times, |time| Some(i64::from(date(time)?.year()))),
    };
    Arc::new(parts)
}

fn seconds(microseconds: i64) -> f64 {
    microseconds as f64 / MICROSECONDS_PER_SECOND as f64
}

fn date(microseconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(microseconds)
}
