//! Whose fault a failed request is: one thing is changed at a time, and what changes with it is to blame.

use outgate_client::classify::{Breakage, Confidence, Manner, Phase as At, Provenance, Verdict, Way};
use outgate_client::connect::{SocksRefusal, Upstream};
use outgate_faults::{Layer, Slug};

use crate::advice;
use crate::chart::Chart;
use crate::diagnosis::{Diagnosis, Whose};
use crate::exchange::{self, Ended, Exchange, broken};
use crate::reach;
use crate::site::Site;

/// A request that failed through the proxy, and the same one past it.
pub(crate) struct Suspect<'c, 'a> {
    pub(crate) chart: &'c Chart<'a>,
    pub(crate) upstream: &'c Upstream,
    pub(crate) site: &'c Site,
    pub(crate) proxied: &'c Exchange,
    pub(crate) direct: Option<&'c Exchange>,
}

/// Who gave the answer, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaker {
    /// The proxy, its exit, or whoever opens TLS for it.
    Proxy,
    /// The target.
    Target,
    /// Nobody: there is no answer.
    Nobody,
}

impl Suspect<'_, '_> {
    /// What is wrong. One or two more requests may be made to find out.
    pub(crate) async fn diagnose(&self) -> Diagnosis {
        advice::fitting(self.found().await, self.proxied)
    }

    async fn found(&self) -> Diagnosis {
        let direct_works = self.direct.is_some_and(Exchange::is_good);
        let (speaker, verdict) = self.verdict();
        if let Some(reply) = self.proxied.reply()
            && speaker != Speaker::Target
            && reach::is_portal(reply, self.site.target.host())
        {
            return reach::portal(format!("a captive portal answers for {}", self.site));
        }
        if let Ended::TargetName(_) = self.proxied.ended {
            return self.resolved_here();
        }
        let Some(slug) = verdict.slug else {
            let sentence = format!("{} through the proxy: {}", self.site, self.proxied.words());
            return Diagnosis::own(
                "unexpected_answer",
                None,
                Whose::Target,
                sentence,
                "Look at the answer: nothing in it names a fault.",
            );
        };
        // What names itself needs no experiments.
        if !names_itself(&verdict) && speaker != Speaker::Target {
            if let Some(diagnosis) = self.port_refused().await {
                return diagnosis;
            }
            if may_be_names(slug)
                && let Some(diagnosis) = self.names_fail(slug).await
            {
                return diagnosis;
            }
        }
        let sentence = self.sentence(&verdict, slug);
        match (speaker, direct_works) {
            (Speaker::Target, true) => Diagnosis::fault(slug, verdict.confidence, sentence),
            (Speaker::Target, false) => {
                let sentence = format!("{sentence}; without the proxy it {}", self.direct_words());
                self.targets_own(slug, verdict.confidence, sentence)
            }
            (Speaker::Proxy, _) => self.proxys_own(slug, &verdict, sentence, direct_works),
            (Speaker::Nobody, _) => self.wordless(slug, &verdict, sentence, direct_works),
        }
    }

    /// The classifier's verdict, told who spoke where the doctor knows more than one answer shows.
    pub(crate) fn verdict(&self) -> (Speaker, Verdict) {
        let proxy = self.chart.proxy();
        let verdict = self.proxied.verdict(&proxy, self.site);
        if self.proxied.reply().is_none() && !matches!(self.proxied.ended, Ended::Socks(_)) {
            return (Speaker::Nobody, verdict);
        }
        let spoke = match (self.proxied.way, verdict.provenance) {
            (Some(Way::Connect | Way::Socks), _) | (_, Provenance::Proxy | Provenance::Exit) => Speaker::Proxy,
            (Some(Way::Tunnelled), _) if self.is_opened() => Speaker::Proxy,
            (Some(Way::Forwarded), _) if verdict.confidence == Confidence::Guess && self.sounds_like_proxy() => Speaker::Proxy,
            _ => Speaker::Target,
        };
        let doubtful = spoke == Speaker::Proxy && verdict.provenance == Provenance::Origin;
        (spoke, if doubtful { self.proxied.verdict_of_proxy(&proxy, self.site) } else { verdict })
    }

