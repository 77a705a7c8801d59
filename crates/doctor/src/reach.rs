//! Step 1: the URL, the proxy's name, a connection, TLS, and the right protocol.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use outgate_client::classify::{Breakage, Confidence, Foreign, Manner, Phase as At};
use outgate_client::connect::{self, ConnectReply, Scheme, Trust, Upstream};
use outgate_faults::Slug;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::chart::Chart;
use crate::checks::Check;
use crate::diagnosis::{Diagnosis, Harm, Whose};
use crate::exchange::{self, Ended, Exchange, broken};
use crate::look::{Doubt, Look, Shown};
use crate::probe::{self, Spoken};
use crate::proxy_url::{Flaw, ProxyUrl};
use crate::report::{Finding, State};
use crate::site::Site;
use crate::thresholds;

/// How long the first answer may take: a proxy that is well says no at once.
const HELLO: Duration = Duration::from_secs(5);
/// How long a certificate should still hold.
const SOON: Duration = Duration::from_secs(7 * 24 * 3600);
/// A name that RFC 6761 promises not to exist: a proxy can only fail to reach it.
const NOWHERE: &str = "http://outgate-doctor.invalid/";
/// The same without a name, for a proxy whose resolver is silent; nothing listens on port 1.
const NOWHERE_BY_ADDRESS: &str = "http://127.0.0.1:1/";

pub(crate) fn url(chart: &mut Chart<'_>) -> Finding {
    match ProxyUrl::read(&chart.case.proxy) {
        Err(unreadable) => Finding::new(Check::Url, State::Bad, &unreadable.why).points_to(Diagnosis::own(
            "unreadable_url",
            Some(Slug::ProxyDnsFailed),
            Whose::You,
            format!("the proxy's URL can't be read: {}", unreadable.why),
            "Write it as http://USER:PASSWORD@HOST:PORT, with https, socks5 or socks5h where the proxy needs it. In user name and \
             password write @ as %40, : as %3A, # as %23, / as %2F, ? as %3F and % as %25.",
        )),
        Ok(url) => {
            let mut finding = Finding::new(Check::Url, State::Good, describe(&url.upstream));
            for flaw in &url.flaws {
                let (line, diagnosis) = flawed(flaw);
                finding = finding.detail(line);
                if let Some(diagnosis) = diagnosis {
                    finding = Finding { state: State::Remark, diagnosis: Some(diagnosis), ..finding };
                } else if finding.state == State::Good {
                    finding.state = State::Remark;
                }
            }
            chart.url = Some(url);
            finding
        }
    }
}

fn describe(upstream: &Upstream) -> String {
    let login = if upstream.credentials().is_some() { "with credentials" } else { "without credentials" };
    format!("{} to {}, {login}", upstream.scheme().name(), upstream.authority())
}

fn flawed(flaw: &Flaw) -> (String, Option<Diagnosis>) {
    let remark = |text: &str| (text.to_owned(), None);
    match flaw {
        Flaw::NoScheme => remark("it has no scheme: taken for http://; some clients take it for something else"),
        Flaw::NoPort(port) => (format!("it has no port: taken for {port}; most proxies have another"), None),
        Flaw::Wrapped => remark("there are blanks, quotation marks or a line end around it, which other clients may not strip"),
        Flaw::Path => remark("it has a path, which a proxy has not; it is left out"),
        Flaw::NoPassword => remark("it has a user name and no password"),
        Flaw::BadPercent => {
            let line = "a % in it is not followed by two hexadecimal digits: write it as %25";
            (line.to_owned(), Some(unencoded(line.to_owned(), "%25 for every % that is meant as one")))
        }
        Flaw::Unencoded { characters, clients_read } => {
            let list: Vec<String> = characters.chars().map(|c| format!("{c} as {}", percent(c))).collect();
            let line = format!(
                "{} in user name or password must be encoded; as it stands, clients read {clients_read}",
                spaced(characters)
            );
            // A colon in a password is allowed; some clients end the user name there all the same.
            let diagnosis = unencoded(
                format!("the proxy's URL has {} unencoded in user name or password", spaced(characters)),
                &list.join(", "),
            );
            let harm = if characters == ":" { Harm::Remark } else { Harm::Broken };
            (line, Some(diagnosis.harming(harm)))
        }
    }
}

