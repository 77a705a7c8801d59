//! `outgate exit`: the agent on a machine of its own.

use std::process::ExitCode;
use std::sync::Arc;

use outgate_exit::{Event, ExitEnd, Labels, Settings, Token};

use crate::config::dns_from_environment;
use crate::station::asked_to_stop;
use crate::{cli, eprintln, failed, println};

/// Runs the command.
pub(crate) async fn run(args: cli::Exit) -> ExitCode {
    let dns = match dns_from_environment() {
        Ok(dns) => dns,
        Err(problems) => {
            problems.iter().for_each(|p| eprintln(p));
            return ExitCode::from(2);
        }
    };
    let mut settings = Settings::new(args.gateway, Token::new(&args.token));
    settings.labels = Labels {
        pool: args.pool.map(|p| p.to_string()),
        country: args.country.map(|c| c.to_string()),
        state: args.state,
        city: args.city,
        asn: args.asn,
        name: None,
    };
    settings.ca_file = args.ca;
    settings.allow_targets = args.allow_target;
    settings.dns = dns;
    settings.grace = args.grace;
    settings.on_event = Some(Arc::new(|event| match event {
        Event::Connected { exit_id, gateway, took } => println(&format!("linked to {gateway} as exit {exit_id} in {took:.0?}")),
        Event::GatewayDraining => println("the gateway is draining; linking again"),
        Event::Lost { end, .. } => println(&format!("link lost: {end}")),
        Event::Failed { why } => println(&format!("no link: {why}")),
        Event::Retry { wait } => println(&format!("trying again in {:.1} s", wait.as_secs_f64())),
    }));
    match outgate_exit::run(settings, asked_to_stop()).await {
        ExitEnd::Shutdown { cut: 0 } => ExitCode::SUCCESS,
        ExitEnd::Shutdown { cut } => {
            eprintln(&format!("outgate: {cut} tunnels were still open and were cut"));
            ExitCode::SUCCESS
        }
        end @ (ExitEnd::Revoked { .. } | ExitEnd::Unusable { .. }) => failed(&end.to_string()),
    }
}
