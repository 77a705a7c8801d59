//! What a proxy or a target may send to harm who reads it: a verdict comes of everything, soon, bounded and harmless.

use outgate_client::classify::{BODY, Evidence, Fields, Pasted, SocksSaid, Way, classify};
use outgate_client::providers::Providers;

/// A generator of its own: the same inputs on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).expect("a small number")).expect("a small number")
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// Pieces that mean something, in an order that does not, with anything between them.
    fn text(&mut self) -> String {
        const PIECES: &[&str] = &[
            "gw",
            ";",
            ",",
            "=",
            "\"",
            "\\",
            " error=",
            "dns_error",
            "details=\"",
            "received-status=",
            "99999999999",
            "-1",
            " (",
            ")",
            "port_denied",
            "{",
            "}",
            "<html>",
            "\r\n",
            "\0",
            "é",
            "🦀",
            "client_10000:",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "1e9",
            "the exit was lost",
            " attempts)",
            "too many connections",
            "X-Proxy-Error: internal",
            "HTTP/1.1 ",
            "200",
            "< ",
            "> CONNECT a:1 ",
        ];
        (0..self.below(12)).map(|_| self.pick(PIECES)).collect()
    }
}

#[test]
fn a_verdict_comes_of_everything() {
    const NAMES: &[&str] = &[
        "Proxy-Status",
        "X-Proxy-Error",
        "Retry-After",
        "x-brd-err-code",
        "X-Squid-Error",
        "X-Error-Description",
        "Server",
        "Via",
        "X-Crawlera-Error",
        "X-Outgate-Request-Id",
        "Proxy Connection",
        "",
        "cf-mitigated",
    ];
    let providers = Providers::builtin();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..5_000 {
        let headers: Vec<(String, String)> =
            (0..random.below(6)).map(|_| (random.pick(NAMES).to_owned(), random.text())).collect();
        let (body, reason, proxy, target) = (random.text(), random.text(), random.text(), random.text());
        let mut evidence = Evidence::of(Way::ALL[random.below(Way::ALL.len())], &proxy, &target);
        evidence.status = (random.below(4) > 0).then(|| u16::try_from(random.below(1000)).expect("a small number"));
        evidence.headers = Fields::List(&headers);
        (evidence.body, evidence.reason) = (Some(body.as_bytes()), Some(reason.as_str()));
        evidence.socks = Some(SocksSaid::Reply(u8::try_from(random.below(256)).expect("a byte")));
        let verdict = classify(&evidence, providers);
        assert_eq!(verdict.fits.first().copied(), verdict.slug, "what fits begins with what was chosen: {}", verdict.why);
        let shown = [verdict.said.as_deref(), verdict.exit.as_deref(), verdict.request_id.as_deref()];
        for text in shown.into_iter().flatten() {
            assert!(text.len() <= 120 && text.bytes().all(|b| matches!(b, b' '..=b'~')), "{text:?}");
        }
        if let Some(fault) = &verdict.fault {
            assert!(fault.sentence().bytes().all(|b| matches!(b, b' '..=b'~')));
        }
        let _ = Pasted::read(&format!("{reason}{body}\n{target}"));
    }
}

/// A flood costs no more than its first 16 KiB. Each of these is some work for every rule; what is quadratic anywhere would hang here.
#[test]
fn floods_are_bounded() {
    let floods = ["a, ".repeat(200_000), "(".repeat(1 << 20), "\"".repeat(1 << 20), "the ".repeat(1 << 18), "{".repeat(1 << 20)];
    for flood in &floods {
        let headers = ["Proxy-Status", "Retry-After", "X-Squid-Error"].map(|name| (name.to_owned(), flood[..65_536].to_owned()));
        for way in Way::ALL {
            let mut evidence = Evidence::of(*way, "192.0.2.1:80", "a.example:443");
            evidence.status = Some(502);
            evidence.headers = Fields::List(&headers);
            (evidence.body, evidence.reason) = (Some(flood.as_bytes()), Some(&flood[..BODY]));
            assert!(classify(&evidence, Providers::builtin()).slug.is_some());
        }
    }
}