fn unencoded(sentence: String, list: &str) -> Diagnosis {
    let next = format!(
        "Write {list} in the proxy's URL, once and not twice. The doctor read it as it was meant; other clients split it elsewhere \
         and send another user name, another password or go to another host."
    );
    Diagnosis::own("unencoded_credentials", Some(Slug::CredentialsMalformed), Whose::You, sentence, next)
}

fn spaced(characters: &str) -> String {
    characters.chars().map(String::from).collect::<Vec<_>>().join(" ")
}

fn percent(c: char) -> String {
    let mut bytes = [0; 4];
    c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub(crate) async fn dns(chart: &mut Chart<'_>) -> Finding {
    let Some(upstream) = chart.upstream().cloned() else { return nothing(Check::Dns) };
    let (host, port) = (upstream.host(), upstream.port());
    if let Ok(ip) = host.parse::<IpAddr>() {
        chart.addresses = vec![SocketAddr::new(ip, port)];
        return Finding::new(Check::Dns, State::NotNeeded, "the URL has an address");
    }
    let begun = Instant::now();
    let found = timeout(chart.means.limit, tokio::net::lookup_host((host, port))).await;
    let took = begun.elapsed();
    let failed = |breakage: Breakage| {
        let sentence = format!("the proxy's name {host} could not be resolved: {}", broken(&breakage));
        Finding::new(Check::Dns, State::Bad, &sentence).time(Some(took)).points_to(Diagnosis::fault(
            Slug::ProxyDnsFailed,
            Confidence::Certain,
            sentence,
        ))
    };
    chart.addresses = match found {
        Err(_) => return failed(Breakage::timed_out(At::Dns, chart.means.limit)),
        Ok(Err(error)) => return failed(Breakage::of(At::Dns, &error)),
        Ok(Ok(addresses)) => addresses.collect(),
    };
    chart.dns = Some(took);
    let list: Vec<String> = chart.addresses.iter().take(8).map(|address| address.ip().to_string()).collect();
    if took > thresholds::DNS {
        return Finding::new(Check::Dns, State::Remark, list.join(", "))
            .time(Some(took))
            .detail("slow: over 200 ms, network errors become likely; a resolver nearer by or a cache helps");
    }
    Finding::new(Check::Dns, State::Good, list.join(", ")).time(Some(took))
}

pub(crate) async fn tcp(chart: &mut Chart<'_>) -> Finding {
    let mut failures = Vec::new();
    let begun = Instant::now();
    for address in chart.addresses.clone() {
        let breakage = match timeout(chart.means.limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                chart.address = Some(address);
                let own = stream.local_addr().map(|own| own.ip().to_string()).unwrap_or_default();
                let state = if failures.is_empty() { State::Good } else { State::Remark };
                let mut finding =
                    Finding::new(Check::Tcp, state, format!("{address} answers (from {own})")).time(Some(begun.elapsed()));
                for (address, breakage) in failures {
                    finding = finding.detail(format!("{address} does not: {}", broken(&breakage)));
                }
                return finding;
            }
            Ok(Err(error)) => Breakage::of(At::Tcp, &error),
            Err(_) => Breakage::timed_out(At::Tcp, chart.means.limit),
        };
        failures.push((address, breakage));
    }
    unreached(chart, failures).await
}

