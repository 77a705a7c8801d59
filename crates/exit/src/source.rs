//! Source: the address of this machine that the exit leaves from.

use std::{fmt, fs, io::Read, net::IpAddr, path::PathBuf, str::FromStr};

/// Longest file an address is read from, in bytes.
const MOST: u64 = 256;

/// `ADDRESS`, or `@FILE`: the file holds the address, and is read again after every rotation and for every link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// This address.
    Address(IpAddr),
    /// The address in this file.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Source, &'static str> {
        match text.strip_prefix('@') {
            Some("") => Err("name the file: @FILE"),
            Some(path) => Ok(Source::File(path.into())),
            None => text.parse().map(Source::Address).map_err(|_| "an IP address of this machine, or @FILE that holds one"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Address(address) => address.fmt(f),
            Source::File(path) => write!(f, "@{}", path.display()),
        }
    }
}

impl Source {
    /// The address now.
    pub(crate) fn address(&self) -> Result<IpAddr, String> {
        let path = match self {
            Source::Address(address) => return Ok(*address),
            Source::File(path) => path,
        };
        let unusable = |why: &dyn fmt::Display| format!("the source address in {}: {why}", path.display());
        let mut text = String::new();
        let file = fs::File::open(path).map_err(|error| unusable(&error))?;
        file.take(MOST).read_to_string(&mut text).map_err(|error| unusable(&error))?;
        text.trim().parse().map_err(|_| unusable(&"it holds no IP address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_file_that_holds_one() {
        assert_eq!("192.0.2.7".parse::<Source>().and_then(|s| s.address().map_err(|_| "")), Ok([192, 0, 2, 7].into()));
        assert!("eth0".parse::<Source>().is_err() && "@".parse::<Source>().is_err());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("address");
        let source: Source = format!("@{}", path.display()).parse().expect("a file");
        assert!(source.address().expect_err("not there yet").contains("address"));
        fs::write(&path, "2001:db8::1\n").expect("ours");
        assert_eq!(source.address(), Ok("2001:db8::1".parse().expect("an address")));
        fs::write(&path, "x".repeat(1 << 20)).expect("ours");
        assert!(source.address().expect_err("no address").contains("holds no IP address"));
    }
}
