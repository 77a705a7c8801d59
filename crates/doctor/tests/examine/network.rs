//! What is wrong around a proxy: its port, its certificate, the clock, a network that wants a log-in first.

use outgate_doctor::{Health, roots};
use outgate_testkit::ca::{Ca, Validity};
use outgate_testkit::dead::RefusingPort;
use outgate_testkit::origin::Origin;
use outgate_testkit::script::{Script, Step};

use super::{case, site, verdict};

/// A server that answers everything so.
fn answering(answer: &str) -> Script {
    Script::start(vec![Step::ReadHead, Step::Write(answer.as_bytes().to_vec()), Step::Close])
}

const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nVia: 1.1 p\r\n\r\nok\n";

#[tokio::test]
async fn another_port_of_the_same_host() {
    let (origin, proxy, refusing) = (Origin::start(), answering(FINE), RefusingPort::reserve());
    let mut case = case(&format!("http://{}", refusing.address()), &origin.url("/ok"));
    case.other_ports = vec![refusing.address().port(), proxy.address().port()];
    let (name, report) = verdict(&case).await;
    assert_eq!(name, Some("wrong_port"));
    let next = &report.verdict.diagnosis.expect("a diagnosis").next;
    assert!(next.contains(&format!("http://{}", proxy.address())), "{next}");
}

#[tokio::test]
async fn certificates_of_the_proxy() {
    let (ours, others, origin) = (Ca::new(), Ca::new(), Origin::start());
    let pem = std::fs::read(ours.pem_path()).expect("the CA's file");
    let steps = || vec![Step::ReadHead, Step::Write(FINE.as_bytes().to_vec()), Step::Close];
    let good = Script::start_tls(steps(), ours.server(&["127.0.0.1"], Validity::Current, &[]));
    let expired = Script::start_tls(steps(), ours.server(&["127.0.0.1"], Validity::Expired, &[]));
    let renamed = Script::start_tls(steps(), ours.server(&["proxy.example"], Validity::Current, &[]));
    let unknown = Script::start_tls(steps(), others.server(&["127.0.0.1"], Validity::Current, &[]));
    let cases = [
        (&good, None, ""),
        (&expired, Some("proxy_tls_failed"), "is expired"),
        (&renamed, Some("proxy_tls_failed"), "is for another name"),
        (&unknown, Some("proxy_tls_failed"), "is signed by nobody"),
    ];
    for (proxy, expected, words) in cases {
        let mut case = case(&format!("https://k:s3cret@{}", proxy.address()), &origin.url("/ok"));
        case.roots = roots(Some(&pem)).expect("a CA");
        let (name, report) = verdict(&case).await;
        assert_eq!(name, expected, "{words}: {report:#?}");
        if let Some(diagnosis) = &report.verdict.diagnosis {
            assert!(diagnosis.sentence.contains(words), "{diagnosis:?}");
            // Nobody was told the credentials who could not prove to be the proxy.
            let told: Vec<String> = proxy.received().iter().map(|got| String::from_utf8_lossy(got).into_owned()).collect();
            assert!(!told.join("").contains("Proxy-Authorization"), "{told:?}");
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong() {
    let now = jiff::Timestamp::now();
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nVia: 1.1 p\r\nContent-Length: 3\r\n\r\nok\n");
    let (proxy, neutral, target) = (answering(&answer), answering(&answer), answering(&answer));
    let url = |script: &Script| format!("http://{}/", script.address());
    let mut right = case(&url(&proxy), &url(&neutral));
    right.target = Some(site(&url(&target).replace("127.0.0.1", "localhost")));
    assert_eq!(verdict(&right).await.0, None);
    let mut wrong = right.clone();
    wrong.now = || jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
    let (name, report) = verdict(&wrong).await;
    assert_eq!((name, report.verdict.health), (Some("clock_skew"), Health::Impaired));
    assert!(report.verdict.diagnosis.expect("a diagnosis").sentence.contains("ahead of"));
}

#[tokio::test]
async fn a_network_that_wants_a_log_in_first() {
    let portal = answering("HTTP/1.1 302 Found\r\nLocation: http://wifi.hotel.example/login\r\nContent-Length: 0\r\n\r\n");
    let refusing = RefusingPort::reserve();
    let neutral = format!("http://{}/", portal.address());
    let (name, report) = verdict(&case(&format!("http://{}", refusing.address()), &neutral)).await;
    assert_eq!(name, Some("captive_portal"));
    assert_eq!(report.verdict.diagnosis.map(|diagnosis| diagnosis.whose.name()), Some("your_network"));
    // A site that sends its visitors elsewhere is no portal.
    let moved = answering("HTTP/1.1 302 Found\r\nLocation: https://www.example.com/\r\nContent-Length: 0\r\n\r\n");
    let (name, _) = verdict(&case(&format!("http://{}", refusing.address()), &format!("http://{}/", moved.address()))).await;
    assert_eq!(name, Some("proxy_refused"));
}

#[tokio::test]
async fn an_address_that_the_proxy_saw() {
    let origin = Origin::start();
    let body = "sorry, your ip 203.0.113.77 is not whitelisted";
    let denied = format!("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let proxy = answering(&denied);
    let (_, report) = verdict(&case(&format!("http://k:s@{}", proxy.address()), &origin.url("/ok"))).await;
    let told = format!("{:?}", report.findings);
    assert!(told.contains("203.0.113.77"), "{told}");
}

#[tokio::test]
async fn a_login_that_a_url_can_not_say() {
    let origin = Origin::start();
    let proxy =
        answering("HTTP/1.1 407 Auth\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n");
    let (name, _) = verdict(&case(&format!("http://k:s@{}", proxy.address()), &origin.url("/ok"))).await;
    assert_eq!(name, Some("login_unsupported"));
}

#[tokio::test]
async fn an_exit_that_fails_while_others_work() {
    let origin = Origin::start();
    let through = |answer: &str| vec![Step::ReadHead, Step::Write(answer.as_bytes().to_vec()), Step::Close];
    let good = through("HTTP/1.1 200 OK\r\nX-Outgate-Exit: a\r\nVia: 1.1 p\r\nContent-Length: 3\r\n\r\nok\n");
    let bad = through(
        "HTTP/1.1 502 Bad Gateway (exit_lost)\r\nX-Proxy-Error: exit_lost\r\nX-Outgate-Request-Id: 1\r\nX-Outgate-Exit: b\r\n\
         Content-Length: 0\r\n\r\n",
    );
    // The connection that is only made, the first request, the neutral one; then the samples.
    let scripts = [[&good, &good, &good], [&good, &bad, &good], [&bad, &good, &good]].concat();
    let proxy = Script::start_each(scripts.into_iter().cloned().collect());
    let mut case = case(&format!("http://{}", proxy.address()), &origin.url("/ok"));
    case.samples = 6;
    let (name, report) = verdict(&case).await;
    assert_eq!((name, report.verdict.health), (Some("intermittent_by_exit"), Health::Impaired), "{report:#?}");
    let diagnosis = report.verdict.diagnosis.expect("a diagnosis");
    assert_eq!(diagnosis.fault.map(|slug| slug.name()), Some("exit_lost"));
    assert!(diagnosis.sentence.contains("through b"), "{}", diagnosis.sentence);
}