/// No address takes a connection: which fault it is, and whether the proxy is at another port.
async fn unreached(chart: &Chart<'_>, failures: Vec<(SocketAddr, Breakage)>) -> Finding {
    let Some((address, breakage)) = failures.first() else { return nothing(Check::Tcp) };
    let proxy = chart.proxy();
    let slug = match breakage.manner {
        Manner::Refused => Slug::ProxyRefused,
        Manner::TimedOut(_) => Slug::ProxyTimeout,
        _ => Slug::ProxyUnreachable,
    };
    let mut finding = Finding::new(Check::Tcp, State::Bad, format!("{address}: {}", broken(breakage)));
    for (address, breakage) in failures.iter().skip(1) {
        finding = finding.detail(format!("{address}: {}", broken(breakage)));
    }
    if slug == Slug::ProxyRefused
        && let Some((port, spoken)) = elsewhere(chart, address.ip()).await
    {
        let scheme = spoken.scheme().unwrap_or(Scheme::Http).name();
        let sentence = format!("nothing listens at {proxy}, but port {port} of the same host speaks {scheme}");
        return finding.detail(&sentence).points_to(Diagnosis::own(
            "wrong_port",
            Some(Slug::ProxyRefused),
            Whose::You,
            sentence,
            format!("Compare the port with the one you were given; {scheme}://{}:{port} answers.", shown_host(&proxy)),
        ));
    }
    let sentence = format!("the proxy {proxy} can't be reached: {}", broken(breakage));
    finding.points_to(Diagnosis::fault(slug, Confidence::Certain, sentence))
}

/// A usual port of the same host that speaks something a proxy speaks.
async fn elsewhere(chart: &Chart<'_>, host: IpAddr) -> Option<(u16, Spoken)> {
    let own = chart.upstream()?.port();
    for port in chart.case.other_ports.iter().copied().filter(|port| *port != own).take(8) {
        let spoken = probe::spoken(SocketAddr::new(host, port), &chart.means).await;
        if spoken.scheme().is_some() {
            return Some((port, spoken));
        }
    }
    None
}

