//! Pages that want to see a person: CAPTCHAs and browser checks, by the marks that their makers' pages have.
//!
//! Conservative where it costs most: at a success only a mark that a page of content can't have counts, because log-in
//! forms have CAPTCHAs too and are what was asked for.

use crate::classify::{Confidence, Evidence};

/// A mark that was found.
pub(crate) struct Sign {
    /// Who makes such pages.
    pub(crate) maker: &'static str,
    /// What was seen.
    pub(crate) what: String,
    /// How sure it is.
    pub(crate) confidence: Confidence,
}

/// A field that says it: name, how its value begins, maker, confidence.
const FIELDS: &[(&str, &str, &str, Confidence)] = &[
    // developers.cloudflare.com: "set to challenge" on every challenge page.
    ("cf-mitigated", "challenge", "Cloudflare", Confidence::Documented),
    // docs.aws.amazon.com/waf: challenge with 202, captcha with 405.
    ("x-amzn-waf-action", "challenge", "AWS WAF", Confidence::Documented),
    ("x-amzn-waf-action", "captcha", "AWS WAF", Confidence::Documented),
    ("x-vercel-mitigated", "challenge", "Vercel", Confidence::Likely),
    ("x-datadome", "protected", "DataDome", Confidence::Likely),
];

/// Words of a page (in lower case), all of which must be there, and the maker. They count with a status that refuses.
const WORDS: &[(&[&str], &str)] = &[
    (&["/cdn-cgi/challenge-platform/"], "Cloudflare"),
    (&["_cf_chl_opt"], "Cloudflare"),
    (&["cf-browser-verification"], "Cloudflare"),
    (&["captcha-delivery.com"], "DataDome"),
    (&["px-captcha"], "HUMAN"),
    (&["_incapsula_resource"], "Imperva"),
    (&["incapsula incident id"], "Imperva"),
    (&["awswafintegration"], "AWS WAF"),
    (&["ddos-guard", "checking your browser"], "DDoS-Guard"),
    (&["sec-if-cpt-container"], "Akamai"),
    (&["google.com/recaptcha/", "unusual traffic"], "Google"),
    (&["<title>just a moment...</title>"], "Cloudflare"),
    (&["checking your browser before accessing"], "a browser check"),
    (&["verify you are human"], "a browser check"),
    (&["verify that you are not a robot"], "a browser check"),
    (&["g-recaptcha"], "a CAPTCHA"),
    (&["h-captcha"], "a CAPTCHA"),
    (&["cf-turnstile"], "a CAPTCHA"),
];

/// The same for a success: only what is nothing but a challenge.
const WORDS_AT_A_SUCCESS: &[(&[&str], &str)] = &[
    (&["<title>just a moment...</title>", "_cf_chl_opt"], "Cloudflare"),
    (&["_incapsula_resource", "incapsula incident id"], "Imperva"),
    (&["captcha-delivery.com/captcha/"], "DataDome"),
    (&["sec-if-cpt-container", "akamai"], "Akamai"),
];

/// The mark of a challenge in the answer, if there is one.
pub(crate) fn sign(evidence: &Evidence<'_>, status: u16) -> Option<Sign> {
    for (name, begins, maker, confidence) in FIELDS {
        let value = evidence.headers.first(name).unwrap_or_default().to_ascii_lowercase();
        // That a site is protected says nothing about an answer that it gave.
        let decides = *name != "x-datadome" || matches!(status, 401 | 403 | 405 | 429);
        if value.starts_with(begins) && decides {
            return Some(Sign { maker, what: format!("{name}: {begins}"), confidence: *confidence });
        }
    }
    let words = match status {
        200..=299 => WORDS_AT_A_SUCCESS,
        401 | 403 | 405 | 406 | 429 | 503 => WORDS,
        _ => return None,
    };
    let page = evidence.text().to_ascii_lowercase();
    let found = words.iter().find(|(words, _)| words.iter().all(|word| page.contains(word)))?;
    let (words, maker) = found;
    Some(Sign { maker, what: format!("the page has \"{}\"", words[0]), confidence: Confidence::Likely })
}

#[cfg(test)]
mod tests {
    use super::sign;
    use crate::classify::{Evidence, Fields, Way};

    fn found(status: u16, field: Option<(&str, &str)>, page: &str) -> Option<&'static str> {
        let list: Vec<_> = field.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut evidence = Evidence::of(Way::Tunnelled, "", "a.example:443");
        evidence.headers = Fields::List(&list);
        evidence.body = Some(page.as_bytes());
        sign(&evidence, status).map(|sign| sign.maker)
    }

    #[test]
    fn makers_are_known_by_their_marks() {
        let cases = [
            (403, Some(("CF-Mitigated", "challenge")), "", Some("Cloudflare")),
            (429, Some(("cf-mitigated", "challenge")), "", Some("Cloudflare")),
            (202, Some(("x-amzn-waf-action", "challenge")), "", Some("AWS WAF")),
            (403, None, "<script src=\"https://ct.CAPTCHA-delivery.com/c.js\">", Some("DataDome")),
            (200, None, "<title>Just a moment...</title><script>window._cf_chl_opt={}", Some("Cloudflare")),
            (503, None, "<html>Checking your browser before accessing a.example", Some("a browser check")),
            // What was asked for, and has a CAPTCHA in it.
            (200, None, "<form><div class=\"g-recaptcha\"></div>", None),
            (200, Some(("x-datadome", "protected")), "<p>content", None),
            (200, None, "An article about /cdn-cgi/challenge-platform/ and verify you are human", None),
            (404, None, "<div class=\"g-recaptcha\">", None),
            (403, None, "<h1>Forbidden</h1>", None),
        ];
        for (status, field, page, maker) in cases {
            assert_eq!(found(status, field, page), maker, "{status} {page}");
        }
    }
}
