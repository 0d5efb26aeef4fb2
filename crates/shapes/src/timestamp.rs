//! Moments as the AWS protocols write them.

use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z; written as `2026-01-31T09:30:00.000Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

const DAY: i64 = 86_400_000;

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, within) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        let (seconds, milliseconds) = (within / 1000, within % 1000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{milliseconds:03}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

impl Timestamp {
    /// Reads ISO 8601 in UTC, with or without a fraction of a second (kept to milliseconds), and
    /// with or without the time of day; `None` for anything else.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
        let mut parts = date.split('-');
        let (year, month, day) = (
            digits(parts.next()?, 4)?,
            digits(parts.next()?, 2)?,
            digits(parts.next()?, 2)?,
        );
        if parts.next().is_some() || year == 0 {
            return None;
        }
        let days = days_since_epoch(year, month, day);
        if civil(days) != (year, month, day) {
            return None;
        }
        let time = time.strip_suffix('Z').or_else(|| time.strip_suffix("+00:00"))?;
        let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let mut parts = clock.split(':');
        let (hour, minute, second) = (
            digits(parts.next()?, 2)?,
            digits(parts.next()?, 2)?,
            digits(parts.next()?, 2)?,
        );
        if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let milliseconds: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        Some(Timestamp(
            days * DAY + ((hour * 60 + minute) * 60 + second) * 1000 + milliseconds,
        ))
    }
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days since the epoch to year, month, day in the proleptic Gregorian calendar: years counted
/// from March, so that the leap day is the last of its year, in eras of 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`] for dates that exist; a month or day out of range gives some day that
/// does not read back as the same date.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_234_567_890_123, "2009-02-13T23:31:30.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(milliseconds).to_string(), text);
            assert_eq!(Timestamp::parse(text), Some(Timestamp(milliseconds)));
        }
        assert_eq!(Timestamp::parse("1970-01-02"), Some(Timestamp(DAY)));
        assert_eq!(Timestamp::parse("1970-01-01T00:00:01.5Z"), Some(Timestamp(1500)));
        for wrong in [
            "",
            "1970-13-01",
            "2001-02-29",
            "1970-01-00",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00",
            "now",
        ] {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(milliseconds in 0..253_402_300_800_000i64) {
            let moment = Timestamp(milliseconds);
            prop_assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
        }

        #[test]
        fn any_text_is_judged(text: String) {
            let _ = Timestamp::parse(&text);
        }
    }
}