    /// Whether somebody on the way opens TLS: then the answer may be that somebody's.
    fn is_opened(&self) -> bool {
        let doubted = |exchange: &Exchange| exchange.shown.as_ref().is_some_and(|shown| shown.doubt.is_some());
        doubted(self.proxied) && self.direct.is_some_and(|direct| direct.shown.is_some() && !doubted(direct))
    }

    /// The proxy's own pages name the same server as its first answer, which no target can have given; a target's page names the
    /// same server as past the proxy.
    fn sounds_like_proxy(&self) -> bool {
        let server =
            |exchange: Option<&Exchange>| exchange.and_then(|exchange| exchange.reply()?.header("server").map(str::to_owned));
        let said = server(Some(self.proxied));
        let direct_same = self.direct.is_some_and(|direct| {
            direct.reply().map(|reply| reply.status) == self.proxied.reply().map(|reply| reply.status)
                && server(Some(direct)) == said
        });
        said.is_some() && said == server(self.chart.hello.as_ref()) && !direct_same
    }

    fn sentence(&self, verdict: &Verdict, slug: Slug) -> String {
        let what = match verdict.said.clone().or_else(|| verdict.fault.as_ref().map(|fault| fault.told())) {
            Some(said) => said,
            None => slug.row().cause.split_inclusive(". ").next().unwrap_or_default().trim().trim_end_matches('.').to_owned(),
        };
        format!("{} through the proxy: {} ({what})", self.site, self.proxied.words())
    }

    fn resolved_here(&self) -> Diagnosis {
        let sentence = format!(
            "socks5:// resolves the target's name on this machine, and {} can't be resolved here",
            self.site.target.host()
        );
        let next =
            "Write socks5h:// (with an h) for the proxy: then it resolves the name. If that fails as well, the name is wrong.";
        Diagnosis::own("resolved_here", Some(Slug::DnsFailed), Whose::You, sentence, next)
    }

    fn direct_words(&self) -> String {
        match self.direct {
            None => "was not asked".to_owned(),
            Some(direct) => match &direct.ended {
                Ended::Answered(reply) => format!("answers {} {}", reply.status, reply.reason).trim_end().to_owned(),
                Ended::Broken(breakage) => format!("fails, too: {}", broken(breakage)),
                Ended::Refused(_) | Ended::Socks(_) | Ended::TargetName(_) => "fails, too".to_owned(),
            },
        }
    }

    fn targets_own(&self, slug: Slug, confidence: Confidence, sentence: String) -> Diagnosis {
        Diagnosis::fault(slug, confidence, sentence).of(match slug {
            Slug::TargetUnauthorized => Whose::You,
            _ => Whose::Target,
        })
    }

    /// The proxy said no, or that it failed.
    fn proxys_own(&self, slug: Slug, verdict: &Verdict, sentence: String, direct_works: bool) -> Diagnosis {
        let diagnosis = Diagnosis::fault(slug, verdict.confidence, sentence);
        let reaches_nothing = matches!(slug.row().layer, Layer::Target | Layer::Exit | Layer::Gateway);
        if !reaches_nothing {
            return diagnosis;
        }
        if direct_works {
            let sentence = format!("{}; without the proxy it {}", diagnosis.sentence, self.direct_words());
            let next = format!(
                "The target is well: the way from the proxy to it is not. Try another exit, session or country; if it stays, give the \
                 proxy's operator the target, the time in UTC ({}) and the answer.",
                self.proxied.at.strftime("%Y-%m-%dT%H:%M:%SZ")
            );
            return Diagnosis { sentence, ..diagnosis }.of(Whose::Operator).advising(next);
        }
        if self.direct.is_some() && slug.row().layer == Layer::Target {
            let sentence = format!("{}; without the proxy it {}", diagnosis.sentence, self.direct_words());
            return Diagnosis { sentence, ..diagnosis }.of(Whose::Target).advising(
                "It fails both ways, so the proxy is not the reason: check the target's URL, and whether the target is up.",
            );
        }
        diagnosis
    }

