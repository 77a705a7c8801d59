//! What the operator allows.

use outgate_faults::Slug;
use outgate_testkit::dns::{Answer, DnsServer};
use outgate_testkit::doors::Doors;
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::origin::Origin;
use outgate_testkit::wire::Credentials;

use super::outputs::{connect, connect_as, doors, local_exit, new_key, provoked, quickstart};
use super::trial::{Trial, Way};
use crate::OUTGATE;

scenes![a_blocked_key, ports_and_addresses_as_a_user_gets_them, named_rules, pools_and_countries_of_the_plan];

async fn a_blocked_key(trial: &mut Trial) {
    let gateway = doors(&[], "");
    let (user, password) = new_key(&gateway, &[]);
    let _done = gateway.admin(&["keys", "block", &user, "--why", "sends spam"]);
    let who = Credentials { user: &user, password: &password };
    let expected = provoked(Slug::KeyBlocked, "identify", "this key is blocked by an administrator");
    trial.ask_as(&gateway, Some(who), "echo.outgate:80", &expected).await;
    let (_wire, reply) = connect_as(&gateway, who, "echo.outgate:80").await;
    let record = expected.check(&gateway, &reply).await;
    assert_eq!(record["detail"], "sends spam", "the operator's own note is in the record");
    assert!(!String::from_utf8_lossy(&reply.raw).contains("spam"), "and nowhere else");
}

async fn ports_and_addresses_as_a_user_gets_them(trial: &mut Trial) {
    let dns = DnsServer::start(&[("inside.example", Answer::ip("10.0.0.5")), ("cloud.example", Answer::ip("169.254.169.254"))]);
    let gateway = Doors::open(Quickstart::guarded(OUTGATE).dns(dns.address()), "");
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
        trial.ask(&gateway, modifiers, target, &expected).await;
    }
}

async fn named_rules(trial: &mut Trial) {
    let origin = Origin::start();
    let dns = DnsServer::start(&[("second.example", Answer::ip("127.0.0.2"))]);
    let rules = "[[policy.rules]]\nname = \"no-mail\"\neffect = \"deny\"\nhosts = [\"mail.example\"]\n\
                [[policy.rules]]\nname = \"no-second-loopback\"\neffect = \"deny\"\nnets = [\"127.0.0.2/32\"]\n";
    let gateway = Doors::open(quickstart(&[]).dns(dns.address()), rules);
    let denied =
        |stage, host: &str, rule: &str| provoked(Slug::TargetDenied, stage, format!("{host} is denied by the rule '{rule}'"));
    let rows = [
        ("in.mail.example:8080", denied("admit", "in.mail.example", "no-mail")),
        ("127.0.0.2:8080", denied("admit", "127.0.0.2", "no-second-loopback")),
        ("second.example:8080", denied("dial", "second.example", "no-second-loopback")),
    ];
    for (target, expected) in rows {
        trial.ask(&gateway, "", target, &expected).await;
    }
    let (_wire, reply) = connect(&gateway, "", &origin.address().to_string()).await;
    assert_eq!(reply.status, 200, "what no rule names passes");
}

async fn pools_and_countries_of_the_plan(trial: &mut Trial) {
    let gateway = doors(&[], "");
    let pool = |name: &str| provoked(Slug::PoolDenied, "admit", format!("pool '{name}' is not open to this key"));
    trial.ask(&gateway, "-pool-nosuch", "echo.outgate:80", &pool("nosuch")).await;
    let _done = gateway.admin(&["plans", "set", "quickstart", "--pool", "residential", "--country", "de"]);
    trial.ask(&gateway, "", "echo.outgate:80", &pool("direct")).await;
    let country = provoked(Slug::CountryDenied, "admit", "country 'us' is not open to this key");
    trial.ask(&gateway, "-pool-residential-country-us", "echo.outgate:80", &country).await;
}
