//! What the operator allows.

use outgate_faults::Slug;
use outgate_testkit::dns::{Answer, DnsServer};
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::origin::Origin;
use outgate_testkit::wire::{Credentials, Wire};

use super::configured::Configured;
use super::outputs::{connect, connect_as, get, local_exit, new_key, provoked, quickstart};
use crate::OUTGATE;

#[tokio::test]
async fn a_blocked_key() {
    let gateway = quickstart(&[]).start();
    let (user, password) = new_key(&gateway, &[]);
    let _done = gateway.admin(&["keys", "block", &user, "--why", "sends spam"]);
    let (_wire, reply) = connect_as(&gateway, Credentials { user: &user, password: &password }, "echo.outgate:80").await;
    let expected = provoked(Slug::KeyBlocked, "identify", "this key is blocked by an administrator");
    let record = expected.check(&gateway, &reply).await;
    assert_eq!(record["detail"], "sends spam", "the operator's own note is in the record");
    assert!(!String::from_utf8_lossy(&reply.raw).contains("spam"), "and nowhere else");
}

#[tokio::test]
async fn ports_and_addresses_as_a_user_gets_them() {
    let dns = DnsServer::start(&[("inside.example", Answer::ip("10.0.0.5")), ("cloud.example", Answer::ip("169.254.169.254"))]);
    let gateway = Quickstart::guarded(OUTGATE).dns(dns.address()).start();
    let exit = local_exit(&gateway);
    let private =
        |stage, host: &str, class: &str| provoked(Slug::TargetPrivate, stage, format!("{host} is not a public address: {class}"));
    let metadata = |stage, host: &str| {
        let sentence = format!("{host} is a cloud metadata service, which no proxy request may reach");
        provoked(Slug::TargetMetadata, stage, sentence)
    };
    let rfc1918 = "private network (RFC 1918)";
    let rows = [
        ("", "example.com:25", provoked(Slug::PortDenied, "admit", "port 25 is not allowed (allowed: 80, 443, 8080, 8443)")),
        ("", "10.0.0.5:80", private("admit", "10.0.0.5", rfc1918)),
        ("", "127.0.0.1:443", private("admit", "127.0.0.1", "loopback")),
        ("", "[::1]:443", private("admit", "[::1]", "loopback")),
        // Names are judged by what they resolve to, at the hop that connects.
        ("", "inside.example:443", private("dial", "inside.example", rfc1918)),
        ("-pool-residential", "inside.example:443", private("dial", "inside.example", rfc1918).at_exit(&exit)),
        ("-pool-residential", "10.0.0.5:80", private("dial", "10.0.0.5", rfc1918).at_exit(&exit)),
        // An odd spelling of a forbidden address is named as what it is.
        ("", "0x7f.1:80", private("read", "0x7f.1", "loopback")),
        ("", "169.254.169.254:80", metadata("admit", "169.254.169.254")),
        ("", "metadata.google.internal:80", metadata("admit", "metadata.google.internal")),
        ("", "cloud.example:80", metadata("dial", "cloud.example")),
    ];
    for (modifiers, target, expected) in rows {
        let (_wire, reply) = connect(&gateway, modifiers, target).await;
        expected.check(&gateway, &reply).await;
    }
    let (_wire, reply) = get(&gateway, "", "example.com:25", "/").await;
    provoked(Slug::PortDenied, "admit", "port 25 is not allowed (allowed: 80, 443, 8080, 8443)").check(&gateway, &reply).await;
}

#[tokio::test]
async fn named_rules() {
    let origin = Origin::start();
    let dns = DnsServer::start(&[("second.example", Answer::ip("127.0.0.2"))]);
    let text = "policy.ports = [\"1024-65535\"]\npolicy.allow_targets = [\"127.0.0.0/8\"]\n\
                [[listen]]\naddress = \"127.0.0.1:0\"\n\
                [[policy.rules]]\nname = \"no-mail\"\neffect = \"deny\"\nhosts = [\"mail.example\"]\n\
                [[policy.rules]]\nname = \"no-second-loopback\"\neffect = \"deny\"\nnets = [\"127.0.0.2/32\"]\n";
    let gateway = Configured::start(&format!("dns.servers = [\"{}\"]\n{text}", dns.address()));
    let denied =
        |stage, host: &str, rule: &str| provoked(Slug::TargetDenied, stage, format!("{host} is denied by the rule '{rule}'"));
    let rows = [
        ("in.mail.example:8080", denied("admit", "in.mail.example", "no-mail")),
        ("127.0.0.2:8080", denied("admit", "127.0.0.2", "no-second-loopback")),
        ("second.example:8080", denied("dial", "second.example", "no-second-loopback")),
    ];
    let proxy = gateway.listeners[0];
    for (target, expected) in rows {
        let (_wire, reply) = Wire::connect_through(proxy, Some(gateway.credentials()), target).await.expect("an answer");
        expected.check(&gateway, &reply).await;
    }
    let allowed = Wire::connect_through(proxy, Some(gateway.credentials()), &origin.address().to_string()).await;
    assert_eq!(allowed.expect("an answer").1.status, 200, "what no rule names passes");
}

#[tokio::test]
async fn pools_and_countries_of_the_plan() {
    let gateway = quickstart(&[]).start();
    let pool = |name: &str| provoked(Slug::PoolDenied, "admit", format!("pool '{name}' is not open to this key"));
    let (_wire, reply) = connect(&gateway, "-pool-nosuch", "echo.outgate:80").await;
    pool("nosuch").check(&gateway, &reply).await;
    let _done = gateway.admin(&["plans", "set", "quickstart", "--pool", "residential", "--country", "de"]);
    let (_wire, reply) = connect(&gateway, "", "echo.outgate:80").await;
    pool("direct").check(&gateway, &reply).await;
    let (_wire, reply) = connect(&gateway, "-pool-residential-country-us", "echo.outgate:80").await;
    provoked(Slug::CountryDenied, "admit", "country 'us' is not open to this key").check(&gateway, &reply).await;
}
