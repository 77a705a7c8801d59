//! The site, seen from the hop that connects.

use outgate_faults::Slug;
use outgate_testkit::dead::{BlackHole, RefusingPort};
use outgate_testkit::dns::{Answer, DnsServer};
use outgate_testkit::doors::Doors;
use outgate_testkit::script::{self, Script, Step};
use outgate_testkit::wire::{Ending, Wire};

use super::outputs::{Provoked, ask, connect, doors, get, id, local_exit, login, provoked, quickstart};
use super::trial::{Trial, Way};

const EXIT: &str = "-pool-residential";

scenes![names_that_do_not_resolve, addresses_that_do_not_answer, answers_that_are_none, tunnels_that_the_target_resets];

async fn names_that_do_not_resolve(trial: &mut Trial) {
    let dns = DnsServer::start(&[
        ("broken.example", Answer::ServFail),
        ("refused.example", Answer::Refused),
        ("silent.example", Answer::Silence),
        ("empty.example", Answer::Addresses { ips: Vec::new(), ttl: 60 }),
    ]);
    let quick = [("OUTGATE_DNS_TIMEOUT", "1s"), ("OUTGATE_DNS_ATTEMPTS", "1")];
    let gateway = Doors::open(quickstart(&quick).dns(dns.address()), "");
    let exit = local_exit(&gateway);
    let without = |host: &str, rcode: &str| {
        let sentence = format!("the name {host} has no address ({rcode})");
        provoked(Slug::DnsNotFound, "dial", sentence).params(&format!("; rcode=\"{rcode}\""))
    };
    let unknown = |host: &str| without(host, "NXDOMAIN");
    let empty = |host: &str| without(host, "NOERROR");
    let failed = |host: &str, rcode: &str| {
        let sentence = format!("the name {host} could not be resolved: {rcode}");
        provoked(Slug::DnsFailed, "dial", sentence).params(&format!("; rcode=\"{rcode}\""))
    };
    let timeout = |host: &str| provoked(Slug::DnsTimeout, "dial", format!("the name {host} was not resolved in time"));
    type Row<'a> = (&'a str, &'a dyn Fn(&str) -> Provoked);
    let servfail = |host: &str| failed(host, "SERVFAIL");
    let refused = |host: &str| failed(host, "REFUSED");
    let rows: [Row<'_>; 5] = [
        ("nosuch.example", &unknown),
        ("empty.example", &empty),
        ("broken.example", &servfail),
        ("refused.example", &refused),
        ("silent.example", &timeout),
    ];
    for (host, expected) in rows {
        let target = format!("{host}:8080");
        trial.ask(&gateway, "", &target, &expected(host)).await;
        // The same through an exit, which resolves by itself and names itself.
        trial.ask(&gateway, EXIT, &target, &expected(host).at_exit(&exit)).await;
    }
}

async fn addresses_that_do_not_answer(trial: &mut Trial) {
    let (refusing, hole) = (RefusingPort::reserve(), BlackHole::open());
    let start = quickstart(&[("OUTGATE_TIMEOUTS_CONNECT", "1s")]).args(["--allow-target", "240.0.0.0/4"]);
    let gateway = Doors::open(start, "");
    let exit = local_exit(&gateway);
    let at = refusing.address();
    let refused = || provoked(Slug::TargetRefused, "dial", format!("{at} refused the connection"));
    let unreachable = || provoked(Slug::TargetUnreachable, "dial", "there is no route to 255.255.255.255:8080");
    let nowhere = "255.255.255.255:8080";
    let sentence = format!("{} did not accept a connection within 1 s", hole.address());
    let rows = [
        ("", at.to_string(), refused()),
        (EXIT, at.to_string(), refused().at_exit(&exit)),
        ("", nowhere.to_owned(), unreachable()),
        (EXIT, nowhere.to_owned(), unreachable().at_exit(&exit)),
        ("", hole.address().to_string(), provoked(Slug::ConnectTimeout, "dial", sentence)),
    ];
    for (modifiers, target, expected) in rows {
        trial.ask(&gateway, modifiers, &target, &expected).await;
    }
}

