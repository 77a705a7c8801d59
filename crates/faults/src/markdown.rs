//! `docs/errors.md`, written from the catalogue.

use crate::page::builtins;
use crate::{Layer, Raised, Retry, Row, Seen, Slug, page};

/// The introduction of the document.
const INTRODUCTION: &str = "\
# Errors

<!-- Written from the catalogue in crates/faults. Change it there, then run: UPDATE_DOCS=1 cargo test -p outgate-faults -->

Every answer that Outgate makes itself names its cause in four places, because most clients show only one of them:

| where | example |
|---|---|
| reason phrase | `HTTP/1.1 403 Forbidden (port_denied)` |
| `X-Proxy-Error` | `port_denied` |
| `Proxy-Status` (RFC 9209) | `outgate; error=http_request_denied; details=\"port 25 is not allowed (allowed: 80, 443)\"` |
| body, one line | `port 25 is not allowed (allowed: 80, 443)` |

**An answer without `X-Proxy-Error` is the target's own**, passed through unchanged: its `Proxy-Status` says `received-status`.
Names never change their meaning. `X-Outgate-Request-Id` leads to the record of the request: give it to whoever helps you,
together with the key id, never the secret. The same pages are in the terminal: `outgate explain port_denied`, `outgate explain 454`.

## How to read it

- **layer**: whose part of the way it is, and so where to look first.
- **status**: in each dialect; a listener speaks one. With SOCKS5 only the reply byte arrives.
- **retry**: what a program should do.
- **lasting**: *temporary* can pass by itself, *structural* stays until somebody changes something.
- **who**: who can end it.
";

/// The whole document, ending in a line feed.
pub fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str("\n| retry | means | at most |\n|---|---|---|\n");
    for retry in Retry::ALL {
        let limit = match retry.limit() {
            0 => "none".to_owned(),
            1 => "1 retry".to_owned(),
            limit => format!("{limit} retries"),
        };
        text.push_str(&format!("| {retry} | {} | {limit} |\n", retry.meaning()));
    }
    text.push_str("\n## All of them\n\n");
    push_table(&mut text);
    for layer in Layer::ALL {
        text.push_str(&format!("\n## Layer: {layer}\n\nWhat it covers: {}.\n", layer.meaning()));
        for slug in Slug::ALL.iter().filter(|slug| slug.row().layer == *layer) {
            push_page(&mut text, *slug);
        }
    }
    text
}

fn push_table(text: &mut String) {
    text.push_str("| slug | layer |");
    for (name, _) in builtins() {
        text.push_str(&format!(" {name} |"));
    }
    text.push_str(" RFC 9209 error | retry | lasting | who | SOCKS5 |\n|---|---|");
    for _ in builtins() {
        text.push_str("---|");
    }
    text.push_str("---|---|---|---|---|\n");
    for slug in Slug::ALL {
        let row = slug.row();
        text.push_str(&format!("| [{slug}](#{slug}) | {} |", row.layer));
        for (_, dialect) in builtins() {
            text.push_str(&format!(" {} |", dialect.status(*slug)));
        }
        let socks = row.socks.byte();
        text.push_str(&format!(" {} | {} | {} | {} | {socks:02} |\n", error_type(row), row.retry, row.lasting, row.fixer));
    }
}

fn push_page(text: &mut String, slug: Slug) {
    let page = page(slug);
    let row = page.row;
    text.push_str(&format!("\n### {slug}\n\n> {}\n\n", page.example));
    let mut lines = Vec::new();
    let mut statuses: Vec<String> = Vec::new();
    for line in &page.dialects {
        let body = line.body.as_ref().map(|body| format!(", body `{body}`")).unwrap_or_default();
        statuses.push(format!("{}: `{} {}`{body}", line.dialect, line.status, line.reason));
    }
    match row.layer {
        Layer::Origin => lines.push("status: the target's own, in every dialect".to_owned()),
        Layer::Transport => lines.push("status: none arrives; a relay in front says it with its own".to_owned()),
        Layer::Client
        | Layer::Auth
        | Layer::Policy
        | Layer::Plan
        | Layer::Targeting
        | Layer::Gateway
        | Layer::Exit
        | Layer::Target => {
            lines.extend(statuses);
        }
    }
    lines.push(format!("SOCKS5: {:02}, {}", page.socks5, row.socks.meaning()));
    lines.push(format!("retry: **{}**: {}", row.retry, row.retry.meaning()));
    lines.push(format!("{}: {}", row.lasting, row.lasting.meaning()));
    lines.push(format!("who can end it: {} ({})", row.fixer, row.fixer.meaning()));
    if row.seen == Seen::UserEnd {
        lines.push(format!("seen from: the {}", row.seen));
    }
    if let Raised::NotYet(part) = row.raised {
        lines.push(format!("not raised yet: comes with \"{part}\""));
    }
    for line in lines {
        text.push_str(&format!("- {line}\n"));
    }
    text.push_str(&format!("\n**Cause.** {}\n\n**Fix.** {}\n", row.cause, row.fix));
}

fn error_type(row: &Row) -> &'static str {
    row.error_type.map_or("none", |kind| kind.token())
}
