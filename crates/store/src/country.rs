//! Countries: ISO 3166-1 alpha-2, lower case.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::NameError;

/// Every officially assigned code element of ISO 3166-1 alpha-2, in order.
const ASSIGNED: &str = "\
ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs bt bv bw by bz ca cc cd cf cg ch ci \
ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh er es et fi fj fk fm fo fr ga gb gd ge gf gg gh gi gl gm gn gp gq \
gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls \
lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg \
ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sj sk sl sm sn so sr ss st sv sx sy sz tc td tf tg th tj tk \
tl tm tn to tr tt tv tw tz ua ug um us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw";

/// An assigned country code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Parses a lower-case assigned code.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::new("country", text, "lower-case ISO 3166-1 codes such as us, de, br (gb, not uk)");
        let code: [u8; 2] = text.as_bytes().try_into().map_err(|_| wrong())?;
        if Self::assigned().any(|country| country.0 == code) { Ok(Self(code)) } else { Err(wrong()) }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??")
    }

    /// Every assigned code, ascending.
    pub fn assigned() -> impl Iterator<Item = Self> {
        ASSIGNED.as_bytes().chunks(3).map(|chunk| Self([chunk[0], chunk[1]]))
    }
}

impl FromStr for Country {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Country {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_sorted() {
        let all: Vec<Country> = Country::assigned().collect();
        // ISO 3166-1 has 249 officially assigned codes.
        assert_eq!(all.len(), 249);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        for country in all {
            assert_eq!(Country::parse(country.as_str()), Ok(country));
        }
    }

    #[test]
    fn only_assigned_lower_case_codes() {
        for (text, expected) in
            [("us", true), ("gb", true), ("uk", false), ("US", false), ("xx", false), ("u", false), ("usa", false), ("", false)]
        {
            assert_eq!(Country::parse(text).is_ok(), expected, "{text:?}");
        }
    }
}