fn answers(bytes: &[u8]) -> Vec<Step> {
    vec![Step::ReadHead, Step::Write(bytes.to_vec()), Step::Close]
}

async fn answers_that_are_none(trial: &mut Trial) {
    let gateway = doors(&[("OUTGATE_TIMEOUTS_RESPONSE", "2s")], "");
    let exit = local_exit(&gateway);
    let timeout = || provoked(Slug::ResponseTimeout, "relay", "127.0.0.1 did not answer within 2 s");
    let incomplete =
        || provoked(Slug::ResponseIncomplete, "relay", "127.0.0.1 closed the connection before its answer was complete");
    let malformed = |what: &str| provoked(Slug::ResponseMalformed, "relay", format!("127.0.0.1 sent a malformed answer: {what}"));
    let too_large = || {
        let sentence = "127.0.0.1 sent an answer whose header is over the limit of 65536 bytes";
        provoked(Slug::ResponseHeaderTooLarge, "relay", sentence)
    };
    let upgrade = || provoked(Slug::UpgradeFailed, "relay", "127.0.0.1 did not carry out the upgrade correctly");
    let switched: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
    type Row<'a> = (Vec<Step>, Box<dyn Fn() -> Provoked + 'a>);
    let rows: Vec<Row<'_>> = vec![
        (script::silence(), Box::new(timeout)),
        (script::close_before_response(), Box::new(incomplete)),
        (script::truncated_head(), Box::new(incomplete)),
        (script::garbage(), Box::new(|| malformed("it is not HTTP/1"))),
        (answers(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), Box::new(|| malformed("it is not HTTP/1"))),
        (
            answers(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            Box::new(|| malformed("two different values of Content-Length")),
        ),
        (script::big_header(70_000), Box::new(too_large)),
        (answers(switched), Box::new(upgrade)),
    ];
    for (steps, expected) in rows {
        let origin = Script::start(steps);
        let target = origin.address().to_string();
        trial.ask(&gateway, "", &target, &expected()).await;
        trial.ask(&gateway, EXIT, &target, &expected().at_exit(&exit)).await;
    }
    // Asked for something else than what it switches to, which only HTTP/1.1 can ask.
    let origin = Script::start(answers(switched));
    let at = origin.address();
    let asked = format!("Connection: upgrade\r\nUpgrade: websocket\r\n{}", login(&gateway, ""));
    let (_wire, reply) = ask(&gateway, &format!("GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n{asked}\r\n")).await;
    upgrade().check(&gateway, &reply).await;
}

/// In the middle of a tunnel there is no room for a reason: it is reset, and the record says why.
async fn tunnels_that_the_target_resets(trial: &mut Trial) {
    let gateway = doors(&[], "");
    let origin = Script::start(vec![Step::Write(b"hello".to_vec()), Step::Gate, Step::Reset]);
    let at = origin.address().to_string();
    let reset = provoked(Slug::TargetReset, "settle", format!("{at} reset the connection"));
    trial.cut(&gateway, &at, b"hello", || origin.release(), &reset).await;
    let origin = Script::start(script::reset_before_response());
    let at = origin.address().to_string();
    let reset = provoked(Slug::TargetReset, "relay", format!("{at} reset the connection"));
    for way in trial.ways().iter().filter(|way| way.forwards()) {
        let user = gateway.user("");
        trial.ask_by(*way, &gateway, Some(gateway.credentials(&user)), &at, &reset).await;
    }
}