    /// There is no answer at all.
    fn wordless(&self, slug: Slug, verdict: &Verdict, sentence: String, direct_works: bool) -> Diagnosis {
        let timed_out = matches!(
            &self.proxied.ended,
            Ended::Broken(Breakage { manner: Manner::TimedOut(_), phase: At::Ask | At::TargetTls })
        );
        // The proxy answers other requests at once, so it waits for this target.
        let proxy_answers = self.chart.hello.as_ref().is_some_and(|hello| !matches!(hello.ended, Ended::Broken(_)));
        let slug = if timed_out && proxy_answers { Slug::ConnectTimeout } else { slug };
        let sentence = format!("{sentence}; without the proxy it {}", self.direct_words());
        let diagnosis = Diagnosis::fault(slug, verdict.confidence, sentence);
        if direct_works { diagnosis.of(Whose::Operator) } else { diagnosis.of(Whose::Target) }
    }

    /// A refused tunnel to an unusual port that opens to the usual one: the port is refused, not the target.
    async fn port_refused(&self) -> Option<Diagnosis> {
        let denied = match &self.proxied.ended {
            Ended::Refused(reply) => reply.status == 403,
            Ended::Socks(refusal) => *refusal == SocksRefusal::Reply(2),
            Ended::Answered(_) | Ended::Broken(_) | Ended::TargetName(_) => false,
        };
        let port = self.site.target.port();
        if !denied || port == 443 {
            return None;
        }
        let usual = exchange::tunnel(self.upstream, &self.site.at_port(443), &self.chart.means).await;
        let also_denied = match (&usual.ended, &self.proxied.ended) {
            (Ended::Answered(_), _) => false,
            (Ended::Refused(reply), Ended::Refused(first)) => reply.status == first.status,
            (Ended::Socks(refusal), Ended::Socks(first)) => refusal == first,
            // Without an answer nothing follows from it.
            _ => true,
        };
        if also_denied {
            return None;
        }
        let sentence = format!(
            "the proxy refuses tunnels to port {port} ({}), and not those to port 443 of the same host",
            self.proxied.words()
        );
        Some(Diagnosis::fault(Slug::PortDenied, Confidence::Likely, sentence))
    }

    /// What fails by name and works by address is a matter of the proxy's resolver.
    async fn names_fail(&self, slug: Slug) -> Option<Diagnosis> {
        let address = *self.site.addresses().await.first()?;
        let by_address = exchange::through(self.upstream, &self.site.at_address(address), &self.chart.means).await;
        let reached = matches!((&by_address.ended, by_address.way), (Ended::Answered(_), Some(Way::Tunnelled)))
            || matches!(&by_address.ended, Ended::Answered(reply) if reply.status < 400);
        if !reached {
            return None;
        }
        let slug = match slug {
            Slug::DnsNotFound | Slug::DnsFailed | Slug::DnsTimeout => slug,
            _ if matches!(self.proxied.ended, Ended::Broken(Breakage { manner: Manner::TimedOut(_), .. })) => Slug::DnsTimeout,
            _ => Slug::DnsFailed,
        };
        let host = self.site.target.host();
        let sentence =
            format!("the proxy can't resolve {host} ({}), while by its address {address} it reaches it", self.proxied.words());
        Some(Diagnosis::fault(slug, Confidence::Certain, sentence).of(Whose::Operator).advising(
            "The proxy's resolver is broken or does not know this name: tell its operator. Until then, a client that resolves names \
             itself (socks5:// in place of socks5h://) gets through.",
        ))
    }
}

/// Whether the answer says which fault it is, and no other fits it.
pub(crate) fn names_itself(verdict: &Verdict) -> bool {
    verdict.confidence <= Confidence::Documented && verdict.fits.len() <= 1
}

/// Whether a proxy that can't resolve a name might say this.
fn may_be_names(slug: Slug) -> bool {
    matches!(slug.row().layer, Layer::Target | Layer::Gateway | Layer::Exit | Layer::Transport)
}