fn shown_host(authority: &str) -> &str {
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

pub(crate) async fn tls(chart: &mut Chart<'_>) -> Finding {
    let Some(upstream) = chart.upstream().cloned() else { return nothing(Check::Tls) };
    if upstream.scheme() != Scheme::Https {
        return Finding::new(Check::Tls, State::NotNeeded, "the scheme has none");
    }
    let look = Look::new(&chart.means.roots);
    let Some(client) = look.client() else { return nothing(Check::Tls) };
    let deadline = Instant::now() + chart.means.limit;
    let reached = connect::reach(&upstream.clone().with_trust(Trust::given(client)), deadline).await;
    match reached {
        Ok(reached) => certificate(chart, look.seen(), reached.timings.tls),
        Err(failed) => {
            let why = match failed.why {
                connect::Why::Broken(breakage) => broken(&breakage),
                _ => "it broke off".to_owned(),
            };
            let finding = Finding::new(Check::Tls, State::Bad, &why).time(failed.timings.tls);
            if let Some(address) = chart.address
                && let spoken = probe::spoken(address, &chart.means).await
                && let Some(finding) = wrong_scheme(chart, &finding, Scheme::Https, spoken)
            {
                return finding;
            }
            let sentence = format!("TLS with the proxy {} failed: {why}", chart.proxy());
            finding.points_to(Diagnosis::fault(Slug::ProxyTlsFailed, Confidence::Certain, sentence))
        }
    }
}

/// The proxy's certificate, judged. The doctor sends no credentials to a proxy that can't prove who it is.
fn certificate(chart: &Chart<'_>, shown: Option<Shown>, time: Option<Duration>) -> Finding {
    let Some(shown) = shown else { return Finding::new(Check::Tls, State::Good, "TLS without a certificate").time(time) };
    let of = format!("the certificate is signed by \"{}\"", shown.certificate.issuer);
    let Some(doubt) = shown.doubt else {
        let left = shown.certificate.not_after.map(|end| end.duration_since((chart.means.now)()));
        let slow = time.is_some_and(|time| time > thresholds::TLS_HANDSHAKE);
        let mut finding = Finding::new(Check::Tls, State::Good, of).time(time);
        if slow {
            finding = Finding { state: State::Remark, ..finding }.detail("slow: over 500 ms, handshakes time out under load");
        }
        if left.is_some_and(|left| left.as_secs() < SOON.as_secs().cast_signed()) {
            finding = Finding { state: State::Remark, ..finding }.detail("it ends within a week");
        }
        return finding;
    };
    let sentence = format!("the proxy's certificate {}; {of}", doubt.words());
    let diagnosis = Diagnosis::fault(Slug::ProxyTlsFailed, Confidence::Certain, &sentence);
    let diagnosis = match doubt {
        Doubt::Expired | Doubt::NotYetValid => {
            diagnosis.of(Whose::Operator).advising("Compare this machine's clock first; if it is right, the operator has to renew it.")
        }
        Doubt::OtherName => diagnosis.advising("Use the host name that is in the certificate, not an address or another name."),
        Doubt::UnknownIssuer | Doubt::Other => diagnosis.advising(
            "If the proxy has an authority of its own, give it to your client (--proxy-cacert in curl, --ca here); if not, something \
             between you and the proxy opens the connection. Do not switch verification off: the credentials go through it.",
        ),
    };
    Finding::new(Check::Tls, State::Bad, sentence).time(time).points_to(diagnosis)
}

pub(crate) async fn protocol(chart: &mut Chart<'_>) -> Finding {
    let Some(anonymous) = chart.anonymous() else { return nothing(Check::Protocol) };
    let scheme = anonymous.scheme();
    let hurried = chart.means.hurried(HELLO);
    let Ok(nowhere) = Site::read(NOWHERE) else { return nothing(Check::Protocol) };
    let hello = if scheme.is_socks() {
        exchange::tunnel(&anonymous, &nowhere, &hurried).await
    } else {
        exchange::through(&anonymous, &nowhere, &hurried).await
    };
    let time = hello.time(thresholds::Phase::FirstByte).or(hello.time(thresholds::Phase::Connect));
    let finding = judge(chart, &anonymous, &hello).await.time(time);
    chart.hello.get_or_insert(hello);
    finding
}

async fn judge(chart: &mut Chart<'_>, anonymous: &Upstream, hello: &Exchange) -> Finding {
    let scheme = anonymous.scheme();
    match &hello.ended {
        Ended::Socks(refusal) => Finding::new(Check::Protocol, State::Good, format!("speaks SOCKS5 ({refusal})")),
        Ended::TargetName(_) => nothing(Check::Protocol),
        Ended::Answered(_) if scheme.is_socks() => Finding::new(Check::Protocol, State::Good, "speaks SOCKS5"),
        Ended::Answered(reply) | Ended::Refused(reply) => answered(chart, anonymous, reply).await,
        Ended::Broken(breakage) => {
            let finding = Finding::new(Check::Protocol, State::Bad, broken(breakage));
            if let Manner::TimedOut(_) = breakage.manner
                && let Some(finding) = slow_names(chart, anonymous).await
            {
                return finding;
            }
            let Some(address) = chart.address else { return finding };
            let spoken = probe::spoken(address, &chart.means).await;
            wrong_scheme(chart, &finding, scheme, spoken).unwrap_or_else(|| wordless(chart, finding, breakage, spoken))
        }
    }
}

/// A proxy that waits for its resolver answers at once when there is no name to resolve.
async fn slow_names(chart: &mut Chart<'_>, anonymous: &Upstream) -> Option<Finding> {
    let nowhere = Site::read(NOWHERE_BY_ADDRESS).ok()?;
    let hurried = chart.means.hurried(HELLO);
    let by_address = if anonymous.scheme().is_socks() {
        exchange::tunnel(anonymous, &nowhere, &hurried).await
    } else {
        exchange::through(anonymous, &nowhere, &hurried).await
    };
    if matches!(by_address.ended, Ended::Broken(_)) {
        return None;
    }
    let says = "answers like a proxy, but not at once when it is asked for a name";
    chart.hello = Some(by_address);
    Some(
        Finding::new(Check::Protocol, State::Remark, says)
            .detail("asked for an address it answers at once: its resolver is slow or silent"),
    )
}

/// Something answered in HTTP: a proxy, or a server that is none.
async fn answered(chart: &Chart<'_>, anonymous: &Upstream, reply: &ConnectReply) -> Finding {
    let status = format!("{} {}", reply.status, reply.reason);
    if is_proxy(reply) {
        return Finding::new(Check::Protocol, State::Good, format!("answers like a proxy ({})", status.trim_end()));
    }
    // A server that gives a page for a name that can't exist might still be a proxy whose resolver knows every name.
    let Ok(secure) = Site::read("https://outgate-doctor.invalid/") else { return nothing(Check::Protocol) };
    let tunnel = exchange::tunnel(anonymous, &secure, &chart.means.hurried(HELLO)).await;
    let opens = match &tunnel.ended {
        Ended::Answered(_) => true,
        Ended::Refused(reply) => is_proxy(reply),
        Ended::Socks(_) | Ended::Broken(_) | Ended::TargetName(_) => false,
    };
    if opens {
        return Finding::new(Check::Protocol, State::Good, "answers CONNECT like a proxy");
    }
    let says = format!("answers {} to a request for a host that can't exist", status.trim_end());
    let finding = Finding::new(Check::Protocol, State::Bad, &says);
    let proxy = chart.proxy();
    if is_portal(reply, "outgate-doctor.invalid") {
        let sentence = format!("a captive portal answers in place of the proxy {proxy}");
        return finding.points_to(portal(sentence));
    }
    let server = reply.header("server").map(|server| format!(" ({server})")).unwrap_or_default();
    finding.points_to(Diagnosis::own(
        "not_a_proxy",
        Some(Slug::ProxyNotAProxy),
        Whose::You,
        format!("a web server{server} answers at {proxy}, not a proxy: it {says}"),
        "Compare host and port with the ones you were given: this is the address of a site or of an API, not of the proxy.",
    ))
}

/// Signs of a proxy: what only one answers, or fields that only one writes.
fn is_proxy(reply: &ConnectReply) -> bool {
    const FIELDS: &[&str] = &[
        "Proxy-Authenticate",
        "Proxy-Status",
        "Proxy-Connection",
        "Proxy-Agent",
        "Via",
        "X-Proxy-Error",
        "X-Squid-Error",
        "X-Error-Description",
        "X-Brd-Err-Code",
    ];
    matches!(reply.status, 402 | 403 | 407 | 429 | 453 | 490 | 500 | 502..=504 | 522..=525 | 590..=599)
        || FIELDS.iter().any(|name| reply.header(name).is_some())
}

/// Signs of a network that wants somebody to log in first: RFC 6585's status, a way to another host with a telling name, a page
/// that says so.
pub(crate) fn is_portal(reply: &ConnectReply, asked: &str) -> bool {
    const NAMES: &[&str] = &["captive", "portal", "hotspot", "wlan", "wifi", "wi-fi", "guest", "splash"];
    const PAGES: &[&str] = &["captive portal", "hotspot", "wifi login", "wi-fi login", "guest access", "guest wifi"];
    let location = reply.header("location").unwrap_or_default().to_ascii_lowercase();
    let elsewhere = location.contains("://") && Site::read(&location).is_ok_and(|site| site.target.host() != asked);
    let body = String::from_utf8_lossy(&reply.body).to_ascii_lowercase();
    match reply.status {
        511 => true,
        300..=399 => elsewhere && NAMES.iter().any(|name| location.contains(name)),
        200 => PAGES.iter().any(|words| body.contains(words)),
        _ => false,
    }
}

pub(crate) fn portal(sentence: String) -> Diagnosis {
    Diagnosis::own(
        "captive_portal",
        Some(Slug::ProxyNotAProxy),
        Whose::YourNetwork,
        sentence,
        "Open any http:// page in a browser on this machine and log in to the network, then try again.",
    )
}

/// A port that speaks something else than the scheme says.
fn wrong_scheme(chart: &Chart<'_>, finding: &Finding, said: Scheme, spoken: Spoken) -> Option<Finding> {
    let scheme = spoken.scheme()?;
    let same = scheme == said || (scheme.is_socks() && said.is_socks());
    if same {
        return None;
    }
    let (is, was) = (protocol_name(scheme), protocol_name(said));
    let proxy = chart.proxy();
    let sentence = format!("the port of {proxy} speaks {is}, but the URL says {}:// ({was})", said.name());
    let note = match (scheme, said) {
        (Scheme::Http, Scheme::Https) => " http:// in a proxy's URL is right for https targets, too: they are tunnelled.",
        (Scheme::Https, _) => " Its certificate must be believed by the client.",
        _ => "",
    };
    let next = format!("Write {}://{proxy} (with the same credentials) for the proxy.{note}", scheme.name());
    Some(finding.clone().detail(format!("it speaks {is}")).points_to(Diagnosis::own(
        "wrong_scheme",
        Some(Slug::WrongProtocol),
        Whose::You,
        sentence,
        next,
    )))
}

fn protocol_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "HTTP in clear",
        Scheme::Https => "TLS",
        Scheme::Socks5 | Scheme::Socks5h => "SOCKS5",
    }
}

