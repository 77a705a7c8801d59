//! `outgate explain --reply`: what a pasted reply means, and who said it.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use outgate_client::classify::{Evidence, Pasted, Verdict, Wait, Way, classify};
use outgate_client::providers::Providers;
use serde_json::{Value, json};

use super::{Style, row, text};
use crate::cli::{Circumstances, Explain};
use crate::{eprintln, println};

/// The most bytes of a paste.
const LONGEST: u64 = 1024 * 1024;

/// Runs the command.
pub(super) fn run(args: &Explain, reply: &Path) -> ExitCode {
    match judge(&args.circumstances, reply) {
        Ok((pasted, verdict)) => {
            let way = pasted.way.unwrap_or(args.circumstances.way.unwrap_or(Way::Connect));
            println(&if args.json { as_json(&pasted, way, &verdict).to_string() } else { as_text(&pasted, way, &verdict) });
            ExitCode::SUCCESS
        }
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln(problem));
            ExitCode::from(2)
        }
    }
}

fn judge(known: &Circumstances, reply: &Path) -> Result<(Pasted, Verdict), Vec<String>> {
    let one = |problem: String| vec![format!("outgate: {problem}")];
    let mut providers = Providers::builtin().clone();
    for file in &known.provider_files {
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| one(format!("{shown}: {error}")))?;
        providers = providers.with_file(&shown, &text)?;
    }
    let provider = match &known.provider {
        None => None,
        Some(name) => Some(providers.named(name).ok_or_else(|| {
            let names: Vec<&str> = providers.iter().map(|provider| provider.name()).collect();
            one(format!("no provider '{name}'; known are {}", names.join(", ")))
        })?),
    };
    let bytes = read(reply).map_err(|error| one(format!("{}: {error}", reply.display())))?;
    let Some(mut pasted) = Pasted::read(&String::from_utf8_lossy(&bytes)) else {
        return Err(one("there is no reply in it: paste it from its status line on, or all that curl -v prints".to_owned()));
    };
    // Who says how it was put knows better than what is left of the paste.
    pasted.way = known.way.or(pasted.way);
    let (proxy, target) = (known.proxy.as_deref().unwrap_or_default(), known.target.as_deref().unwrap_or("the target"));
    let evidence = Evidence { provider, ..pasted.evidence(Way::Connect, proxy, target) };
    let verdict = classify(&evidence, &providers);
    Ok((pasted, verdict))
}

fn read(from: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if from == Path::new("-") {
        std::io::stdin().lock().take(LONGEST).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(from)?.take(LONGEST).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn as_text(pasted: &Pasted, way: Way, verdict: &Verdict) -> String {
    let style = Style::new();
    let field = |name: &str, value: &str| format!("  {:<11} {value}\n", style.bold(name));
    let mut out = format!("{} {}, {}\n\n", style.bold("reply"), pasted.status, shown(way));
    out.push_str(&field("said by", &format!("{}: {}", verdict.provenance, verdict.provenance.meaning())));
    out.push_str(&field("how sure", &format!("{}: {}", verdict.confidence, verdict.confidence.meaning())));
    out.push_str(&field("because", &verdict.why));
    if let Some(said) = &verdict.said {
        out.push_str(&field("in words", said));
    }
    if let Some(code) = &verdict.provider_code {
        out.push_str(&field("code", code));
    }
    let Some(slug) = verdict.slug else {
        out.push_str("\nNothing is wrong with it.");
        return out;
    };
    out.push_str(&field("holds", &format!("{}: {}", verdict.scope, verdict.scope.meaning())));
    if let Some(wait) = verdict.wait {
        out.push_str(&field("wait", &told(wait)));
    }
    if verdict.retry != slug.row().retry {
        out.push_str(&field("retry", &format!("{}: {} (by this provider's rule)", verdict.retry, verdict.retry.meaning())));
    }
    for (name, value) in [("exit", &verdict.exit), ("request id", &verdict.request_id)] {
        if let Some(value) = value {
            out.push_str(&field(name, value));
        }
    }
    let others: Vec<&str> = verdict.fits.iter().skip(1).map(|slug| slug.name()).collect();
    if !others.is_empty() {
        out.push_str(&field("or", &others.join(", ")));
    }
    out.push('\n');
    out.push_str(&text(slug, &style));
    out
}

fn as_json(pasted: &Pasted, way: Way, verdict: &Verdict) -> Value {
    json!({
        "status": pasted.status,
        "way": way.name(),
        "slug": verdict.slug.map(|slug| slug.name()),
        "fits": verdict.fits.iter().map(|slug| slug.name()).collect::<Vec<_>>(),
        "provenance": verdict.provenance.name(),
        "confidence": verdict.confidence.name(),
        "retry": verdict.retry.name(),
        "scope": verdict.scope.name(),
        "wait": verdict.wait.map(told),
        "why": verdict.why,
        "said": verdict.said,
        "provider": verdict.provider,
        "provider_code": verdict.provider_code,
        "exit": verdict.exit,
        "request_id": verdict.request_id,
        "fault": verdict.slug.map(row),
    })
}

fn shown(way: Way) -> &'static str {
    match way {
        Way::Connect => "to a CONNECT",
        Way::Forwarded => "to a forwarded request",
        Way::Socks => "over SOCKS5",
        Way::Tunnelled => "through an open tunnel",
        Way::Direct => "without a proxy",
    }
}

fn told(wait: Wait) -> String {
    match wait {
        Wait::For(wait) => format!("{} s", wait.as_secs()),
        Wait::Until(then) => then.to_string(),
    }
}
