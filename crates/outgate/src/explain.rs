//! `outgate explain`: the catalogue's page in the terminal, or as JSON for other languages; or what a reply means.

mod reply;

use std::io::IsTerminal;
use std::process::ExitCode;

use outgate_faults::{Slug, page, page_for_status};
use serde_json::{Value, json};

use crate::cli::Explain;
use crate::{eprintln, println};

/// Runs the command.
pub(crate) fn run(args: &Explain) -> ExitCode {
    if let Some(reply) = &args.reply {
        return reply::run(args, reply);
    }
    let slugs = match args.what.as_deref() {
        None => Slug::ALL.to_vec(),
        Some(text) => match (Slug::parse(text), text.parse()) {
            (Some(slug), _) => vec![slug],
            (None, Ok(status)) => page_for_status(status, &args.dialect),
            (None, Err(_)) => Vec::new(),
        },
    };
    if slugs.is_empty() {
        eprintln(&unknown(args.what.as_deref().unwrap_or_default(), args.dialect.name()));
        return ExitCode::from(2);
    }
    if args.json {
        // One fault is an object, several are a list: the shape follows the question, not the count.
        let single = args.what.as_deref().is_some_and(|text| Slug::parse(text).is_some());
        let mut rows: Vec<Value> = slugs.iter().map(|slug| row(*slug)).collect();
        let value = if single { rows.swap_remove(0) } else { Value::Array(rows) };
        println(&value.to_string());
        return ExitCode::SUCCESS;
    }
    let style = Style::new();
    if args.what.is_none() {
        println("Every fault, by layer. `outgate explain SLUG` for one of them.\n");
        let mut layer = "";
        for slug in slugs {
            let row = slug.row();
            if row.layer.name() != layer {
                layer = row.layer.name();
                println(&style.bold(layer));
            }
            println(&format!("  {:<28} {}  {:<8} {}", slug.name(), row.status, row.retry.name(), row.example()));
        }
        return ExitCode::SUCCESS;
    }
    for (index, slug) in slugs.iter().enumerate() {
        if index > 0 {
            println("");
        }
        println(&text(*slug, &style));
    }
    ExitCode::SUCCESS
}

fn text(slug: Slug, style: &Style) -> String {
    let page = page(slug);
    let row = page.row;
    let field = |name: &str, value: String| format!("  {:<11} {value}\n", style.bold(name));
    let mut text = format!("{}  {}\n\n", style.bold(slug.name()), page.example);
    text.push_str(&field("layer", format!("{}: {}", row.layer.name(), row.layer.meaning())));
    text.push_str(&field("retry", format!("{}: {}", row.retry.name(), row.retry.meaning())));
    text.push_str(&field("lasting", format!("{}: {}", row.lasting.name(), row.lasting.meaning())));
    text.push_str(&field("who fixes", format!("{}: {}", row.fixer.name(), row.fixer.meaning())));
    let dialects: Vec<String> = page.dialects.iter().map(|d| format!("{} {} ({})", d.status, d.reason, d.dialect)).collect();
    text.push_str(&field("answers", dialects.join(", ")));
    if let Some(error) = row.error_type {
        text.push_str(&field("RFC 9209", error.token().to_owned()));
    }
    text.push_str(&field("SOCKS5", format!("{:02x}", page.socks5)));
    text.push_str(&format!("\n{}\n{}\n\n{}\n{}", style.bold("Cause"), wrap(row.cause), style.bold("Fix"), wrap(row.fix)));
    text
}

fn row(slug: Slug) -> Value {
    let page = page(slug);
    let row = page.row;
    let dialects: serde_json::Map<String, Value> = page
        .dialects
        .iter()
        .map(|d| (d.dialect.to_string(), json!({ "status": d.status, "reason": d.reason, "body": d.body })))
        .collect();
    json!({
        "slug": slug.name(),
        "layer": row.layer.name(),
        "status": row.status,
        "rfc9209": row.error_type.map(|e| e.token()),
        "retry": row.retry.name(),
        "lasting": row.lasting.name(),
        "fixer": row.fixer.name(),
        "seen": row.seen.name(),
        "socks5": page.socks5,
        "sentence": row.sentence,
        "facts": row.facts,
        "example": page.example,
        "cause": row.cause,
        "fix": row.fix,
        "dialects": dialects,
    })
}

fn unknown(what: &str, dialect: &str) -> String {
    if what.parse::<u16>().is_ok() {
        return format!(
            "outgate: no fault is answered with {what} in the dialect {dialect}; if a proxy showed it to you, it is the target's own answer"
        );
    }
    let near = Slug::ALL.iter().map(|slug| (strsim::damerau_levenshtein(what, slug.name()), slug.name())).min();
    match near {
        Some((distance, name)) if distance <= 4 => format!("outgate: there is no fault {what:?}; did you mean {name}?"),
        _ => format!("outgate: there is no fault {what:?}; `outgate explain` lists them all"),
    }
}

/// Paragraphs at a width that reads well.
fn wrap(text: &str) -> String {
    let mut lines = vec![String::from(" ")];
    for word in text.split_whitespace() {
        let full = lines.last().is_some_and(|line| line.len() + word.len() + 1 > 96);
        if full {
            lines.push(String::from(" "));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// Bold on a terminal, plain elsewhere.
struct Style {
    on: bool,
}

impl Style {
    fn new() -> Self {
        Self { on: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) }
    }

    fn bold(&self, text: &str) -> String {
        if self.on { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}
