//! The catalogue: one row for each thing that can go wrong, by layer. Everything else in this crate is a function of it.

use crate::axes::{Fixer, Lasting, Layer, Raised, Retry, Seen, SocksReply, Wait};
use crate::{ErrorType, Row};

/// A gateway raises it once something can fail inside a request that no other row names; so far every error has its own. The relay has
/// it where only a mistake in its own code could lead, which no test can provoke.
const SAFETY_NET: Raised = Raised::NotYet("safety net");

impl Slug {
    /// Its row.
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

catalogue! {
    // ── client: what was sent to the proxy ─────────────────────────────────────────────────────────────────────────

    MalformedRequest malformed_request(what = "two Content-Length fields that differ") {
        Client 400 Some(ErrorType::HttpRequestError);
        Never, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "malformed request: {what}";
        cause "The bytes on the connection are not a well-formed HTTP request, or they can be read in two ways (bare line feeds, a space before a colon, both Content-Length and Transfer-Encoding). An ambiguous request is refused and never forwarded, because two hops that read it differently are how requests are smuggled.";
        fix "Look at the sentence: it names the rule that was broken. Log the raw request at the client, because it is a bug there or in something between it and the proxy. A well-kept HTTP library does not send such requests; hand-written ones and header rewriting do. Do not retry: the same bytes are refused again.";
    }

    MalformedTarget malformed_target(what = "CONNECT needs host:port") {
        Client 400 Some(ErrorType::HttpRequestError);
        Never, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "malformed target: {what}";
        cause "The request line names no usable target: no host, no port or a port outside 1 to 65535 in CONNECT, a path where a proxy expects an absolute URL, an IP address in an unusual spelling, or a URL of a scheme that a proxy does not forward.";
        fix "Send `CONNECT host:port` for https and `GET http://host/path` for http. A path alone (`GET /`) means that the client thinks it talks to the site itself: set this address as its *proxy*, not as the site. Write IPv6 addresses in brackets and IPv4 addresses as four decimal numbers.";
    }

    RequestTimeout request_timeout(seconds = "15") {
        Client 408 Some(ErrorType::HttpRequestError);
        Never, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the request was not complete within {seconds} s";
        cause "The client opened a connection and then took longer than allowed to send its request: it sends byte by byte, it stalled, or it opens connections in advance and uses them too late. The limit protects the gateway from clients that hold connections for nothing.";
        fix "Send the whole request header at once. If the client keeps spare connections, let it open one only when there is a request, or expect spare ones to be closed. On a very slow link the operator can raise the header timeout in the gateway's configuration.";
    }

    UriTooLong uri_too_long(limit = "16384") {
        Client 414 Some(ErrorType::HttpRequestError);
        Never, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the request target is over the limit of {limit} bytes";
        cause "The URL in the request line is longer than the gateway accepts. That is mostly a query string that carries data which belongs in a body.";
        fix "Move the data into a request body, or send the request through CONNECT, where the gateway does not see the URL. The operator can raise the limit for request heads in the gateway's configuration.";
    }

    ExpectationFailed expectation_failed(expectation = "200-ok") {
        Client 417 Some(ErrorType::HttpRequestError);
        Never, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the expectation '{expectation}' cannot be met (only 100-continue can)";
        cause "The request has an `Expect` field with something other than `100-continue`, the only expectation that HTTP defines.";
        fix "Remove the `Expect` field or switch to a library that does not send it. `Expect: 100-continue` is fine and is forwarded to the target.";
    }

    HeaderTooLarge header_too_large(limit = "65536 bytes") {
        Client 431 Some(ErrorType::HttpRequestError);
        Never, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the request header is over the limit of {limit}";
        cause "The request's fields together are larger or more numerous than the gateway accepts. Cookies that grew without end are the usual reason; a client that repeats a field in a loop is the other.";
        fix "Clear or trim the cookies that are sent to this target and look for fields that are repeated. Requests inside a CONNECT tunnel are not limited by the gateway. The operator can raise the limit in the gateway's configuration.";
    }

    MethodUnsupported method_unsupported(method = "TRACE") {
        Client 501 Some(ErrorType::HttpRequestError);
        Never, Structural, User, CommandNotSupported;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "method {method} is not supported";
        cause "This proxy does not carry out the method. Over SOCKS5, BIND and UDP ASSOCIATE are refused because only CONNECT is offered.";
        fix "Use another method, or send the request through a CONNECT tunnel, where the method is between the client and the target. With SOCKS5, use CONNECT.";
    }

    VersionUnsupported version_unsupported(version = "HTTP/3.7") {
        Client 505 Some(ErrorType::HttpRequestError);
        Never, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "version {version} is not supported";
        cause "The request line ends in an HTTP version that this listener does not speak.";
        fix "Let the client speak HTTP/1.1 to the proxy. What it speaks with the target inside a CONNECT tunnel is its own affair.";
    }

    WrongProtocol wrong_protocol(spoken = "TLS", expected = "plain HTTP") {
        Client 400 Some(ErrorType::HttpRequestError);
        Fix, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{spoken} was spoken to a port that expects {expected}";
        cause "The first bytes belong to another protocol than the one this port serves: an `https://` proxy URL on a plain port, a `socks5://` URL on an HTTP port, an HTTP/2 preface where HTTP/1.1 is expected, or the reverse. The client shows it as a TLS error, a wrong version number or an early close. Or the proxy's own address was opened as if a web site were there: a browser then gets a page that says how to use it.";
        fix "Correct the scheme of the *proxy's* URL, not the target's: `http://` for a plain port even when the targets are https sites, `https://` only for a port with TLS, `socks5h://` for SOCKS5. The sentence says which one the port takes (`http://` means plain HTTP to the proxy, also for https targets). If you opened the address in a browser, enter it in the browser's proxy settings instead.";
    }

    ClientTlsFailed client_tls_failed(what = "the client sent the alert UnknownCA") {
        Client 400 Some(ErrorType::TlsProtocolError);
        Fix, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "TLS between client and proxy failed: {what}";
        cause "The client began TLS with a port of this proxy that takes it, and the two did not come to terms: the client does not trust the proxy's certificate (it sends an alert such as UnknownCA or BadCertificate, or just leaves), shows no certificate where one is required, or supports no version and cipher that the proxy does. No request was read; the client sees a TLS error of its own, and this slug is in the record only.";
        fix "The sentence says who gave up and why. An alert about the certificate: the name in the proxy's URL must be in the certificate, and the client must know its authority (`--proxy-cacert` in curl). No certificate shown: the listener has `client_ca`, give the client one. Nothing in common: update the client, TLS 1.2 is the least.";
    }

    HttpsNeedsConnect https_needs_connect(host = "example.com") {
        Client 400 Some(ErrorType::HttpRequestError);
        Fix, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "https to {host} needs CONNECT, but the request came in clear";
        cause "The client sent `GET https://...` to the proxy in clear instead of opening a tunnel with CONNECT. Some libraries do that by default (old axios versions, some Java, Ruby and PHP stacks), and a proxy that forwarded it would see and could change everything that https protects.";
        fix "Make the client use CONNECT: in Node pass an https-proxy-agent and switch the library's own proxy option off; elsewhere set the proxy for the https scheme (`HTTPS_PROXY`), or update the library. Do not work around it with an `http://` target.";
    }

    // ── auth: who is asking ────────────────────────────────────────────────────────────────────────────────────────

    CredentialsMissing credentials_missing() {
        Auth 407 Some(ErrorType::HttpRequestDenied);
        Fix, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "credentials are missing: send the key and its secret in Proxy-Authorization";
        cause "The request has no `Proxy-Authorization` field, and its source address alone opens no key. Browsers and some libraries ask like this first and send credentials only after the 407: that is normal, and the connection stays usable for it.";
        fix "Put the credentials into the proxy's URL (`http://KEY:SECRET@host:port`) or set `Proxy-Authorization: Basic base64(KEY:SECRET)`. `Authorization` is the target's field, not the proxy's. Percent-encode `@ : / %` in URLs. If the credentials are configured and still missing, the client drops them on a redirect or for CONNECT: set them where it configures the proxy, not per request.";
    }

    CredentialsMalformed credentials_malformed(what = "not base64") {
        Auth 407 Some(ErrorType::HttpRequestDenied);
        Fix, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "malformed credentials: {what}";
        cause "There is a `Proxy-Authorization` field that cannot be read: another scheme than Basic, broken base64, no colon between key and secret, an empty user name or password, characters that a user name cannot have, or credentials that the client took out of a proxy URL without decoding them (`%2D` where `-` is meant).";
        fix "Encode `KEY:SECRET` with base64, without a line break at the end (`printf`, not `echo`), after the word `Basic` and one space. In a proxy URL percent-encode special characters once, not twice. The user name is the key id followed by its modifiers.";
    }

    CredentialsWrong credentials_wrong() {
        Auth 407 Some(ErrorType::HttpRequestDenied);
        Fix, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "wrong key or secret";
        cause "No key has this id with this secret. The answer is the same whether the id exists or not, so that nobody can search for keys. Frequent reasons: a rotated secret whose grace period is over, the secret of another key, a percent sign or colon in the URL that was not encoded.";
        fix "Compare the key id with `outgate keys list`; the secret itself is shown only once, when it is made. If it is lost or may have leaked, `outgate keys rotate ID --grace 1h` makes a new one while the old still works. Do not retry with the same credentials: repeated failures are throttled for the whole source address.";
    }

    KeyExpired key_expired(when = "2026-03-01T00:00:00Z") {
        Auth 407 Some(ErrorType::HttpRequestDenied);
        Fix, Structural, KeyOwner, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "this key expired at {when}";
        cause "The key was created with an end date, which has passed. Key and secret are right; nothing else is wrong.";
        fix "Ask the operator for another key (`outgate keys create --expires ...`). `outgate keys show ID` shows the date. If the date has not come yet, compare the gateway's clock with UTC.";
    }

    KeyRevoked key_revoked() {
        Auth 407 Some(ErrorType::HttpRequestDenied);
        Fix, Structural, KeyOwner, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "this key is revoked";
        cause "Somebody revoked the key for good, usually because it was replaced or had leaked. Its open tunnels were cut at the same moment.";
        fix "Use the key that replaced it, or ask the operator for a new one. A revoked key does not come back; the audit trail names who revoked it and when.";
    }

    KeySuspended key_suspended() {
        Auth 407 Some(ErrorType::HttpRequestDenied);
        Fix, Structural, KeyOwner, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "this key is suspended";
        cause "The key is switched off for the time being, by its owner or for billing. Secret and settings are kept.";
        fix "Have it resumed with `outgate keys resume ID`; that takes effect within a second. A block by an administrator is something else and answers with `key_blocked`.";
    }

    SourceDenied source_denied(source = "198.51.100.7") {
        Auth 407 Some(ErrorType::HttpRequestDenied);
        Fix, Structural, KeyOwner, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the source address {source} is not on this key's allowlist";
        cause "The key may be used only from certain addresses, and the request came from another one: a new office line, a cloud machine with a changing address, IPv6 where only IPv4 is listed, or a NAT in between.";
        fix "The sentence names the address as the gateway sees it. Add it to the key's list, or send from an address that is on it (`outgate keys show ID` prints the list). If it is the address of a load balancer, the gateway needs the PROXY protocol from that balancer to see the real one.";
    }

    AuthThrottled auth_throttled(seconds = "30") {
        Auth 429 Some(ErrorType::HttpRequestDenied);
        Backoff, Temporary, User, NotAllowed;
        wait Wait::Fact("seconds");
        Gateway, Raised::Yes;
        says "too many failed logins from this address: wait {seconds} s";
        cause "The source address has sent many wrong credentials in a short time, so the gateway answers without looking at further ones until the wait is over. It counts per address and key id first, so one misconfigured job holds up its own key; only many failures with different ids hold up the whole address.";
        fix "Stop the client that sends wrong credentials: the records of authentication failures list source, key id and time. Then wait for `Retry-After`. Retrying earlier does not lengthen the wait, but cannot succeed either.";
    }

    // ── policy: what the operator allows ───────────────────────────────────────────────────────────────────────────

    KeyBlocked key_blocked() {
        Policy 403 Some(ErrorType::HttpRequestDenied);
        Never, Structural, Operator, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "this key is blocked by an administrator";
        cause "An administrator blocked the key, mostly because of how it was used. The credentials are right, so changing them does not help.";
        fix "Write to the operator with the key id (never the secret), the request id and the time in UTC. The operator sees the reason in `outgate keys show ID` and lifts the block with `outgate keys unblock ID`.";
    }

    PortDenied port_denied(port = "25", allowed = "80, 443, 8080, 8443") {
        Policy 403 Some(ErrorType::HttpRequestDenied);
        Never, Structural, Operator, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "port {port} is not allowed (allowed: {allowed})";
        cause "The gateway, or the key's plan, opens connections only to listed target ports. Mail ports in particular stay closed so that exits are not used for spam.";
        fix "Use a port from the list in the sentence if the target offers one. The operator opens another with the allowed ports in the gateway's configuration (`--allow-port PORT` for quickstart), and for one plan with `outgate plans set NAME --port 80 --port 443 --port PORT` (the ports given replace the plan's).";
    }

    TargetPrivate target_private(host = "10.0.0.5", class = "private network (RFC 1918)") {
        Policy 403 Some(ErrorType::DestinationIpProhibited);
        Never, Structural, Operator, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{host} is not a public address: {class}";
        cause "The target is, or its name resolves to, an address of a special-purpose range: a private network, loopback, link-local, or an IPv6 form that wraps one. Through a proxy such addresses would reach into the network of the gateway or exit, so they are refused at the hop that connects, after resolving.";
        fix "Send requests for internal hosts directly, for example with `NO_PROXY`. If a public site ends up here, its DNS answers with a private address: look at it with `dig`; split-horizon DNS and ad blockers do that. An operator who means it opens a range with `--allow-target CIDR` on the gateway or exit that connects.";
    }

    TargetMetadata target_metadata(host = "169.254.169.254") {
        Policy 403 Some(ErrorType::DestinationIpProhibited);
        Never, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{host} is a cloud metadata service, which no proxy request may reach";
        cause "The target is the address or name of a cloud platform's metadata service, which hands out credentials of the machine it runs beside. A request for it through a proxy is nearly always an attack or a cloud library that picked up the proxy settings by accident.";
        fix "Exclude the metadata address from the proxy: `NO_PROXY=169.254.169.254,metadata.google.internal`. If nobody configured such a request, find out which program sends it: its records in `records/access.jsonl` have this outcome, the key and the client's address. Opening private ranges does not open metadata services.";
    }

    TargetDenied target_denied(host = "mail.example.com", rule = "no-mail") {
        Policy 403 Some(ErrorType::HttpRequestDenied);
        Never, Structural, Operator, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{host} is denied by the rule '{rule}'";
        cause "One of the operator's named rules for host names, networks and ports refuses this target.";
        fix "Ask the operator about the rule in the sentence. Operators find it by its name in the gateway's configuration; the first matching rule decides, so an allow rule belongs in front of the deny rule it makes an exception from.";
    }

    PoolDenied pool_denied(pool = "mobile") {
        Policy 403 Some(ErrorType::HttpRequestDenied);
        Never, Structural, KeyOwner, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "pool '{pool}' is not open to this key";
        cause "The user name asks for a pool that the key's plan does not contain, or that this gateway does not have.";
        fix "Leave `-pool-...` away to get the default pool, or choose one from the plan (`outgate plans list`). The operator sets a plan's pools with `outgate plans set NAME --pool POOL --pool OTHER` (those given replace the plan's).";
    }

    CountryDenied country_denied(country = "us") {
        Policy 403 Some(ErrorType::HttpRequestDenied);
        Never, Structural, KeyOwner, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "country '{country}' is not open to this key";
        cause "The country exists, but the key's plan is limited to others.";
        fix "Choose a country of the plan (`outgate plans list`), or have the plan's list replaced: `outgate plans set NAME --country CC --country OTHER`.";
    }

    // ── plan: what the key has paid for ────────────────────────────────────────────────────────────────────────────

    BandwidthExhausted bandwidth_exhausted(limit = "10 GB", resets = "2026-04-01T00:00:00Z") {
        Plan 402 Some(ErrorType::HttpRequestDenied);
        Never, Structural, KeyOwner, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the plan's {limit} of bandwidth are used up{resets? until {}}";
        cause "The key has moved as many bytes in this period as its plan contains; both directions count. Tunnels that were open when it ran out have been cut.";
        fix "Wait for the date in the sentence (also in `Retry-After`), or have the plan enlarged: `outgate plans set NAME --bytes 20GB` takes effect within a second. `outgate usage --key ID --by day` shows where the bytes went. Retrying before that only fails again.";
    }

    RateLimited rate_limited(rate = "50") {
        Plan 429 Some(ErrorType::HttpRequestDenied);
        Backoff, Temporary, KeyOwner, NotAllowed;
        wait Wait::Seconds(1);
        Gateway, Raised::Yes;
        says "the plan's rate of {rate} requests per second is exceeded";
        cause "The key sends more new requests per second than its plan allows, after its burst was used up. Each CONNECT counts as one, however much then flows through the tunnel.";
        fix "Wait as long as `Retry-After` says and spread the requests. Keeping connections open saves most of them: several requests can share one tunnel. If the rate is needed for long, the operator raises it with `outgate plans set NAME --rate N --burst N`.";
    }

    ThreadsExceeded threads_exceeded(limit = "100") {
        Plan 453 Some(ErrorType::ConnectionLimitReached);
        Backoff, Temporary, KeyOwner, NotAllowed;
        wait Wait::Seconds(1);
        Gateway, Raised::Yes;
        says "the plan's limit of {limit} tunnels at once is reached";
        cause "The key has as many tunnels and requests open at the same time as its plan allows. Clients that never close idle tunnels, or a second program with the same key, are the usual reasons.";
        fix "Lower the client's concurrency to the limit in the sentence, and let it close idle connections. Retry once one of the open tunnels has ended. The operator raises the limit with `outgate plans set NAME --threads N`.";
    }

    // ── targeting: the modifiers in the user name ──────────────────────────────────────────────────────────────────

    ModifierUnknown modifier_unknown(modifier = "contry", hint = "country") {
        Targeting 454 Some(ErrorType::HttpRequestError);
        Never, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says r#"unknown modifier "{modifier}"{hint?: did you mean "{}"?}"#;
        cause "After the key id, the user name consists of `-modifier-value` pairs, and this one is none that the gateway knows. Nothing is guessed: a request that silently ignored its country would leave from the wrong place.";
        fix "Correct the spelling; modifiers are in lower case. Known ones are pool, country, state, city, session and ttl: `KEY-country-us-session-ab12-ttl-10`. A key id itself never contains a hyphen.";
    }

    ModifierRepeated modifier_repeated(modifier = "country") {
        Targeting 454 Some(ErrorType::HttpRequestError);
        Never, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "modifier '{modifier}' is given twice";
        cause "The user name asks for the same thing twice, and nothing says which one is meant. A value that contains the name of a modifier between hyphens (`-session-my-pool-1`) reads as that modifier, too.";
        fix "Leave one of them. In a value write the name of a modifier without a hyphen before it: `-session-mypool-1`, `-city-statecollege`.";
    }

    CountryInvalid country_invalid(country = "uk", hint = "gb") {
        Targeting 454 Some(ErrorType::HttpRequestError);
        Never, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says r#"'{country}' is not a country code (ISO 3166-1 alpha-2, such as us or de){hint?: did you mean "{}"?}"#;
        cause "The value of `country` is not a lower-case two-letter code of ISO 3166-1. `uk` (it is `gb`), capitals and names written out are the usual mistakes.";
        fix "Use the two-letter code: `-country-gb`. A code that exists but has no exits right now answers with `no_exit` instead.";
    }

    StateInvalid state_invalid(state = "california", country = "us", hint = "ca") {
        Targeting 454 Some(ErrorType::HttpRequestError);
        Never, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says r#"'{state}' is not a subdivision of {country} (ISO 3166-2){hint?: did you mean "{}"?}"#;
        cause "The value of `state` is not a subdivision code of the chosen country, or no country was chosen.";
        fix "Give the country first and then its ISO 3166-2 code without the country's part: `-country-us-state-ca` for US-CA. `GET /v1/locations` on the console lists the states where exits are.";
    }

    CityInvalid city_invalid(city = "sprngfield", place = "us-il", hint = "springfield") {
        Targeting 454 Some(ErrorType::HttpRequestError);
        Never, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says r#"no city '{city}' is offered in {place} (city-ran takes any){hint?: did you mean "{}"?}"#;
        cause "No exit of the pool is in a city of this name in the chosen country and state, nor was one in the last ten minutes; or no country was chosen. Cities come from the exits. Case, accents, spaces and hyphens make no difference: `Sao-Paulo`, `sao paulo` and `saopaulo` are one city, and so it is with its accent.";
        fix "Look up what there is with `GET /v1/locations` on the console, or let the gateway choose with `-city-ran`. A city always needs its country: `-country-br-city-saopaulo`. A city that is offered but has no exit to spare right now answers with `no_exit` instead.";
    }

    SessionInvalid session_invalid(what = "longer than 64 characters") {
        Targeting 454 Some(ErrorType::HttpRequestError);
        Never, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "invalid session: {what}";
        cause "The value of `session` is empty, too long or has characters that a session name cannot have. A value that is the name of a modifier counts as that modifier, so that `-session-country-us` has an empty session.";
        fix "Use letters, digits, `_` and `-`, for example eight random ones for each browser or account that must keep its address.";
    }

    TargetingUnsupported targeting_unsupported(pool = "datacenter") {
        Targeting 454 Some(ErrorType::HttpRequestError);
        Never, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "pool '{pool}' does not accept targeting";
        cause "Only pools that say so can choose by country, state or city. Datacenter, ISP and direct addresses cannot.";
        fix "Leave country, state and city away for this pool, or ask for one that accepts them: `-pool-residential`.";
    }

    TtlInvalid ttl_invalid(ttl = "0", range = "1 to 120 minutes") {
        Targeting 455 Some(ErrorType::HttpRequestError);
        Never, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "ttl '{ttl}' is not in the range of {range}";
        cause "The value of `ttl` is not a whole number of minutes, or outside the range that the gateway allows.";
        fix "Use a whole number from the range in the sentence: `-session-ab12-ttl-10`. `ttl` without `session` has nothing to hold.";
    }

    // ── gateway: the proxy itself ──────────────────────────────────────────────────────────────────────────────────

    Internal internal() {
        Gateway 500 Some(ErrorType::ProxyInternalError);
        Now, Temporary, Operator, GeneralFailure;
        wait Wait::Unknown;
        Gateway, SAFETY_NET;
        says "internal error of the proxy";
        cause "Something happened inside the gateway that it has no better name for. That is a bug, or a machine in trouble (no file descriptors, no memory, a full disk).";
        fix "Try again once. If it returns, give the request id to the operator: the gateway's record under this id holds the detail that the answer leaves out.";
    }

    Overloaded overloaded(what = "10000 connections are open") {
        Gateway 503 Some(ErrorType::ConnectionLimitReached);
        Backoff, Temporary, Operator, GeneralFailure;
        wait Wait::Seconds(2);
        Gateway, Raised::Yes;
        says "the proxy is overloaded: {what}";
        cause "The gateway has reached one of its own limits (connections, connections per source, requests and tunnels at once, memory, file descriptors) and refuses new work so that what runs goes on well.";
        fix "Wait for `Retry-After`. For users: fewer connections from one address. For operators: the sentence names the limit; raise it in the gateway's configuration if machine and file descriptors (`ulimit -n`) allow, or add a gateway.";
    }

    Draining draining() {
        Gateway 503 Some(ErrorType::ProxyInternalResponse);
        Backoff, Temporary, Nobody, GeneralFailure;
        wait Wait::Seconds(5);
        Gateway, Raised::Yes;
        says "this proxy is shutting down and takes no new requests";
        cause "The gateway was asked to stop. Tunnels that are open may finish until a deadline; new requests are refused.";
        fix "Open a new connection and retry: with several gateways another one answers, else the restarted one does in a few seconds. If it lasts, the old process waits for long tunnels until its drain deadline.";
    }

    LedgerUnavailable ledger_unavailable() {
        Gateway 503 Some(ErrorType::ProxyInternalResponse);
        Backoff, Temporary, Operator, GeneralFailure;
        wait Wait::Seconds(5);
        Gateway, Raised::Yes;
        says "this proxy cannot account for new requests now";
        cause "What a request uses can be kept nowhere: the ledger does not take it (its server does not answer, its file is locked, its disk is full), and the journal in the data folder, which holds usage until the ledger is back, cannot be written either. What is open goes on; new requests would be served without an account.";
        fix "Wait for `Retry-After`. Operators: the gateway's log names both errors. Make room on the disk of the data folder or mend its permissions, then see to the database; nothing needs a restart.";
    }

    LoopDetected loop_detected(what = "its own name is in Via") {
        Gateway 502 Some(ErrorType::ProxyLoopDetected);
        Never, Structural, User, NotAllowed;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the request runs in a circle: {what}";
        cause "The request has passed this gateway before, or its target is one of the gateway's own listeners. Mostly a machine whose system-wide proxy settings also apply to the proxy's own outgoing requests, or two proxies configured as each other's upstream.";
        fix "Take the proxy's own address out of the proxied targets (`NO_PROXY`), and do not set `HTTP_PROXY` for the gateway or exit process. Two gateways in a row need different names in their configuration.";
    }

    // ── exit: the hop that goes out ────────────────────────────────────────────────────────────────────────────────

    NoExit no_exit(wanted = "pool residential, country us") {
        Exit 502 Some(ErrorType::DestinationUnavailable);
        Backoff, Temporary, Operator, HostUnreachable;
        wait Wait::Seconds(5);
        Gateway, Raised::Yes;
        says "no exit is connected{wanted? for {}}";
        cause "No exit that matches the wish in the sentence is connected and taking work right now. The depth of a pool varies by country and hour; exits on phones come and go.";
        fix "Retry after 5 to 30 seconds, or ask for less: leave the city or state away. Operators: `outgate exits list` shows what is connected; an exit that should be there tells in its own log why it cannot dial in.";
    }

    ExitLost exit_lost() {
        Exit 502 Some(ErrorType::ConnectionTerminated);
        Now, Temporary, Nobody, HostUnreachable;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the exit was lost";
        cause "The connection to the exit broke while it carried the request: its network changed, its machine slept, its process ended. In the middle of a tunnel there is no answer; the tunnel is reset and only the record says so.";
        fix "Retry at once on a new connection, which takes another exit. If it is always the same exit (`X-Outgate-Exit`, and `exit` in the records), its link is bad: tell its owner or drain it with `outgate exits drain ID`.";
    }

    ExitRefused exit_refused() {
        Exit 502 Some(ErrorType::ConnectionTerminated);
        Now, Temporary, ExitOwner, HostUnreachable;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the exit refused the tunnel";
        cause "The exit is connected but would not open this tunnel: it is draining, at its own limit, or an older version that does not know what it was asked for.";
        fix "Retry at once; the gateway takes another exit if there is one. The exit's own log names the reason. Update exits that are older than the gateway.";
    }

    SessionLost session_lost(session = "ab12") {
        Exit 502 Some(ErrorType::ConnectionTerminated);
        Now, Temporary, Nobody, HostUnreachable;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the exit of session '{session}' is gone";
        cause "A strict session is bound to one exit, and that exit has disconnected. The gateway does not silently continue from another address, because sites notice.";
        fix "Start a new session with another name, and log in again where the address matters. Without strict mode the gateway would have moved the session and said so in the answer's fields.";
    }

    ExitTimeout exit_timeout(seconds = "15") {
        Exit 504 Some(ErrorType::ConnectionTimeout);
        Backoff, Temporary, Nobody, HostUnreachable;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "no exit opened the tunnel within {seconds} s";
        cause "An exit got the request but did not say in time that it was connected to the target. Either the exit's network is slow, or the target does not answer it: many sites drop packets from addresses they dislike instead of refusing.";
        fix "Retry with growing waits. If only one target does this, compare it from elsewhere: the target is slow or blocks these exits. If all targets do, look at the exit that the records name.";
    }

    // ── target: the site, seen from the hop that connects ──────────────────────────────────────────────────────────

    DnsNotFound dns_not_found(host = "nosuch.example.com", rcode = "NXDOMAIN") {
        Target 502 Some(ErrorType::DnsError);
        Never, Structural, User, HostUnreachable;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the name {host} has no address ({rcode})";
        with "rcode" = "{rcode}";
        cause "The DNS answered that there is no such name (NXDOMAIN), or that the name is there and has no address (NOERROR). This is an answer, not a failure to get one.";
        fix "Check the spelling of the host. If the name works elsewhere, it is internal or very new: the hop that connects (the exit, if there is one) resolves it, not the client. A negative answer can be cached for some minutes.";
    }

    DnsFailed dns_failed(host = "example.com", rcode = "SERVFAIL") {
        Target 502 Some(ErrorType::DnsError);
        Backoff, Temporary, TargetOwner, HostUnreachable;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the name {host} could not be resolved: {rcode}";
        with "rcode" = "{rcode}";
        cause "The resolver gave up with the code in the sentence. SERVFAIL mostly means that the domain's own name servers are down or its DNSSEC signatures are broken; REFUSED that the resolver does not serve this gateway.";
        fix "Retry with growing waits. If it is one domain, its owner has to repair the DNS (`dig +trace NAME` shows where). If it is every domain, the resolver of the gateway or exit is at fault.";
    }

    DnsTimeout dns_timeout(host = "example.com") {
        Target 504 Some(ErrorType::DnsTimeout);
        Backoff, Temporary, Operator, HostUnreachable;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "the name {host} was not resolved in time";
        cause "No resolver answered before the deadline: it is down, port 53 is filtered, or packets are lost on the way.";
        fix "Retry with growing waits. Operators: ask the configured resolver directly (`dig @RESOLVER NAME`) from the machine of the gateway or exit that connects. Above 200 ms DNS is worth repairing even when nothing times out.";
    }

    TargetRefused target_refused(host = "example.com", port = "8443") {
        Target 502 Some(ErrorType::ConnectionRefused);
        Now, Temporary, TargetOwner, ConnectionRefused;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{host}:{port} refused the connection";
        cause "The target's machine answered that nothing listens on this port, or a firewall in front of it said so. It may be restarting, or the port is wrong.";
        fix "Check the port, then retry once at once. If a direct connection from elsewhere works, the target refuses this exit's address: take another exit or session.";
    }

    TargetUnreachable target_unreachable(host = "example.com", port = "443") {
        Target 502 Some(ErrorType::DestinationIpUnroutable);
        Now, Temporary, TargetOwner, NetworkUnreachable;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "there is no route to {host}:{port}";
        cause "The network says that the target's address cannot be reached. With a target that has only IPv6 addresses, the hop that connects may simply have no IPv6.";
        fix "Retry once at once, then through another exit. If all targets fail like this, the hop that connects has lost its network; if only IPv6 targets do, it has no IPv6.";
    }

    TargetReset target_reset(host = "example.com", port = "443") {
        Target 502 Some(ErrorType::ConnectionTerminated);
        Now, Temporary, TargetOwner, ConnectionRefused;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{host}:{port} reset the connection";
        cause "The target, or something in front of it, broke the connection off before it answered. Overload and restarts do that, and so do filters that dislike the client's address or its TLS fingerprint.";
        fix "Retry once at once on a fresh connection, then with another exit. A reset that always comes at the same point of the exchange is a filter at the target, not chance.";
    }

    ConnectTimeout connect_timeout(host = "example.com", port = "443", seconds = "10") {
        Target 504 Some(ErrorType::ConnectionTimeout);
        Backoff, Temporary, TargetOwner, HostUnreachable;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{host}:{port} did not accept a connection within {seconds} s";
        cause "The target's name resolved, but none of its addresses answered the connection attempt in time. It is down or overloaded, or a firewall drops packets from this address without a word.";
        fix "Retry with growing waits. Compare with a direct connection: if that works, the target drops this exit's address, so take another exit. The deadline is the gateway's connect timeout.";
    }

    ResponseTimeout response_timeout(host = "example.com", seconds = "60") {
        Target 504 Some(ErrorType::HttpResponseTimeout);
        Backoff, Temporary, TargetOwner, HostUnreachable;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{host} did not answer within {seconds} s";
        cause "The target accepted the request and then sent no answer in time. Slow pages, long polls and sites that hold suspicious visitors in a tar pit look alike from here.";
        fix "Retry only if the request is safe to repeat: the target may have carried it out. If the target needs this long by nature, use CONNECT (inside a tunnel only the idle timeout applies), or have the operator raise the response timeout.";
    }

    ResponseIncomplete response_incomplete(host = "example.com") {
        Target 502 Some(ErrorType::HttpResponseIncomplete);
        Now, Temporary, TargetOwner, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{host} closed the connection before its answer was complete";
        cause "The target ended the connection before its answer's header was complete, or without any answer. If the header had already gone to the client, the connection is reset instead, so that a shortened body cannot look whole.";
        fix "Retry once at once if the request is safe to repeat. If it returns, the target crashes on this request or closes idle connections very early: look at its log, or compare with a direct request.";
    }

    ResponseMalformed response_malformed(host = "example.com", what = "a space before a colon") {
        Target 502 Some(ErrorType::HttpProtocolError);
        Now, Structural, TargetOwner, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{host} sent a malformed answer: {what}";
        cause "What came back is not a well-formed HTTP answer, or can be read in two ways. Often the port speaks something else: TLS on a port that was asked in clear, or no HTTP at all.";
        fix "Check scheme and port of the URL first (`http://` to port 443 ends here). If they are right, the target has to repair its server; through CONNECT the client can judge the answer itself.";
    }

    ResponseHeaderTooLarge response_header_too_large(host = "example.com", limit = "65536 bytes") {
        Target 502 Some(ErrorType::HttpResponseHeaderSectionSize);
        Now, Structural, TargetOwner, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{host} sent an answer whose header is over the limit of {limit}";
        cause "The fields of the target's answer are larger or more numerous than the gateway accepts, mostly through many or very large cookies.";
        fix "Clear the cookies for this site, or use CONNECT, where the gateway does not read answers. The operator can raise the limit in the gateway's configuration.";
    }

    UpgradeFailed upgrade_failed(host = "example.com") {
        Target 502 Some(ErrorType::HttpUpgradeFailed);
        Now, Structural, TargetOwner, GeneralFailure;
        wait Wait::Unknown;
        Gateway, Raised::Yes;
        says "{host} did not carry out the upgrade correctly";
        cause "The request asked to switch protocols (WebSocket mostly), and the target answered 101 in a way that does not fit: to another protocol, or without having been asked.";
        fix "Let the client open WebSockets through CONNECT, as browsers do, so that nothing in between takes part in the upgrade. Else compare the target's answer to a direct request.";
    }

    TlsHandshakeFailed tls_handshake_failed(host = "example.com") {
        Target 502 Some(ErrorType::TlsProtocolError);
        Now, Temporary, TargetOwner, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "the TLS handshake with {host} failed";
        cause "A hop that speaks TLS itself could not agree with the other side: no common version or cipher, a port that does not speak TLS, or a connection that broke in between.";
        fix "Retry once at once. If it returns, look at the port with `openssl s_client -connect HOST:PORT -servername HOST`. In a CONNECT tunnel the gateway takes no part in TLS, and the error is between client and target.";
    }

    TlsCertificateInvalid tls_certificate_invalid(host = "example.com", what = "expired") {
        Target 502 Some(ErrorType::TlsCertificateError);
        Abort, Structural, TargetOwner, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "the certificate of {host} is not valid: {what}";
        cause "A hop that speaks TLS itself does not trust the other side's certificate: expired, for another name, or from an unknown issuer. Somebody may be reading along, so nothing was sent.";
        fix "Do not switch verification off. Check the clock of the machine, then the certificate (`openssl s_client -connect HOST:PORT -servername HOST`); the owner of the host has to renew it. A private issuer belongs into the trust store of the hop that connects.";
    }

    // ── transport: the way to the proxy; seen only from the user's end ─────────────────────────────────────────────

    ProxyDnsFailed proxy_dns_failed(proxy = "proxy.example.com:8080") {
        Transport 502 Some(ErrorType::DnsError);
        Fix, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "the proxy's name in {proxy} could not be resolved";
        cause "The client's own resolver has no address for the proxy's host name. No request was sent.";
        fix "Check the spelling of the proxy's host and the DNS of the client's network (`dig HOST`). A user name or secret with an unencoded `@` or `/` in the proxy's URL also ends up as part of the host.";
    }

    ProxyRefused proxy_refused(proxy = "proxy.example.com:8080") {
        Transport 502 Some(ErrorType::ConnectionRefused);
        Fix, Structural, User, ConnectionRefused;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "the proxy {proxy} refused the connection";
        cause "Nothing listens on the proxy's address and port: wrong port, a gateway that is not running, or one that listens only on its loopback address.";
        fix "Compare the port with the one you were given. Operators: check that the gateway runs and that its `--listen` address can be reached from outside (127.0.0.1 cannot).";
    }

    ProxyUnreachable proxy_unreachable(proxy = "proxy.example.com:8080") {
        Transport 502 Some(ErrorType::DestinationIpUnroutable);
        Backoff, Temporary, User, NetworkUnreachable;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "there is no route to the proxy {proxy}";
        cause "The client's network cannot reach the proxy's address: no connection, a VPN that is down, or IPv6 without a route.";
        fix "Check the client's own network first, then try the proxy's other address family or another network.";
    }

    ProxyTimeout proxy_timeout(proxy = "proxy.example.com:8080", seconds = "10") {
        Transport 504 Some(ErrorType::ConnectionTimeout);
        Backoff, Temporary, Operator, HostUnreachable;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "the proxy {proxy} did not answer within {seconds} s";
        cause "The proxy's address does not answer: a firewall drops the packets, the machine is down, or it is too busy to accept connections.";
        fix "Try from another network to find out whose firewall it is. If nobody can reach the proxy, tell its operator the time in UTC and the client's address.";
    }

    ProxyReset proxy_reset(proxy = "proxy.example.com:8080") {
        Transport 502 Some(ErrorType::ConnectionTerminated);
        Now, Temporary, Operator, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "the connection to the proxy {proxy} was reset";
        cause "The connection to the proxy broke before it answered, or a tunnel was cut in the middle: a restart, a middlebox, or a fault that the gateway could no longer tell in-band and has in its record.";
        fix "Retry at once on a fresh connection if the request is safe to repeat. For a tunnel that was cut, the key's list of last faults names the reason under the request id.";
    }

    ProxyTlsFailed proxy_tls_failed(proxy = "proxy.example.com:8443", what = "unknown issuer") {
        Transport 502 Some(ErrorType::TlsProtocolError);
        Fix, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "TLS with the proxy {proxy} failed: {what}";
        cause "The client and the proxy itself could not set up TLS: `https://` for a plain port, a certificate that the client does not trust, or a middlebox.";
        fix "Use `http://` in the proxy's URL unless its port takes TLS; https *targets* need nothing more. Otherwise check the certificate's name and issuer. Do not switch verification off: the credentials go through this connection.";
    }

    ProxyNotAProxy proxy_not_a_proxy(proxy = "proxy.example.com:8080") {
        Transport 502 Some(ErrorType::HttpProtocolError);
        Fix, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "{proxy} does not answer like a proxy";
        cause "Something answers at the address, but not a proxy of the expected kind: a web server, a captive portal, a SOCKS port asked in HTTP or the reverse.";
        fix "Check host, port and scheme of the proxy's URL. Behind a captive portal (hotel, train), log in first. `outgate doctor --proxy URL` says what answers there.";
    }

    // ── origin: the target's own answers; seen only from the user's end ────────────────────────────────────────────

    TargetUnauthorized target_unauthorized(host = "example.com") {
        Origin 401 None;
        Fix, Structural, User, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "{host} itself asks for a login (401)";
        cause "The target wants credentials of its own. The proxy works: it passed the answer through unchanged.";
        fix "Send the target's credentials in `Authorization`. The proxy's credentials belong in `Proxy-Authorization`; do not confuse the two.";
    }

    TargetForbidden target_forbidden(host = "example.com") {
        Origin 403 None;
        Rotate, Structural, TargetOwner, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "{host} itself refused the request (403)";
        cause "The target denies this address, this client or this page. The proxy works: a refusal by the proxy carries `X-Proxy-Error`, this answer does not.";
        fix "Retry through another exit or session. If every exit is refused, the target judges something else: headers, cookies, the rate, or the account.";
    }

    TargetChallenged target_challenged(host = "example.com") {
        Origin 403 None;
        Rotate, Structural, TargetOwner, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "{host} answered with a challenge instead of the page";
        cause "The target, or the service in front of it, wants to see a person: a CAPTCHA, a script to run, an interstitial page. The status may even be 200.";
        fix "Take another exit or session, slow down, and keep one session per identity. Repeating the same request from the same address makes it last longer.";
    }

    TargetRateLimited target_rate_limited(host = "example.com") {
        Origin 429 None;
        Backoff, Temporary, User, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "{host} itself limits the rate (429)";
        cause "The target counts requests from this address or account and has had enough for now. It is not the plan's limit: that answer carries `X-Proxy-Error: rate_limited`.";
        fix "Wait as long as the target's `Retry-After` says, and send less to this target from one exit. Other targets are not concerned.";
    }

    TargetUnavailable target_unavailable(host = "example.com") {
        Origin 503 None;
        Backoff, Temporary, TargetOwner, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "{host} itself is not available (503)";
        cause "The target says that it is overloaded or in maintenance. Some sites also answer unwanted visitors like this.";
        fix "Honour its `Retry-After`, else wait with growing delays. If a direct request works at the same time, it is aimed at the exit: take another.";
    }

    TargetGatewayError target_gateway_error(host = "example.com", status = "502") {
        Origin 502 None;
        Now, Temporary, TargetOwner, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "a gateway on the side of {host} failed ({status})";
        cause "A load balancer or CDN in front of the target could not reach its own server (502 or 504). The proxy's own 502 and 504 carry `X-Proxy-Error`; this one does not.";
        fix "Retry once at once, then with growing waits. Only the target's owner can repair it.";
    }

    TargetError target_error(host = "example.com", status = "500") {
        Origin 500 None;
        Now, Temporary, TargetOwner, GeneralFailure;
        wait Wait::Unknown;
        UserEnd, Raised::Yes;
        says "{host} itself failed with {status}";
        cause "The target's server answered with an error of its own (5xx).";
        fix "Retry once at once if the request is safe to repeat, then with growing waits. If only some requests fail, compare them; the fault is in the target.";
    }
}