/// The port speaks nothing that a proxy speaks.
fn wordless(chart: &Chart<'_>, finding: Finding, breakage: &Breakage, spoken: Spoken) -> Finding {
    let proxy = chart.proxy();
    let over_tls = chart.upstream().is_some_and(|upstream| upstream.scheme() == Scheme::Https);
    match spoken {
        Spoken::Other(Foreign::Unknown) | Spoken::Tls | Spoken::Http | Spoken::Socks5 => {
            let sentence = format!("{proxy} does not answer like a proxy: {}", broken(breakage));
            finding.points_to(Diagnosis::fault(Slug::ProxyNotAProxy, Confidence::Likely, sentence))
        }
        Spoken::Other(foreign) => {
            let sentence = format!("{} answers at {proxy}, not a proxy", foreign.name());
            finding.detail(&sentence).points_to(Diagnosis::own(
                "not_a_proxy",
                Some(Slug::ProxyNotAProxy),
                Whose::You,
                sentence,
                "Compare the port with the one you were given.",
            ))
        }
        // Whoever is not on an allowlist is mostly told nothing at all.
        Spoken::Closes if !over_tls => {
            let own = own_address(chart);
            let sentence =
                format!("{proxy} takes connections and closes each without a word, whatever is spoken: it does not serve {own}");
            finding.detail("TLS, SOCKS5 and HTTP are all closed without a word").points_to(
                Diagnosis::fault(Slug::SourceDenied, Confidence::Likely, sentence).advising(format!(
                    "Have this machine's address allowed at the proxy; from here it is {own}, behind NAT the proxy sees another. If it \
                     is allowed, the proxy itself is broken: ask its operator, with the time in UTC."
                )),
            )
        }
        Spoken::Closes | Spoken::Silent | Spoken::Nothing => {
            let sentence = format!("the proxy {proxy} takes connections and answers nothing");
            let slug = if matches!(breakage.manner, Manner::TimedOut(_)) { Slug::ProxyTimeout } else { Slug::ProxyReset };
            finding.points_to(Diagnosis::fault(slug, Confidence::Certain, sentence).of(Whose::Operator))
        }
    }
}

/// One's own address towards the proxy, as far as this machine knows it.
fn own_address(chart: &Chart<'_>) -> String {
    let own = chart.address.and_then(|address| {
        let socket = std::net::UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).ok()?;
        // Connecting a datagram socket sends nothing; it asks the routing table.
        socket.connect(address).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    });
    own.unwrap_or_else(|| "this machine".to_owned())
}

/// For what can't be: a check runs only when what it needs is there.
fn nothing(check: Check) -> Finding {
    Finding::new(check, State::Skipped, "there is nothing to look at")
}
