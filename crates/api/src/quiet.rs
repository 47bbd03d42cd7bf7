//! Quiet hours: times of the day without automatic refreshes and sign-ins.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// From one minute of the day to another; past midnight if the first is later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    from_minute: u16,
    to_minute: u16,
}

/// The text is not of the form `22:00-06:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("quiet hours must be written as \"22:00-06:00\", with different start and end times")]
pub struct QuietHoursError;

impl QuietHours {
    /// Whether this time of the day is in them.
    #[must_use]
    pub fn contain(self, hour: u16, minute: u16) -> bool {
        let now = hour * 60 + minute;
        if self.from_minute < self.to_minute {
            (self.from_minute..self.to_minute).contains(&now)
        } else {
            now >= self.from_minute || now < self.to_minute
        }
    }
}

impl FromStr for QuietHours {
    type Err = QuietHoursError;

    fn from_str(text: &str) -> Result<Self, QuietHoursError> {
        let minute = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let number = |text: &str, end: u16| text.parse::<u16>().ok().filter(|number| *number < end);
            Some(number(hour, 24)? * 60 + number(minute, 60)?)
        };
        let (from, to) = text.split_once('-').ok_or(QuietHoursError)?;
        let (from_minute, to_minute) = minute(from).zip(minute(to)).ok_or(QuietHoursError)?;
        if from_minute == to_minute {
            return Err(QuietHoursError);
        }
        Ok(Self { from_minute, to_minute })
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = [self.from_minute, self.to_minute].map(|at| (at / 60, at % 60));
        write!(out, "{:02}:{:02}-{:02}:{:02}", from.0, from.1, to.0, to.1)
    }
}

impl Serialize for QuietHours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QuietHours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_go_over_midnight() {
        let night: QuietHours = "22:00-6:30".parse().unwrap();
        assert_eq!(night.to_string(), "22:00-06:30");
        let quiet =
            [(21, 59), (22, 0), (0, 0), (6, 29), (6, 30)].map(|(hour, minute)| night.contain(hour, minute));
        assert_eq!(quiet, [false, true, true, true, false]);
        let noon: QuietHours = "12:00-13:00".parse().unwrap();
        assert!(noon.contain(12, 59) && !noon.contain(13, 0) && !noon.contain(0, 0));
        for wrong in ["", "22", "22:00", "24:00-06:00", "22:00-06:60", "22:00-22:00", "a:b-c:d", "-1:00-2:00"]
        {
            assert!(wrong.parse::<QuietHours>().is_err(), "{wrong}");
        }
    }
}
