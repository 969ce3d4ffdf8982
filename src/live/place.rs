//! Where somebody stands in what they see: the number of the last change of their own inbox, and of everybody's. Written
//! `<own>.<everybody>`; of the inbox of everybody itself there is one number.

/// Which of the two inboxes that somebody sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Own,
    Everybody,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Own, Self::Everybody];
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// 0 for whoever is everybody.
    pub own: u64,
    pub everybody: u64,
}

impl Place {
    /// None for a text that is no place; `alone`: of the inbox of everybody itself.
    #[must_use]
    pub fn parse(text: &str, alone: bool) -> Option<Self> {
        // A sign would parse too.
        let number = |text: &str| {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse::<u64>().ok()).flatten()
        };
        if alone {
            return Some(Self { own: 0, everybody: number(text)? });
        }
        let (own, everybody) = text.split_once('.')?;
        Some(Self { own: number(own)?, everybody: number(everybody)? })
    }

    #[must_use]
    pub fn text(self, alone: bool) -> String {
        if alone { self.everybody.to_string() } else { format!("{}.{}", self.own, self.everybody) }
    }

    #[must_use]
    pub fn of(self, side: Side) -> u64 {
        match side {
            Side::Own => self.own,
            Side::Everybody => self.everybody,
        }
    }

    pub fn set(&mut self, side: Side, number: u64) {
        match side {
            Side::Own => self.own = number,
            Side::Everybody => self.everybody = number,
        }
    }

    /// True when either number is beyond that of `other`.
    #[must_use]
    pub fn is_ahead_of(self, other: Self) -> bool {
        self.own > other.own || self.everybody > other.everybody
    }

    /// The lower number of both sides.
    #[must_use]
    pub fn lower(self, other: Self) -> Self {
        Self { own: self.own.min(other.own), everybody: self.everybody.min(other.everybody) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place { own: 12, everybody: 7 };
        assert_eq!((place.text(false), place.text(true)), ("12.7".to_owned(), "7".to_owned()));
        assert_eq!(Place::parse("12.7", false), Some(place));
        assert_eq!(Place::parse("7", true), Some(Place { own: 0, everybody: 7 }));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let long = "1".repeat(21);
        for text in
            ["", ".", "7", "7.", ".7", "+7.1", "7.-1", "1.2.3", "a.1", " 1.2", "1,2", &format!("{long}.1")]
        {
            assert_eq!(Place::parse(text, false), None, "{text}");
        }
        for text in ["", "1.2", "+1", "x", &long] {
            assert_eq!(Place::parse(text, true), None, "{text}");
        }
    }

    #[test]
    fn ahead_is_ahead_on_either_side() {
        let at = |own, everybody| Place { own, everybody };
        assert!(at(2, 0).is_ahead_of(at(1, 5)) && at(0, 6).is_ahead_of(at(1, 5)));
        assert!(!at(1, 5).is_ahead_of(at(1, 5)));
        assert_eq!(at(2, 3).lower(at(1, 5)), at(1, 3));
    }
}