/// A reset where an answer was due can be told; so can one through an exit, which saw it.
#[tokio::test]
async fn a_target_that_resets() {
    let gateway = quickstart(&[]).start();
    let exit = local_exit(&gateway);
    let origin = Script::start(script::reset_before_response());
    let at = origin.address();
    let reset = |stage| provoked(Slug::TargetReset, stage, format!("{at} reset the connection"));
    let (_wire, reply) = get(&gateway, "", &at.to_string(), "/").await;
    reset("relay").check(&gateway, &reply).await;
    let (_wire, reply) = get(&gateway, EXIT, &at.to_string(), "/").await;
    reset("relay").at_exit(&exit).check(&gateway, &reply).await;

    // In the middle of a tunnel only the record can say it.
    let origin = Script::start(vec![Step::Write(b"hello".to_vec()), Step::Gate, Step::Reset]);
    let at = origin.address();
    for modifiers in ["", EXIT] {
        let (mut wire, reply) = connect(&gateway, modifiers, &at.to_string()).await;
        assert_eq!(wire.exactly(5).await.as_deref(), Ok(&b"hello"[..]));
        origin.release();
        let mut reset = provoked(Slug::TargetReset, "settle", format!("{at} reset the connection"));
        if modifiers == EXIT {
            reset = reset.at_exit(&exit);
        }
        let record = reset.check_cut(&gateway, &mut wire, &id(&reply), 200).await;
        assert_eq!(record["ended_by"], "target_lost");
    }
}

/// An answer that breaks off after its head: only a reset keeps it from looking whole.
#[tokio::test]
async fn answers_that_break_off() {
    let gateway = quickstart(&[]).start();
    let exit = local_exit(&gateway);
    let incomplete = "127.0.0.1 closed the connection before its answer was complete";
    let bad_chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".to_vec();
    let bad_chunk = vec![Step::ReadHead, Step::Write(bad_chunk), Step::Gate, Step::Write(b"zz\r\n".to_vec()), Step::Stall];
    let rows = [
        (script::truncated_length(), Slug::ResponseIncomplete, incomplete.to_owned()),
        (script::truncated_chunked(), Slug::ResponseIncomplete, incomplete.to_owned()),
        (bad_chunk, Slug::ResponseMalformed, "127.0.0.1 sent a malformed answer: chunk without a size".to_owned()),
        (script::reset_mid_response(), Slug::TargetReset, String::new()),
    ];
    for (steps, slug, sentence) in rows {
        for modifiers in ["", EXIT] {
            let origin = Script::start(steps.clone());
            let at = origin.address();
            let mut wire = Wire::connect(gateway.proxy()).await.expect("the gateway listens");
            let request = format!("GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n{}\r\n", login(&gateway, modifiers));
            wire.send(request.as_bytes()).await.expect("the gateway reads");
            let head = wire.head().await.expect("the head comes before it breaks");
            assert_eq!((head.status, head.header("X-Proxy-Error")), (200, None));
            origin.release();
            let sentence = if sentence.is_empty() { format!("{at} reset the connection") } else { sentence.clone() };
            let mut expected = provoked(slug, "relay", sentence);
            if modifiers == EXIT {
                expected = expected.at_exit(&exit);
            }
            expected.check_cut(&gateway, &mut wire, &id(&head), 200).await;
        }
    }
}

/// Silence in the middle ends by the idle timeout: never cleanly, and with its reason in the record.
#[tokio::test]
async fn silence_in_the_middle() {
    let gateway = quickstart(&[("OUTGATE_TIMEOUTS_IDLE", "1s")]).start();
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789".to_vec();
    let origin = Script::start(vec![Step::ReadHead, Step::Write(half), Step::Stall]);
    let at = origin.address();
    let mut wire = Wire::connect(gateway.proxy()).await.expect("the gateway listens");
    let request = format!("GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n{}\r\n", login(&gateway, ""));
    wire.send(request.as_bytes()).await.expect("the gateway reads");
    let head = wire.head().await.expect("the head comes");
    let expected = provoked(Slug::ResponseTimeout, "relay", "127.0.0.1 did not answer within 1 s");
    expected.check_cut(&gateway, &mut wire, &id(&head), 200).await;

    let (mut wire, reply) = connect(&gateway, "", &at.to_string()).await;
    assert_eq!(wire.drain(|_| {}).await, Ok(Ending::Reset));
    let record = gateway.record(&id(&reply)).await;
    // Nobody failed: a tunnel is idle because its ends are.
    assert_eq!((&record["outcome"], &record["ended_by"]), (&"ok".into(), &"idle".into()));
}
