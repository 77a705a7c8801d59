//! The target's own answers, told from the proxy's.

use outgate_faults::{Fault, raise};

use crate::classify::{Confidence, Evidence, Fields, Provenance, Verdict, Way, challenge, proxy_status};

/// Fields that a forward proxy does not write into an answer of its own: each is somebody's web site.
const OF_A_SITE: &[&str] = &[
    "Set-Cookie",
    "ETag",
    "Last-Modified",
    "Strict-Transport-Security",
    "Content-Security-Policy",
    "Access-Control-Allow-Origin",
    "WWW-Authenticate",
    "Alt-Svc",
    "Accept-Ranges",
    "Report-To",
    "X-Powered-By",
    "X-Frame-Options",
    "CF-RAY",
    "X-Amz-Cf-Id",
    "X-Amz-Request-Id",
    "X-Served-By",
    "X-Azure-Ref",
    "X-Vercel-Id",
    "Akamai-GRN",
];

/// How `Server` begins where a web site or its delivery network answers.
const SERVERS_OF_SITES: &[&str] = &[
    "cloudflare",
    "cloudfront",
    "akamaighost",
    "akamainetstorage",
    "amazons3",
    "awselb",
    "nginx",
    "apache",
    "microsoft-iis",
    "litespeed",
    "openresty",
    "gws",
    "gse",
    "esf",
    "vercel",
    "netlify",
    "caddy",
    "gunicorn",
    "uvicorn",
    "werkzeug",
    "kestrel",
    "jetty",
    "tengine",
    "ddos-guard",
    "sucuri",
    "varnish",
    "envoy",
    "istio-envoy",
    "bunnycdn",
    "cdn77",
];

/// Fields that only a proxy writes into an answer of its own.
const OF_A_PROXY: &[&str] = &["Proxy-Authenticate", "Proxy-Connection", "Proxy-Agent", "X-Proxy-Error", "X-Squid-Error"];

/// Statuses that only proxies use: payment and the private ones of their trade. 520 to 527 and 530 are not among them,
/// because a large delivery network answers with those too.
pub(crate) fn is_a_proxys(status: u16) -> bool {
    matches!(status, 407 | 452..=455 | 470 | 490 | 511 | 540 | 590..=599)
}

/// Who most likely gave an answer that both could have given, and by which sign.
pub(crate) enum Author {
    /// The target, by this sign.
    Site(String),
    /// The proxy.
    Proxy,
    /// No sign either way.
    Unknown,
}

/// Looks for signs of the author. A proxy's are told first: a proxy may well run on a web server.
pub(crate) fn author(evidence: &Evidence<'_>, status: u16) -> Author {
    let headers = evidence.headers;
    let found = |names: &[&'static str]| names.iter().copied().find(|name| headers.has(name));
    if let Some(passed_on) = proxy_status::says_passed_on(evidence) {
        return Author::Site(format!("Proxy-Status says that {passed_on} was received and passed on"));
    }
    if found(OF_A_PROXY).is_some() || is_a_proxys(status) {
        return Author::Proxy;
    }
    if let Some(name) = found(OF_A_SITE) {
        return Author::Site(format!("{name} is a web site's field"));
    }
    if let Some(server) = server_of_a_site(headers) {
        return Author::Site(format!("Server is {server}"));
    }
    match headers.first("Via") {
        Some(via) if !via.to_ascii_lowercase().contains("squid") => {
            Author::Site("Via says that the answer was passed on".to_owned())
        }
        _ => Author::Unknown,
    }
}

fn server_of_a_site(headers: Fields<'_>) -> Option<&'static str> {
    let server = headers.first("Server")?.to_ascii_lowercase();
    SERVERS_OF_SITES.iter().copied().find(|known| server.starts_with(known))
}

/// What the target's answer means; fine if nothing is wrong with it.
pub(crate) fn said(evidence: &Evidence<'_>, status: u16, confidence: Confidence, sign: &str) -> Verdict {
    if let Some(verdict) = challenged(evidence, status, confidence) {
        return verdict;
    }
    match fault(evidence.host(), status) {
        Some(fault) => Verdict::raised(fault, Provenance::Origin, confidence, format!("the target's own {status}: {sign}")),
        None => Verdict { confidence, ..Verdict::fine(Provenance::Origin, format!("the target answered {status}")) },
    }
}

/// A page that wants to see a person, whatever its status.
pub(crate) fn challenged(evidence: &Evidence<'_>, status: u16, confidence: Confidence) -> Option<Verdict> {
    if evidence.way == Way::Connect {
        return None;
    }
    let sign = challenge::sign(evidence, status)?;
    let fault = raise::target_challenged(evidence.host());
    let confidence = confidence.max(sign.confidence);
    Some(Verdict::raised(fault, Provenance::Origin, confidence, format!("a challenge of {}: {}", sign.maker, sign.what)))
}

/// The fault of the target's own status. What a program has to deal with itself (404, 410, 422) is none.
fn fault(host: &str, status: u16) -> Option<Fault> {
    Some(match status {
        401 => raise::target_unauthorized(host),
        // 451 is a refusal for where one comes from; another exit may be somewhere else.
        403 | 451 => raise::target_forbidden(host),
        // 420 and 430 are what some large sites answer instead.
        420 | 429 | 430 => raise::target_rate_limited(host),
        503 => raise::target_unavailable(host),
        // 520 to 527 and 530: a delivery network that could not reach its customer's server.
        502 | 504 | 520..=527 | 530 => raise::target_gateway_error(host, status),
        500..=599 => raise::target_error(host, status),
        // A target that wants a proxy's login is a broken one, or a proxy in front of it.
        407 => raise::target_unauthorized(host),
        _ => return None,
    })
}
