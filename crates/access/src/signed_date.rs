//! Seconds since 1970, in the spellings that signed requests use.

use std::fmt;

use atoll_model::Timestamp;
use atoll_model::time::civil_date;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A moment, in whole seconds since 1970-01-01T00:00:00Z. Prints as `20150830T123600Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedDate(pub i64);

impl From<Timestamp> for SignedDate {
    fn from(now: Timestamp) -> Self {
        SignedDate((now.0 / 1000).min(i64::MAX as u64 / 2) as i64)
    }
}

impl From<SignedDate> for Timestamp {
    fn from(date: SignedDate) -> Self {
        Timestamp(u64::try_from(date.0).unwrap_or(0).saturating_mul(1000))
    }
}

/// The text is not a date of a signed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a date: YYYYMMDDTHHMMSSZ is one")]
pub struct SignedDateError(String);

impl SignedDate {
    /// Reads `X-Amz-Date`'s form `YYYYMMDDTHHMMSSZ`, or an HTTP date as in
    /// `Sun, 30 Aug 2015 12:36:00 GMT`.
    ///
    /// # Errors
    /// When the text is neither, or names no day of the calendar.
    pub fn parse(text: &str) -> Result<Self, SignedDateError> {
        basic(text)
            .or_else(|| http(text))
            .ok_or_else(|| SignedDateError(text.chars().take(40).collect()))
    }

    /// The day, as in a credential's scope: `YYYYMMDD`.
    pub fn day(self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

impl fmt::Display for SignedDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0.div_euclid(86_400), self.0.rem_euclid(86_400));
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

fn number(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn basic(text: &str) -> Option<SignedDate> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    if day.len() != 8 || time.len() != 6 {
        return None;
    }
    let at = |text: &str, from: usize, to: usize| number(text.get(from..to)?);
    civil(
        [at(day, 0, 4)?, at(day, 4, 6)?, at(day, 6, 8)?],
        [at(time, 0, 2)?, at(time, 2, 4)?, at(time, 4, 6)?],
    )
}

fn http(text: &str) -> Option<SignedDate> {
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let day = number(words.next()?)?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|&m| m == month)? as i64 + 1;
    let year = number(words.next()?)?;
    let mut time = words.next()?.splitn(3, ':').map(number);
    let time = [time.next()??, time.next()??, time.next()??];
    (words.next() == Some("GMT") && words.next().is_none()).then(|| civil([year, month, day], time))?
}

fn civil([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3]) -> Option<SignedDate> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // 60: a leap second is a second like another here.
    let sane = (1..=9999).contains(&year) && (1..=length).contains(&day) && hour < 24 && minute < 60;
    if !sane || second > 60 {
        return None;
    }
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, y) = (y.div_euclid(400), y.rem_euclid(400));
    let days = era * 146_097 + y * 365 + y / 4 - y / 100 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(SignedDate(days * 86_400 + hour * 3600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_spellings_name_the_same_moment() {
        assert_eq!(
            SignedDate::parse("20150830T123600Z"),
            Ok(SignedDate(1_440_938_160))
        );
        assert_eq!(
            SignedDate::parse("Sun, 30 Aug 2015 12:36:00 GMT"),
            Ok(SignedDate(1_440_938_160))
        );
        assert_eq!(SignedDate(1_440_938_160).day(), "20150830");
        assert_eq!(SignedDate(0).to_string(), "19700101T000000Z");
    }

    #[test]
    fn days_outside_the_calendar_are_refused() {
        for text in [
            "20150229T000000Z",
            "20151301T000000Z",
            "20150830T240000Z",
            "2015-08-30T12:36:00Z",
            "",
        ] {
            assert!(SignedDate::parse(text).is_err(), "{text}");
        }
        assert!(SignedDate::parse("20160229T000000Z").is_ok());
        assert!(SignedDate::parse("+0150830T123600Z").is_err());
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(seconds in 0i64..253_402_300_799) {
            prop_assert_eq!(SignedDate::parse(&SignedDate(seconds).to_string()), Ok(SignedDate(seconds)));
        }

        #[test]
        fn reading_never_panics(text in ".{0,40}") {
            let _ = SignedDate::parse(&text);
        }
    }
}
