//! The five steps as a list of checks, each with what it needs: the table that the examination walks.

/// The five steps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Can the proxy be reached, and does it speak what its URL says?
    Reach,
    /// Does it take the credentials?
    Authenticate,
    /// Does it reach a neutral target?
    Neutral,
    /// Does it reach the real target, and whose fault is it if not?
    Target,
    /// Is it intermittent?
    Samples,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Step; 5] = [Step::Reach, Step::Authenticate, Step::Neutral, Step::Target, Step::Samples];

    /// 1 to 5.
    pub fn number(self) -> u8 {
        match self {
            Step::Reach => 1,
            Step::Authenticate => 2,
            Step::Neutral => 3,
            Step::Target => 4,
            Step::Samples => 5,
        }
    }

    /// What it is about.
    pub fn title(self) -> &'static str {
        match self {
            Step::Reach => "Reach the proxy",
            Step::Authenticate => "Authenticate",
            Step::Neutral => "Reach a neutral target",
            Step::Target => "Reach the target",
            Step::Samples => "Is it intermittent?",
        }
    }
}

macro_rules! checks {
    ($( $(#[$doc:meta])* $check:ident $name:literal $title:literal of $step:ident needs [$($need:ident),*]; )*) => {
        /// Every check, in the order they are made.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Check {
            $( $(#[$doc])* $check, )*
        }

        impl Check {
            /// All of them, in order.
            pub const ALL: &'static [Check] = &[$(Check::$check),*];

            /// Its name in JSON.
            pub fn name(self) -> &'static str {
                match self { $( Check::$check => $name, )* }
            }

            /// Its name for people.
            pub fn title(self) -> &'static str {
                match self { $( Check::$check => $title, )* }
            }

            /// The step it belongs to.
            pub fn step(self) -> Step {
                match self { $( Check::$check => Step::$step, )* }
            }

            /// The checks without which it can't be made.
            pub fn needs(self) -> &'static [Check] {
                match self { $( Check::$check => &[$(Check::$need),*], )* }
            }
        }
    };
}

checks! {
    /// The URL can be read, and every client reads it the same.
    Url "url" "URL" of Reach needs [];
    /// The proxy's name has addresses.
    Dns "dns" "name" of Reach needs [Url];
    /// One of them takes connections.
    Tcp "tcp" "connection" of Reach needs [Dns];
    /// The proxy's certificate is believed, where its scheme is `https`.
    Tls "tls" "TLS" of Reach needs [Tcp];
    /// It speaks what its scheme says, and it is a proxy.
    Protocol "protocol" "protocol" of Reach needs [Tls];
    /// It takes these credentials, or none, from this address.
    Credentials "credentials" "credentials" of Authenticate needs [Protocol];
    /// The neutral target answers past the proxy.
    NeutralDirect "neutral_direct" "direct" of Neutral needs [];
    /// It answers through the proxy.
    NeutralProxied "neutral_proxied" "proxied" of Neutral needs [Credentials];
    /// The real target answers past the proxy.
    TargetDirect "target_direct" "direct" of Target needs [];
    /// It answers through the proxy.
    TargetProxied "target_proxied" "proxied" of Target needs [Credentials];
    /// Whoever answers for the target is the target.
    Certificate "certificate" "certificate" of Target needs [Credentials];
    /// The proxy's resolver and this machine's lead to the same place.
    Names "names" "name" of Target needs [Credentials];
    /// This machine's clock agrees with the others'.
    Clock "clock" "clock" of Target needs [];
    /// The same request again and again.
    Repeated "repeated" "samples" of Samples needs [Credentials];
    /// The times against the thresholds.
    Speed "speed" "speed" of Samples needs [Credentials];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_need_only_what_comes_before() {
        for check in Check::ALL {
            assert!(check.needs().iter().all(|need| need < check), "{check:?}");
        }
        let steps: Vec<Step> = Check::ALL.iter().map(|check| check.step()).collect();
        assert!(steps.is_sorted(), "{steps:?}");
        assert_eq!(Step::ALL.map(Step::number), [1, 2, 3, 4, 5]);
    }
}
