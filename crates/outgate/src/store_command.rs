//! `outgate store`: a ledger's schema, its soundness, and its move to another place, without a gateway.

mod lines;

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use outgate_store::{Archive, ENTRIES, Entry};
use outgate_store_postgres::{Postgres, ServerUrl};
use outgate_store_sqlite::Sqlite;
use tokio::sync::mpsc;

use crate::cli::{StoreCommand, StoreFile, StorePlace};
use crate::{config, eprintln, failed, ledger, println, wrong_config};

/// Runs the command.
pub(crate) async fn run(command: StoreCommand) -> ExitCode {
    let place = match &command {
        StoreCommand::Migrate(place) | StoreCommand::Check(place) => place,
        StoreCommand::Export(StoreFile { place, .. }) | StoreCommand::Import(StoreFile { place, .. }) => place,
    };
    let place = match Place::of(place) {
        Ok(place) => place,
        Err(problems) => return wrong_config(&problems),
    };
    let done = match command {
        StoreCommand::Migrate(_) => migrate(&place).await,
        StoreCommand::Check(_) => return check(&place).await,
        StoreCommand::Export(StoreFile { file, .. }) => export(&place, &file).await,
        StoreCommand::Import(StoreFile { file, .. }) => import(&place, &file).await,
    };
    match done {
        Ok(said) => {
            println(&said);
            ExitCode::SUCCESS
        }
        Err(why) => failed(&why),
    }
}

/// Where the ledger is.
enum Place {
    Sqlite(PathBuf),
    Postgres(Box<ServerUrl>),
}

impl Place {
    fn of(place: &StorePlace) -> Result<Self, Vec<String>> {
        if place.postgres {
            let url = std::env::var("OUTGATE_STORE_POSTGRES");
            let url =
                url.map_err(|_| vec!["--postgres takes the URL from OUTGATE_STORE_POSTGRES, which is not set".to_owned()])?;
            return url
                .parse()
                .map(|url| Self::Postgres(Box::new(url)))
                .map_err(|error| vec![format!("OUTGATE_STORE_POSTGRES: {error}")]);
        }
        if let Some(data) = &place.data {
            return Ok(Self::Sqlite(ledger::sqlite_file(data)));
        }
        let config = config::load(&place.config)?;
        Ok(match config.store.postgres {
            Some(url) => Self::Postgres(Box::new(url)),
            None => Self::Sqlite(ledger::sqlite_file(&config.data)),
        })
    }

    async fn open(&self) -> Result<Arc<dyn Archive>, String> {
        Ok(match self {
            Self::Sqlite(file) => Arc::new(Sqlite::open(file).map_err(|error| error.to_string())?),
            Self::Postgres(url) => Arc::new(Postgres::open(url).await.map_err(|error| error.to_string())?),
        })
    }

    /// One that is there: looking at a ledger must not make one.
    async fn open_existing(&self) -> Result<Arc<dyn Archive>, String> {
        match self {
            Self::Sqlite(file) if !file.exists() => Err(format!("{}: there is no ledger", file.display())),
            _ => self.open().await,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "{}", file.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

async fn migrate(place: &Place) -> Result<String, String> {
    let said = match place {
        Place::Sqlite(_) => {
            drop(place.open().await?);
            "its schema is as it should be".to_owned()
        }
        Place::Postgres(url) => Postgres::open_migrated(url).await.map_err(|error| error.to_string())?.1.to_string(),
    };
    Ok(format!("{place}: {said}"))
}

async fn check(place: &Place) -> ExitCode {
    let wrong = match place.open_existing().await {
        Ok(store) => store.check().await.map_err(|error| error.to_string()),
        Err(why) => Err(why),
    };
    match wrong {
        Ok(wrong) if wrong.is_empty() => {
            println(&format!("{place}: fine"));
            ExitCode::SUCCESS
        }
        Ok(wrong) => {
            wrong.iter().for_each(|what| eprintln(&format!("{place}: {what}")));
            ExitCode::FAILURE
        }
        Err(why) => failed(&why),
    }
}

async fn export(place: &Place, file: &Path) -> Result<String, String> {
    let store = place.open_existing().await?;
    let unwritable = |error: std::io::Error| format!("{}: {error}", file.display());
    // Hashes of secrets are in it: for its owner only. What is there already is not overwritten.
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(unwritable)?;
    let (tell, mut told) = mpsc::channel::<Entry>(ENTRIES);
    let mut writer = lines::Writer::begin(BufWriter::new(target)).map_err(unwritable)?;
    let writing = async {
        while let Some(entry) = told.recv().await {
            writer.write(&entry).map_err(unwritable)?;
        }
        Ok::<_, String>(writer)
    };
    let (exported, written) = tokio::join!(store.export(tell), writing);
    let finished = written.and_then(|writer| {
        exported.map_err(|error| error.to_string())?;
        let (lines, target) = writer.finish().map_err(unwritable)?;
        target.get_ref().sync_all().map_err(unwritable)?;
        Ok(lines)
    });
    match finished {
        Ok(lines) => Ok(format!("{place}: {lines} entries in {}", file.display())),
        Err(why) => {
            // A part of a ledger is none.
            let _gone = std::fs::remove_file(file);
            Err(why)
        }
    }
}

async fn import(place: &Place, file: &Path) -> Result<String, String> {
    let source = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let store = place.open().await?;
    let (tell, told) = mpsc::channel::<Entry>(ENTRIES);
    let reading = async {
        let mut reader = lines::Reader::new(BufReader::new(source));
        loop {
            let entry = reader.next().map_err(|what| format!("{}: {what}", file.display()))?;
            let last = entry == Entry::End;
            // Nobody takes it: the store says why.
            if tell.send(entry).await.is_err() || last {
                drop(tell);
                return Ok::<_, String>(reader.entries());
            }
        }
    };
    let (read, imported) = tokio::join!(reading, store.import(told));
    let lines = match (read, imported) {
        // What is wrong with the file says more than that it ended early.
        (Err(why), _) => return Err(why),
        (_, Err(error)) => return Err(format!("{place}: {error}")),
        (Ok(lines), Ok(())) => lines,
    };
    let wrong = store.check().await.map_err(|error| format!("{place}: imported, but can't be checked: {error}"))?;
    match wrong.is_empty() {
        true => Ok(format!("{place}: {lines} entries, checked")),
        false => Err(format!("{place}: imported, but {}", wrong.join("; "))),
    }
}
