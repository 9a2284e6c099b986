//! Times of lines, in the time zone of the person who reads them.
//!
//! The standard library knows no time zones. Instead of a database of them, `date +%z` is asked once for the offset of
//! now; where there is no such program, times are UTC. A change to or from summer time shows after a restart.

use std::process::{Command, Stdio};

/// East of Greenwich, in seconds; 0 if it cannot be found out.
pub(crate) fn utc_offset() -> i64 {
    let asked = Command::new("date").arg("+%z").stdin(Stdio::null()).stderr(Stdio::null()).output();
    asked.ok().and_then(|output| parse_offset(&String::from_utf8_lossy(&output.stdout))).unwrap_or(0)
}

/// `14:05`, or `11-20 14:05` if that was another day than `now`. Both are microseconds since the Unix epoch.
pub(crate) fn time_of_day(unix_us: u64, now_us: u64, utc_offset: i64) -> String {
    let (day, seconds) = local(unix_us, utc_offset);
    let clock = format!("{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
    if day == local(now_us, utc_offset).0 {
        return clock;
    }
    let (month, day) = month_and_day(day);
    format!("{month:02}-{day:02} {clock}")
}

/// Days since the epoch and seconds of the day.
fn local(unix_us: u64, utc_offset: i64) -> (i64, i64) {
    let seconds = i64::try_from(unix_us / 1_000_000).unwrap_or(0) + utc_offset;
    (seconds.div_euclid(86_400), seconds.rem_euclid(86_400))
}

/// The calendar in eras of 400 years that begin on 1 March, after
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn month_and_day(days: i64) -> (i64, i64) {
    let day_of_era = (days + 719_468).rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    (if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 }, day)
}

/// `+0530` or `-0800`.
fn parse_offset(text: &str) -> Option<i64> {
    let text = text.trim();
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_at_checked(2)?;
    Some(sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    /// 2009-02-13 23:31:30 UTC.
    const FAMOUS: u64 = 1_234_567_890 * SECOND;

    #[test]
    fn a_line_of_today_has_the_time_only() {
        assert_eq!(time_of_day(FAMOUS, FAMOUS + 60 * SECOND, 0), "23:31");
        assert_eq!(time_of_day(FAMOUS, FAMOUS, 3600), "00:31", "one hour east it is tomorrow already");
    }

    #[test]
    fn a_line_of_another_day_has_the_date() {
        assert_eq!(time_of_day(FAMOUS, FAMOUS + 3600 * SECOND, 0), "02-13 23:31");
        // 2024-02-29, and the day after.
        assert_eq!(time_of_day(1_709_164_800 * SECOND, FAMOUS, 0), "02-29 00:00");
        assert_eq!(time_of_day(1_709_251_200 * SECOND, FAMOUS, 0), "03-01 00:00");
    }

    #[test]
    fn offsets_are_read_as_date_writes_them() {
        assert_eq!(parse_offset("+0530\n"), Some(19_800));
        assert_eq!(parse_offset("-0800"), Some(-28_800));
        assert_eq!(parse_offset("CET"), None);
        assert_eq!(parse_offset(""), None);
    }
}
